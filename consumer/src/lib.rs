//! The consumer: log → fold → store → feed. It reads each partition in order, folds it in memory,
//! flushes what changed by size or time together with the position, and tells the feed.
//!
//! Reading order: [`config`] the limits, [`decoded`] a record and what it says, [`partition`] the
//! pure state of one partition with `live`, [`seen`] and [`overlay`] behind it, [`step`] the pure
//! decision of what comes next, `worker` the loop that only carries it out with `load` and
//! `flusher` at its sides, [`consumer`] the workers together, which begin by `resume`.

pub mod config;
pub mod consumer;
pub mod decoded;
mod flusher;
mod lag;
mod live;
mod load;
pub mod metrics;
pub mod overlay;
pub mod partition;
mod resume;
pub mod seen;
pub mod step;
mod worker;

pub use config::ConsumerConfig;
pub use consumer::{Consumer, ConsumerError, PartitionStatus, Reached};
