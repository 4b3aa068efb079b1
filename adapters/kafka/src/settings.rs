//! What an operator may choose of the log on Kafka, each with its unit and default.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::access::{Login, TlsSettings};

/// Settings of the log, the group and the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSettings {
    /// How long an append waits for its acknowledgement, and other calls for their answer, in
    /// milliseconds; 5,000 unless set.
    pub append_timeout_ms: u32,
    /// A member of the group that is silent for so long loses its partitions, in milliseconds;
    /// 10,000 unless set.
    pub session_timeout_ms: u32,
    /// How often a member of the group says that it lives, in milliseconds; 500 unless set.
    pub heartbeat_interval_ms: u32,
    /// How members of the group share partitions; classic unless set.
    pub group_protocol: GroupProtocol,
    /// Stands before the name of every topic and group; empty unless set. Tests keep to
    /// themselves with it.
    pub topic_prefix: String,
    /// How long a record waits for others to be sent with, in milliseconds; 1 unless set.
    pub linger_ms: u32,
    /// As whom the brokers know this client; as nobody unless set.
    pub login: Option<Login>,
    /// TLS to the brokers, which needs the feature `tls`; without encryption unless set.
    pub tls: Option<TlsSettings>,
}

impl Default for KafkaSettings {
    fn default() -> KafkaSettings {
        KafkaSettings {
            append_timeout_ms: 5_000,
            session_timeout_ms: 10_000,
            heartbeat_interval_ms: 500,
            group_protocol: GroupProtocol::Classic,
            topic_prefix: String::new(),
            linger_ms: 1,
            login: None,
            tls: None,
        }
    }
}

/// How the members of the group share partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupProtocol {
    /// Members agree among themselves; every broker knows it, Redpanda knows no other.
    #[default]
    Classic,
    /// The broker decides (KIP-848), from Kafka 4 on.
    Consumer,
}

impl fmt::Display for GroupProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GroupProtocol::Classic => "classic",
            GroupProtocol::Consumer => "consumer",
        })
    }
}

/// A text that names no group protocol.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no group protocol; write classic or consumer")]
pub struct BadProtocol(String);

impl FromStr for GroupProtocol {
    type Err = BadProtocol;

    fn from_str(text: &str) -> Result<GroupProtocol, BadProtocol> {
        match text {
            "classic" => Ok(GroupProtocol::Classic),
            "consumer" => Ok(GroupProtocol::Consumer),
            _ => Err(BadProtocol(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_survives_its_text() {
        for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
            assert_eq!(protocol.to_string().parse(), Ok(protocol));
        }
        assert_eq!(
            "Classic".parse::<GroupProtocol>().unwrap_err().to_string(),
            "`Classic` is no group protocol; write classic or consumer"
        );
    }
}
