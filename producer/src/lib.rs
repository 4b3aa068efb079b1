//! The write side: what people and files say becomes records in the log.
//!
//! ```text
//! routes  (HTTP)  ┐                ┌ claim: is this identity being handed in already?
//! import  (files) ┼─> Intake::admit┤ look up: did the store see it? is what it names defined?
//! source (a live ┘                 ├ judge: take, or refuse what is certain to be a dead letter
//!          stream)                 └ queue ─> appender ─> EventLog::append ─> answer
//! ```
//! The fold alone decides what counts; the intake refuses early only what it knows for certain.
//! It answers only after the log answered. Reading order: [`intake`] with [`batch`], [`recent`]
//! and [`judge`] behind it, then [`routes`], [`import`] and [`source`].

pub mod batch;
pub mod import;
pub mod intake;
pub mod judge;
pub mod recent;
pub mod routes;
pub mod source;

pub use intake::{Entry, Intake, IntakeConfig, IntakeError, OnConflict, Submitted, Ticket, View};
