//! Why a log on Kafka cannot be opened or made, and whether waiting may help.

use std::fmt;

use thiserror::Error;

use crate::address::KafkaAddress;

/// Why a log could not be opened or made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The brokers do not answer.
    #[error(
        "reach the log at {address}: {reason}; start the brokers there, or name others with --log"
    )]
    Away {
        /// Where they were looked for.
        address: KafkaAddress,
        /// What stood in the way.
        reason: String,
    },
    /// Topics are not made yet.
    #[error(
        "open the log at {address}: no topic {}; make what is missing with `agon init`",
        .topics.join(", ")
    )]
    NotMade {
        /// The cluster that lacks them.
        address: KafkaAddress,
        /// Their names.
        topics: Vec<String>,
    },
    /// What is there is not what it must be.
    #[error("open the log at {address}: {}", listed(.differences))]
    Differs {
        /// The cluster whose topics differ.
        address: KafkaAddress,
        /// All that differs, at least one.
        differences: Vec<Difference>,
    },
    /// The brokers, or the client itself, refuse.
    #[error("{attempted} at {address}: {reason}")]
    Refused {
        /// Which brokers.
        address: KafkaAddress,
        /// What was attempted.
        attempted: String,
        /// Why not, and the remedy where one is known.
        reason: String,
    },
}

impl OpenError {
    /// Whether the same call may succeed later: the log is away, or not made yet.
    pub fn may_pass(&self) -> bool {
        matches!(self, OpenError::Away { .. } | OpenError::NotMade { .. })
    }
}

/// One setting of a topic that is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The topic's name.
    pub topic: String,
    /// Its setting: `retention.ms`, `partitions`, …
    pub setting: String,
    /// What it must be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { topic, setting, expected, found } = self;
        write!(f, "topic {topic} has {setting} {found}, expected {expected}")
    }
}

fn listed(differences: &[Difference]) -> String {
    let all: Vec<String> = differences.iter().map(Difference::to_string).collect();
    format!(
        "{}; correct it with the broker's tools, or remove the topic if it holds nothing of worth \
         and run `agon init`",
        all.join("; ")
    )
}
