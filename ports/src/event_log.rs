//! The log: an ordered, durable sequence of records in each partition.

use std::collections::BTreeMap;
use std::time::Duration;

use agon_schema::{LogId, Position, Record, TopicPartition};
use async_trait::async_trait;

use crate::PortError;

/// One record on its way into a partition.
#[derive(Clone, Debug)]
pub struct Append {
    /// Where it goes; computed from the key by the schema, never by the adapter.
    pub target: TopicPartition,
    /// What is appended.
    pub record: Record,
}

/// One record as read, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Where it stands.
    pub position: Position,
    /// What was appended.
    pub record: Record,
}

/// How much one read may return. A single record larger than `bytes_max` is still returned, alone.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Records at most.
    pub records_max: usize,
    /// Bytes of keys, headers and values at most.
    pub bytes_max: usize,
}

/// The first offset to read in each partition: `0` for everything.
pub type Assignment = BTreeMap<TopicPartition, u64>;

/// An ordered log of records.
///
/// ```text
/// partition   0   1   2   3 | 4   5
///             acknowledged  | being written
///                           ^ end = 4: the offset the next record gets
/// ```
/// - Offsets of a partition start at 0 and grow by one without a gap.
/// - The records of one `append` that go to one partition stand in the order given.
/// - Once `append` answers `Ok`, every record of it survives the loss of the process and of power.
///   An error leaves each record either absent or present once; the caller may append again, and
///   identities take care of the copy.
/// - Readers see acknowledged records only, each exactly once, in order within its partition.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Which log this is. It never changes for as long as the log exists.
    fn id(&self) -> LogId;

    /// Partitions of every topic. Recorded when the log was made; a change is refused.
    fn partitions(&self) -> u32;

    /// Appends all records and answers their positions, in the order given, once they are durable.
    ///
    /// # Errors
    /// `Retry::Never` for a record over [`agon_schema::record::RECORD_BYTES_MAX`] or a partition
    /// that does not exist: nothing of the call was written. `Retry::Later` when the log is away
    /// or full.
    async fn append(&self, records: Vec<Append>) -> Result<Vec<Position>, PortError>;

    /// The offset that the next record of each partition will get.
    ///
    /// # Errors
    /// `Retry::Later` when the log is away.
    async fn ends(&self) -> Result<Assignment, PortError>;

    /// The offset of the first record that each partition still has: 0 unless something removed
    /// records, which no log of events may do.
    ///
    /// # Errors
    /// `Retry::Later` when the log is away.
    async fn starts(&self) -> Result<Assignment, PortError> {
        Ok(TopicPartition::all(self.partitions()).map(|source| (source, 0)).collect())
    }

    /// A reader of these partitions from these offsets on.
    ///
    /// # Errors
    /// `Retry::Never` for a partition that does not exist, or an offset beyond the end or before
    /// the start.
    async fn read(&self, from: Assignment) -> Result<Box<dyn LogReader>, PortError>;
}

/// Reads some partitions of a log, in order within each.
#[async_trait]
pub trait LogReader: Send {
    /// The next records. Waits up to `wait` for at least one and answers an empty list when none
    /// came. Cancelling the call loses nothing.
    ///
    /// # Errors
    /// `Retry::Later` when the log is away, `Retry::Never` when what it holds cannot be read.
    async fn next(
        &mut self,
        limits: ReadLimits,
        wait: Duration,
    ) -> Result<Vec<LogRecord>, PortError>;
}
