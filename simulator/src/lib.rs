//! Seeded faults against the real program on real servers, and a ledger of what was answered.
//!
//! The crate knows nothing of how Agon works inside: it starts the binary by role, speaks HTTP to
//! it, breaks what lies beneath and between, and asks in the end whether every acknowledged event
//! counts exactly once. [`schedule`], [`traffic`] and [`ledger`] are pure; [`nemesis`] carries out.

pub mod check;
pub mod client;
pub mod deployment;
pub mod error;
pub mod faults;
pub mod ledger;
pub mod nemesis;
pub mod process;
pub mod proxy;
pub mod schedule;
pub mod servers;
pub mod traffic;
pub mod watch;

pub use error::Error;
