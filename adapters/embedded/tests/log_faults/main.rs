//! The log against its disk: power losses, kills, torn and flipped bytes, a full disk. What was
//! acknowledged is there, or the log refuses to open and says why; never a silent loss.

#![allow(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

mod damage;
mod disk_full;
mod power;
mod random;
mod refusals;
mod support;
