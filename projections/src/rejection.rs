//! Why an event does not count. A rejection is deterministic and becomes a dead-letter row.

use std::fmt;

use agon_schema::DecodeError;
use serde::{Deserialize, Serialize};

/// The closed list of reasons; their names are codes in answers, rows and metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reason {
    /// No event: bytes, headers or type cannot be read.
    Malformed,
    /// An event type that this version does not know.
    UnknownType,
    /// A field holds what it cannot.
    InvalidField,
    /// The record stands in another partition than its key belongs to.
    WrongPartition,
    /// Equal identity, other content; the first one stands.
    ConflictingDuplicate,
    /// No definition of the environment stands before it.
    UnknownEnvironment,
    /// No definition of the benchmark stands before it.
    UnknownBenchmark,
    /// No such submission stands before the run.
    UnknownSubmission,
    /// A completed run without the benchmark's metric.
    MissingMetric,
    /// A definition whose version does not follow the one that stands.
    VersionOutOfOrder,
}

impl Reason {
    /// All of them, for metrics that start at zero.
    pub const ALL: [Reason; 10] = [
        Reason::Malformed,
        Reason::UnknownType,
        Reason::InvalidField,
        Reason::WrongPartition,
        Reason::ConflictingDuplicate,
        Reason::UnknownEnvironment,
        Reason::UnknownBenchmark,
        Reason::UnknownSubmission,
        Reason::MissingMetric,
        Reason::VersionOutOfOrder,
    ];

    /// The code.
    pub const fn code(self) -> &'static str {
        match self {
            Reason::Malformed => "malformed",
            Reason::UnknownType => "unknown_type",
            Reason::InvalidField => "invalid_field",
            Reason::WrongPartition => "wrong_partition",
            Reason::ConflictingDuplicate => "conflicting_duplicate",
            Reason::UnknownEnvironment => "unknown_environment",
            Reason::UnknownBenchmark => "unknown_benchmark",
            Reason::UnknownSubmission => "unknown_submission",
            Reason::MissingMetric => "missing_metric",
            Reason::VersionOutOfOrder => "version_out_of_order",
        }
    }

    /// Whether the same event would be rejected again whatever comes: then the intake need not
    /// append it a second time. The others may count later, once what they miss is there.
    pub const fn is_final(self) -> bool {
        matches!(self, Reason::Malformed | Reason::ConflictingDuplicate)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Characters of a rejection's detail, at most.
const DETAIL_CHARS_MAX: usize = 300;

/// A reason with what exactly was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Why, from the closed list.
    pub reason: Reason,
    /// What exactly, in words; at most 300 characters.
    pub detail: String,
}

impl Rejection {
    /// A reason and its detail, cut to the limit.
    pub fn new(reason: Reason, detail: impl fmt::Display) -> Rejection {
        Rejection { reason, detail: detail.to_string().chars().take(DETAIL_CHARS_MAX).collect() }
    }
}

impl From<DecodeError> for Rejection {
    fn from(error: DecodeError) -> Rejection {
        let reason = match error {
            DecodeError::Header(_) | DecodeError::Malformed(_) => Reason::Malformed,
            DecodeError::UnknownType(_) => Reason::UnknownType,
            DecodeError::Invalid(_) => Reason::InvalidField,
        };
        Rejection::new(reason, error)
    }
}
