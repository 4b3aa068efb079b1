//! The store on ScyllaDB or Cassandra: tables, stamped batches, rows by key and prefix, the raw
//! reader of `verify`, and control data.

mod address;
mod cell_name;
mod chunk;
mod control;
mod controls;
mod error;
mod flush;
mod init;
mod link;
mod meta;
mod migrations;
mod read;
mod session;
mod settings;
mod stamp;
mod store;
mod tables;

pub use address::{AddressError, CqlAddress};
pub use control::ScyllaControl;
pub use error::OpenError;
pub use init::{InitReport, InitSettings, LogFacts, init};
#[cfg(feature = "crash_points")]
pub use settings::CrashPoint;
pub use settings::StoreSettings;
pub use store::ScyllaStore;
