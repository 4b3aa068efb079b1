//! The ports, in the order an event meets them. Each trait carries its contract; each has one
//! conformance suite in `conformance` that every adapter passes. No technology is named here.

pub mod change_feed;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod control_store;
pub mod error;
pub mod event_log;
pub mod group;
pub mod projection_store;
pub mod store_inspector;
pub mod trace;

pub use change_feed::{Change, ChangePublisher, ChangeSubscriber, Heard};
pub use clock::Clock;
pub use control_store::{ControlStore, Put, Versioned};
pub use error::{PortError, Retry};
pub use event_log::{Append, Assignment, EventLog, LogReader, LogRecord, ReadLimits};
pub use group::{Commits, Group, GroupMember, GroupNews};
pub use projection_store::{Order, ProjectionStore, Scan, scan_all};
pub use store_inspector::StoreInspector;
