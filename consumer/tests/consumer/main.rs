//! The consumer against the sequential fold: whatever happens on the way, the store ends up with
//! the rows of one record after the other.

#![allow(clippy::unwrap_used)]

mod cells;
#[cfg(feature = "crash_points")]
mod crashes;
mod events;
mod group;
mod loading;
mod member;
mod metrics;
#[cfg(feature = "controls")]
mod negative;
mod oracle;
mod partition;
mod refusals;
mod restart;
mod sequential;
mod share;
mod shutdown;
mod world;
