//! The consumer against the sequential fold: whatever happens on the way, the store ends up with
//! the rows of one record after the other.

#![allow(clippy::unwrap_used)]

mod cells;
mod events;
mod metrics;
mod oracle;
mod partition;
mod refusals;
mod restart;
mod sequential;
mod shutdown;
mod world;
