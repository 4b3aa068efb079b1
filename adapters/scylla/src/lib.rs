//! The store on ScyllaDB or Cassandra: tables, stamped batches, rows by key and prefix, the raw
//! reader of `verify`, and control data.
