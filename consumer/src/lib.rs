//! The consumer: log → fold → store → feed. It reads each partition in order, folds it in memory,
//! flushes what changed by size or time together with the position, and tells the feed.
//!
//! Reading order: [`config`] the limits, [`partition`] the pure state of one partition with
//! [`seen`] and [`overlay`] behind it, [`step`] the pure decision of what comes next, [`worker`]
//! the loop that only carries it out, [`consumer`] the workers together.

pub mod config;
pub mod consumer;
mod flusher;
pub mod metrics;
pub mod overlay;
pub mod partition;
pub mod seen;
pub mod step;
mod worker;

pub use config::ConsumerConfig;
pub use consumer::{Consumer, ConsumerError, PartitionStatus};
