//! The consumer: log → fold → store → feed. It reads each partition in order, folds it in memory,
//! flushes what changed by size or time together with the position, and tells the feed.
//!
//! Reading order: [`config`] the limits, [`decoded`] a record and what it says, [`partition`] the
//! pure state of one partition with `live`, [`seen`] and [`overlay`] behind it, [`step`] the pure
//! decision of what comes next, `worker` the loop that only carries it out with `load`, `warming`
//! and `flusher` at its sides, `share` some workers together, which begin by `resume`,
//! `membership` the life in a group, [`consumer`] all of it.

pub mod config;
pub mod consumer;
#[cfg(feature = "controls")]
pub mod controls;
mod crash;
pub mod decoded;
pub mod error;
mod flusher;
mod lag;
mod linked;
mod live;
mod load;
mod membership;
pub mod metrics;
pub mod overlay;
pub mod partition;
mod resume;
pub mod seen;
mod share;
pub mod standing;
pub mod step;
mod warming;
mod worker;

pub use config::ConsumerConfig;
pub use consumer::{Consumer, PartitionStatus, Reached};
#[cfg(feature = "crash_points")]
pub use crash::{CRASH_POINTS, CrashHook};
pub use error::ConsumerError;
pub use standing::{Phase, Standing};
