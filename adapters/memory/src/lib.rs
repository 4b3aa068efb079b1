//! The ports kept in memory: exact, for tests, demonstrations and the simulator.
//!
//! Each adapter is a handle: clones share what they hold, and dropping all but one and going on
//! with it is what a restart is to a durable adapter. [`faulty`] wraps any port and injects
//! faults by a seed.

pub mod clock;
pub mod control;
pub mod faulty;
pub mod feed;
pub mod group;
pub mod log;
pub mod store;

pub use clock::{ManualClock, SystemClock};
pub use control::MemoryControl;
pub use faulty::{Fault, FaultRates, Faults, Faulty};
pub use feed::{MemoryFeed, MemoryPublisher, MemorySubscriber};
pub use group::MemoryGroup;
pub use log::{LogSettings, MemoryLog};
pub use store::MemoryStore;
