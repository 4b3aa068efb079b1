//! The live source against a real HTTP server of its own, which replays the recorded stream and
//! misbehaves by a seed: distinct events in are distinct events in the log, every time.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod bounds;
mod faults;
mod schemes;
mod upstream;
mod world;
