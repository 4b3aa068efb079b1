//! The store on ScyllaDB or Cassandra: tables, stamped batches, rows by key and prefix, the raw
//! reader of `verify`, and control data.

mod address;
mod cell_name;
mod error;
mod init;
mod migrations;
mod session;
mod tables;

pub use address::{AddressError, CqlAddress};
pub use error::OpenError;
pub use init::{InitReport, InitSettings, LogFacts, init};
