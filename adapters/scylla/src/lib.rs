//! The store on ScyllaDB or Cassandra: tables, stamped batches, rows by key and prefix, the raw
//! reader of `verify`, and control data.

mod address;
mod admin;
pub mod bare;
mod cell_name;
mod chunk;
mod control;
mod controls;
mod error;
mod flush;
mod init;
mod inspect;
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
pub use admin::{facts, wipe};
pub use control::ScyllaControl;
#[cfg(feature = "controls")]
pub use controls::CONTROLS;
pub use error::OpenError;
pub use init::{InitReport, InitSettings, LogFacts, init};
pub use inspect::ScyllaInspector;
pub use settings::StoreSettings;
#[cfg(feature = "crash_points")]
pub use settings::{CRASH_POINTS, CrashPoint};
pub use store::ScyllaStore;
