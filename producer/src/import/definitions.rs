//! Which environments and benchmarks a log defines, found by reading it: for imports into a log
//! whose store nobody asked for. A definition is usually among the first records of its partition,
//! so the search is short; nothing is read twice.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use agon_ports::{Assignment, EventLog, LogRecord, PortError, ReadLimits, Retry};
use agon_projections::CellKey;
use agon_schema::{Event, Record, TopicPartition, decode};
use tokio::time::Instant;

use super::sink::RETRY_TIME_MAX;
use crate::judge;

/// What one read may return.
const LIMITS: ReadLimits = ReadLimits { records_max: 10_000, bytes_max: 8 << 20 };
/// How long the log may be silent while records are due, before the search begins again.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Pause after a failed attempt.
const PAUSE: Duration = Duration::from_millis(500);
/// Definitions that are remembered; beyond it the search begins again from the start.
const SEEN_MAX: usize = 100_000;

/// How far a search is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Searched {
    /// Records read in this search.
    pub records: u64,
    /// Records that it reads at most.
    pub records_total: u64,
}

/// Called as a search goes on.
pub type OnSearched = Box<dyn Fn(Searched) + Send + Sync>;

/// The definitions that a log holds, as far as they were looked for.
pub struct Definitions {
    log: Arc<dyn EventLog>,
    /// The next offset of each partition that was read.
    next: Assignment,
    seen: HashSet<CellKey>,
    on_searched: OnSearched,
}

impl Definitions {
    /// Those of this log; nothing is read yet.
    pub fn new(log: Arc<dyn EventLog>, on_searched: OnSearched) -> Definitions {
        Definitions { log, next: Assignment::new(), seen: HashSet::new(), on_searched }
    }

    /// Which of these cells the log defines, as it was when the search began.
    ///
    /// # Errors
    /// When the log was away, or silent while records were due, for 60 s.
    pub async fn find(
        &mut self,
        cells: &BTreeSet<CellKey>,
    ) -> Result<BTreeSet<CellKey>, PortError> {
        let mut deadline = Instant::now() + RETRY_TIME_MAX;
        loop {
            let before = self.next.clone();
            let error = match self.search(cells).await {
                Ok(()) => break,
                Err(error) => error,
            };
            if self.next != before {
                deadline = Instant::now() + RETRY_TIME_MAX;
            }
            if error.retry == Retry::Never || Instant::now() >= deadline {
                return Err(error);
            }
            tracing::debug!(%error, "will search on");
            tokio::time::sleep(PAUSE).await;
        }
        Ok(cells.iter().filter(|cell| self.seen.contains(*cell)).cloned().collect())
    }

    /// Reads on, in the partitions of these cells, until all are found or the end is reached.
    async fn search(&mut self, cells: &BTreeSet<CellKey>) -> Result<(), PortError> {
        if self.seen.len() > SEEN_MAX {
            self.seen.clear();
            self.next.clear();
        }
        let mut missing: HashSet<&CellKey> =
            cells.iter().filter(|cell| !self.seen.contains(*cell)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let (starts, ends) = (self.log.starts().await?, self.log.ends().await?);
        let mut from = Assignment::new();
        for cell in &missing {
            let source = cell.source(self.log.partitions());
            let next = at(&self.next, source).max(at(&starts, source));
            if next < at(&ends, source) {
                from.insert(source, next);
            }
        }
        let left = |from: &Assignment| -> u64 {
            from.iter().map(|(source, next)| at(&ends, *source).saturating_sub(*next)).sum()
        };
        let records_total = left(&from);
        if records_total == 0 {
            return Ok(());
        }
        let mut reader = self.log.read(from.clone()).await?;
        while !missing.is_empty() && left(&from) > 0 {
            let page = reader.next(LIMITS, SILENCE_MAX).await?;
            if page.is_empty() {
                let reason = "none came for 5 s; check that the log answers";
                return Err(PortError::later("read the log for definitions", reason));
            }
            for LogRecord { position, record } in page {
                from.insert(position.source, position.offset + 1);
                self.next.insert(position.source, position.offset + 1);
                if let Some(cell) = defined(&record) {
                    missing.remove(&cell);
                    self.seen.insert(cell);
                }
            }
            let records = records_total.saturating_sub(left(&from));
            (self.on_searched)(Searched { records, records_total });
        }
        Ok(())
    }
}

fn at(offsets: &Assignment, source: TopicPartition) -> u64 {
    offsets.get(&source).copied().unwrap_or(0)
}

/// Whether a log defines an environment or a benchmark.
///
/// # Errors
/// As [`Definitions::find`].
pub async fn find_definition(
    log: Arc<dyn EventLog>,
    cell: &CellKey,
    on_searched: OnSearched,
) -> Result<bool, PortError> {
    let found = Definitions::new(log, on_searched).find(&BTreeSet::from([cell.clone()])).await?;
    Ok(found.contains(cell))
}

/// The cell that an event is the first definition of; later versions count only after it.
pub(crate) fn defined_by(event: &Event) -> Option<CellKey> {
    let (cell, first) = match event {
        Event::EnvironmentDefined(defined) => {
            (CellKey::Environment(defined.id.clone()), judge::environment_definition(&defined.id))
        }
        Event::BenchmarkDefined(defined) => {
            (CellKey::Benchmark(defined.id.clone()), judge::benchmark_definition(&defined.id))
        }
        _ => return None,
    };
    (event.identity() == first).then_some(cell)
}

/// The same of a record; what is no definition is not decoded.
fn defined(record: &Record) -> Option<CellKey> {
    const TYPES: [&[u8]; 2] = [b"agon.environment.defined.v1", b"agon.benchmark.defined.v1"];
    if !record.header("ce_type").is_some_and(|kind| TYPES.contains(&kind)) {
        return None;
    }
    decode(record).ok().as_ref().and_then(defined_by)
}
