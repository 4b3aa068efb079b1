//! Everything of Agon on one machine's disk: the log as our own segments, and beside it a kept
//! store. Nothing is decided here.

pub mod control;
pub mod files;
pub mod log;
pub mod store;
