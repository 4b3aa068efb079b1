//! The log on a real broker: the contract of its port, and what it refuses. The broker is named by
//! `TEST_KAFKA`; each test has topics of its own.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod conformance;
mod faults;
mod support;
mod topics;
