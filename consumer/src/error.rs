//! Why the consumer stopped.

use agon_ports::{PortError, Retry};
use agon_schema::{Position, TopicPartition};
use thiserror::Error;

/// Why the consumer stopped.
#[derive(Debug, Error)]
pub enum ConsumerError {
    /// A port refused something for good.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The record at the stored position is another one.
    #[error(
        "the store was folded through offset {stored} of another log: the record at {} offset {} \
         is not the one it saw; restore the log that belongs to it, or run `agon rebuild`",
        position.source, position.offset
    )]
    AnotherLog {
        /// What was read.
        position: Position,
        /// Where the store stands.
        stored: u64,
    },
    /// The log ends before the stored position.
    #[error(
        "the store is folded through offset {stored} of {source_partition}, but the log ends at \
         {end}: records are missing; restore the log, or run `agon rebuild`"
    )]
    LogTooShort {
        /// Which partition.
        source_partition: TopicPartition,
        /// Where the store stands.
        stored: u64,
        /// The offset that the next record would get.
        end: u64,
    },
    /// The log begins after the records that are needed next.
    #[error(
        "the log of {source_partition} is needed from offset {needed} on, but begins at {start}: \
         retention passed over records; set the topic's retention to unlimited and restore the \
         log, or run `agon rebuild`"
    )]
    LogStartsLater {
        /// Which partition.
        source_partition: TopicPartition,
        /// The record at the stored position, by which the log is recognised; 0 without one.
        needed: u64,
        /// The first offset that the log still has.
        start: u64,
    },
    /// A metric's name is taken.
    #[error("register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A worker ended without an answer.
    #[error("a worker stopped: {0}")]
    Worker(String),
    /// Not everything was stored before the deadline; it is folded again at the next start.
    #[error(
        "shutdown took longer than {deadline_ms} ms; what was not stored is folded again at the \
         next start"
    )]
    Deadline {
        /// How long it was given.
        deadline_ms: u128,
    },
}

impl ConsumerError {
    /// Whether log or store were only away.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, ConsumerError::Port(error) if error.retry == Retry::Later)
    }
}

/// Why a worker ended early.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// Somebody else stored what this worker was about to: its memory is no longer that of the
    /// store. With a group that is how a lost share shows at times; alone it is a failure.
    Overtaken(PortError),
    /// It cannot go on.
    Failed(ConsumerError),
}

impl From<ConsumerError> for Stopped {
    fn from(error: ConsumerError) -> Stopped {
        Stopped::Failed(error)
    }
}

impl From<PortError> for Stopped {
    fn from(error: PortError) -> Stopped {
        Stopped::Failed(error.into())
    }
}

impl From<Stopped> for ConsumerError {
    fn from(stopped: Stopped) -> ConsumerError {
        match stopped {
            Stopped::Overtaken(error) => error.into(),
            Stopped::Failed(error) => error,
        }
    }
}
