//! The wire contract of Agon: what an event is, how it becomes bytes, and where it stands in the
//! log. Everything here is valid by construction; only [`codec`] knows protobuf.
//!
//! Reading order: [`ids`] and [`time`] are the small words, [`rating`] and [`event`] the facts,
//! [`identity`] says when two events are the same, [`topic`] where one belongs, [`record`] what
//! the log holds, [`codec`] how the two meet. [`json`] is the shape people send and read, and
//! [`wikimedia`] the shape of the recent-change stream.

pub mod codec;
pub mod event;
pub mod identity;
pub mod ids;
pub mod json;
mod object;
pub mod rating;
pub mod record;
pub mod time;
pub mod topic;
pub mod wikimedia;
mod wire;

pub use codec::{DecodeError, decode, encode};
pub use event::Event;
pub use identity::{ContentHash, Identity};
pub use ids::{AgentId, BenchmarkId, EnvironmentId, NaturalId};
pub use record::{LogId, Position, PositionToken, Record};
pub use time::{EventTime, Timestamp};
pub use topic::{Topic, TopicPartition};
