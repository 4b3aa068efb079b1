//! The log on Kafka or Redpanda: topics, the idempotent producer, readers by position, the consumer
//! group, and the change feed.
//!
//! **An append.** [`KafkaLog`] refuses what no broker would take, before anything is sent, and
//! waits for room (`producer.rs`: so many bytes may be under way). Then it hands all records of the
//! call to one idempotent producer, each with the partition that the schema computed; calls take
//! turns there, so each stands together and in its order. Every record carries a ticket of its call
//! (`call.rs`), every delivery report counts one down, and with the last one the caller has its
//! positions: all in-sync replicas have the records. A record without a report within
//! `append_timeout_ms` fails the call, to be tried later. A producer that failed for good is
//! replaced, once it is certain that the topics are still the same ones.
//!
//! **A read.** The offsets asked for are compared with where the partitions begin and end
//! (`inquiry.rs`), then given inside the assignment of a consumer that belongs to no group: never a
//! seek, never a committed offset, never a reset. A thread (`fetching.rs`) takes what the library
//! fetched by batches (`fetch.rs`), makes records of it and fills a bounded queue that
//! `LogReader::next` empties; when it is full the thread waits and the library stops fetching.
//! Where nothing comes, the thread asks the brokers whether they are there, and `next` says so.
//! Offsets that are gone, and topics that were made anew, end the reader for good.
//!
//! **Which log it is.** `LogId` is made of the cluster's id and the ids of the topics of events
//! (`describe.rs`), so a topic that is made anew is another log.
//!
//! Only `describe.rs`, `fetch.rs`, `owned.rs` and `group/members.rs` call the C library itself;
//! nothing else is unsafe.

pub mod access;
pub mod address;
pub mod bare;
mod call;
mod client;
mod describe;
pub mod error;
pub mod feed;
mod fetch;
mod fetching;
pub mod group;
pub mod init;
mod inquiry;
pub mod log;
mod owned;
mod producer;
mod reader;
mod reminder;
pub mod settings;
mod survey;
mod topics;

pub use access::{BadMechanism, HAS_TLS, Login, Mechanism, TlsSettings};
pub use address::{BadAddress, KafkaAddress};
pub use error::{Difference, OpenError};
pub use feed::{KafkaFeed, KafkaPublisher, KafkaSubscriber};
pub use group::KafkaGroup;
pub use init::{InitReport, InitSettings, init};
pub use log::KafkaLog;
pub use settings::{BadProtocol, GroupProtocol, KafkaSettings};
