//! Cells: the unit that is folded in order and flushed atomically.

use std::fmt;

use agon_schema::{BenchmarkId, EnvironmentId, Event, Topic, TopicPartition};
use serde::{Deserialize, Serialize};

/// The number of the fold's code: it changes when the same events would give other values. A store
/// written under another number is folded anew.
pub const FOLD_VERSION: u32 = 2;

/// The generation that is live. It stands in every stored key, so that a cell can be folded anew
/// beside it and one pointer switched.
pub const GENERATION: u32 = 1;

/// One environment, one benchmark, or one partition of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CellKey {
    /// The matches of an environment.
    Environment(EnvironmentId),
    /// The submissions and runs of a benchmark.
    Benchmark(BenchmarkId),
    /// The recent changes of one partition.
    Stream(u32),
}

impl CellKey {
    /// The cell that an event belongs to, read from this partition.
    pub fn of(event: &Event, source: TopicPartition) -> CellKey {
        match event {
            Event::EnvironmentDefined(event) => CellKey::Environment(event.id.clone()),
            Event::MatchFinished(event) => CellKey::Environment(event.environment.clone()),
            Event::BenchmarkDefined(event) => CellKey::Benchmark(event.id.clone()),
            Event::SubmissionReceived(event) => CellKey::Benchmark(event.benchmark.clone()),
            Event::RunScored(event) => CellKey::Benchmark(event.benchmark.clone()),
            Event::RecentChange(_) => CellKey::Stream(source.partition),
        }
    }

    /// The partition whose records this cell is folded from.
    pub fn source(&self, partitions: u32) -> TopicPartition {
        match self {
            CellKey::Environment(id) => {
                TopicPartition::of_key(Topic::Matches, id.as_str().as_bytes(), partitions)
            }
            CellKey::Benchmark(id) => {
                TopicPartition::of_key(Topic::Submissions, id.as_str().as_bytes(), partitions)
            }
            CellKey::Stream(partition) => {
                TopicPartition { topic: Topic::RecentChange, partition: *partition }
            }
        }
    }

    /// What kind it is, for labels and messages.
    pub fn kind(&self) -> &'static str {
        match self {
            CellKey::Environment(_) => "environment",
            CellKey::Benchmark(_) => "benchmark",
            CellKey::Stream(_) => "stream",
        }
    }
}

impl fmt::Display for CellKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CellKey::Environment(id) => write!(f, "environment {id}"),
            CellKey::Benchmark(id) => write!(f, "benchmark {id}"),
            CellKey::Stream(partition) => write!(f, "stream partition {partition}"),
        }
    }
}
