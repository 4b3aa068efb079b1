//! The log on Kafka or Redpanda: topics, the idempotent producer, readers by position, the consumer
//! group, and the change feed.

pub mod address;
mod call;
mod client;
mod describe;
pub mod error;
mod fetch;
pub mod group;
pub mod init;
mod inquiry;
pub mod log;
mod owned;
mod producer;
mod reader;
pub mod settings;
mod survey;
mod topics;

pub use address::{BadAddress, KafkaAddress};
pub use error::{Difference, OpenError};
pub use group::KafkaGroup;
pub use init::{InitReport, InitSettings, init};
pub use log::KafkaLog;
#[cfg(feature = "tls")]
pub use settings::TlsSettings;
pub use settings::{BadProtocol, GroupProtocol, KafkaSettings};
