//! [`EventLog`] in memory: a list of records for each partition, behind one lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agon_ports::{Append, Assignment, EventLog, LogReader, LogRecord, PortError, ReadLimits};
use agon_schema::record::RECORD_BYTES_MAX;
use agon_schema::topic::PARTITIONS_DEFAULT;
use agon_schema::{LogId, Position, Record, TopicPartition};
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

/// How a log in memory is made.
#[derive(Clone, Copy, Debug)]
pub struct LogSettings {
    /// Partitions of every topic; 16 unless set, at least 1.
    pub partitions: u32,
    /// Records that the log holds at most, all partitions together; a million unless set. An
    /// append that would go beyond is refused whole, to be tried later.
    pub records_max: usize,
    /// Which log it is; a new one unless set.
    pub id: LogId,
}

impl Default for LogSettings {
    fn default() -> LogSettings {
        LogSettings {
            partitions: PARTITIONS_DEFAULT,
            records_max: 1_000_000,
            id: LogId(Uuid::now_v7()),
        }
    }
}

/// An event log in memory. Clones are the same log: keep one to open it again.
#[derive(Clone, Debug)]
pub struct MemoryLog {
    settings: LogSettings,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    held: Mutex<Held>,
    /// Records held, told to waiting readers after each append.
    grown: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Held {
    partitions: BTreeMap<TopicPartition, Vec<Record>>,
    records: usize,
}

impl MemoryLog {
    /// A new, empty log.
    pub fn new(settings: LogSettings) -> MemoryLog {
        let settings = LogSettings { partitions: settings.partitions.max(1), ..settings };
        let shared = Shared { held: Mutex::default(), grown: watch::Sender::new(0) };
        MemoryLog { settings, shared: Arc::new(shared) }
    }

    /// Why this partition is none of this log's, if so.
    fn unknown(&self, source: TopicPartition) -> Option<String> {
        let last = self.settings.partitions - 1;
        let unknown = source.partition > last;
        unknown.then(|| format!("there is no partition {source}, the last one is {last}"))
    }

    /// Why a call with this record is refused for good, if so.
    fn refusal(&self, append: &Append) -> Option<String> {
        let size_bytes = append.record.size_bytes();
        if size_bytes > RECORD_BYTES_MAX {
            return Some(format!(
                "a record for {} has {size_bytes} bytes, more than {RECORD_BYTES_MAX}; send less",
                append.target
            ));
        }
        self.unknown(append.target)
    }
}

impl Shared {
    /// Nothing panics while it holds this lock, so what a poisoned one guards is whole.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn end(&self, source: TopicPartition) -> u64 {
        self.partitions.get(&source).map_or(0, |records| records.len() as u64)
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    fn id(&self) -> LogId {
        self.settings.id
    }

    fn partitions(&self) -> u32 {
        self.settings.partitions
    }

    async fn append(&self, records: Vec<Append>) -> Result<Vec<Position>, PortError> {
        let attempted = || format!("append {} records", records.len());
        if let Some(reason) = records.iter().find_map(|append| self.refusal(append)) {
            return Err(PortError::never(attempted(), reason));
        }
        let mut held = self.shared.held();
        let records_max = self.settings.records_max;
        if records.len() > records_max.saturating_sub(held.records) {
            let reason = format!(
                "the log in memory holds {} records of {records_max}; raise records_max",
                held.records
            );
            return Err(PortError::later(attempted(), reason));
        }
        held.records += records.len();
        let mut positions = Vec::with_capacity(records.len());
        for Append { target, record } in records {
            positions.push(Position { source: target, offset: held.end(target) });
            held.partitions.entry(target).or_default().push(record);
        }
        self.shared.grown.send_replace(held.records);
        Ok(positions)
    }

    async fn ends(&self) -> Result<Assignment, PortError> {
        let held = self.shared.held();
        let sources = TopicPartition::all(self.settings.partitions);
        Ok(sources.map(|source| (source, held.end(source))).collect())
    }

    async fn read(&self, from: Assignment) -> Result<Box<dyn LogReader>, PortError> {
        let held = self.shared.held();
        for (source, offset) in &from {
            let end = held.end(*source);
            let refusal = self.unknown(*source).or_else(|| {
                (*offset > end).then(|| format!("the end of {source} is {end}; start there"))
            });
            if let Some(reason) = refusal {
                return Err(PortError::never(format!("read {source} from {offset}"), reason));
            }
        }
        let grown = self.shared.grown.subscribe();
        Ok(Box::new(MemoryReader { shared: Arc::clone(&self.shared), grown, next: from, turn: 0 }))
    }
}

struct MemoryReader {
    shared: Arc<Shared>,
    grown: watch::Receiver<usize>,
    next: Assignment,
    /// Which partition comes first: another one at each answer, so that a busy one starves none.
    turn: usize,
}

impl MemoryReader {
    /// What is there, within the limits. Moves on by exactly what it answers.
    fn take(&mut self, limits: ReadLimits) -> Vec<LogRecord> {
        let held = self.shared.held();
        let mut taken = Vec::new();
        let mut bytes = 0;
        let count = self.next.len();
        let turn = self.turn.checked_rem(count).unwrap_or(0);
        self.turn = turn + 1;
        let sources: Vec<_> = self.next.keys().copied().collect();
        for source in sources.iter().cycle().skip(turn).take(count) {
            let Some(next) = self.next.get_mut(source) else { continue };
            let records = held.partitions.get(source).map_or(&[][..], Vec::as_slice);
            for record in records.iter().skip(*next as usize) {
                let size_bytes = record.size_bytes();
                let fits = bytes + size_bytes <= limits.bytes_max || taken.is_empty();
                if taken.len() >= limits.records_max || !fits {
                    return taken;
                }
                bytes += size_bytes;
                let position = Position { source: *source, offset: *next };
                taken.push(LogRecord { position, record: record.clone() });
                *next += 1;
            }
        }
        taken
    }
}

#[async_trait]
impl LogReader for MemoryReader {
    async fn next(
        &mut self,
        limits: ReadLimits,
        wait: Duration,
    ) -> Result<Vec<LogRecord>, PortError> {
        let arrive = async {
            loop {
                // Marked as seen before looking, so that no growth falls in between.
                self.grown.mark_unchanged();
                let taken = self.take(limits);
                if !taken.is_empty() || self.grown.changed().await.is_err() {
                    return taken;
                }
            }
        };
        // What `arrive` takes it answers at once, so a wait that runs out drops nothing.
        Ok(timeout(wait, arrive).await.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use agon_schema::Topic;

    use super::*;

    fn append(value: &str) -> Append {
        let target = TopicPartition { topic: Topic::Matches, partition: 0 };
        let value = value.into();
        let record = Record { key: vec![], headers: vec![], value, appended_at_ms: 0 };
        Append { target, record }
    }

    #[tokio::test]
    async fn a_full_log_refuses_the_whole_call_until_later() {
        let log = MemoryLog::new(LogSettings { records_max: 3, ..LogSettings::default() });
        log.append(vec![append("a"), append("b")]).await.unwrap();
        let error = log.append(vec![append("c"), append("d")]).await.unwrap_err();
        assert_eq!(error.retry, agon_ports::Retry::Later);
        assert_eq!(
            error.to_string(),
            "append 2 records: the log in memory holds 2 records of 3; raise records_max"
        );
        let positions = log.append(vec![append("c")]).await.unwrap();
        assert_eq!(positions.iter().map(|position| position.offset).collect::<Vec<_>>(), [2]);
    }

    #[tokio::test]
    async fn a_busy_partition_starves_no_other() {
        let log = MemoryLog::new(LogSettings::default());
        let busy = append("busy");
        let mut quiet = append("quiet");
        quiet.target.partition = 1;
        log.append([vec![busy.clone(); 100], vec![quiet.clone()]].concat()).await.unwrap();
        let mut reader = log.read([(busy.target, 0), (quiet.target, 0)].into()).await.unwrap();
        let limits = ReadLimits { records_max: 1, bytes_max: 100 };
        let mut sources = Vec::new();
        for _ in 0..2 {
            let records = reader.next(limits, Duration::ZERO).await.unwrap();
            sources.extend(records.into_iter().map(|read| read.position.source));
        }
        assert!(sources.contains(&quiet.target), "{sources:?}");
    }
}
