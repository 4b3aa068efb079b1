//! Folds a log into a store, a record at a time and when told to: what a consumer does, without
//! its haste.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use agon_memory::{MemoryLog, MemoryPublisher, MemoryStore};
use agon_ports::{Change, ChangePublisher, EventLog, LogRecord, ProjectionStore, ReadLimits};
use agon_projections::fold::{Known, read, rejected_rows};
use agon_projections::row::{Counts, FirstSeen, Progress, SubmissionRow, UserHash, Value};
use agon_projections::{Cell, CellKey, Flush, Outcome, Reason, Row, RowKey};
use agon_schema::{Identity, NaturalId, TopicPartition};

const LIMITS: ReadLimits = ReadLimits { records_max: 100_000, bytes_max: 1 << 30 };

pub struct Folder {
    log: MemoryLog,
    store: MemoryStore,
    publisher: MemoryPublisher,
    cells: HashMap<CellKey, Cell>,
    rows: HashMap<RowKey, Value>,
    next: BTreeMap<TopicPartition, u64>,
    counts: BTreeMap<TopicPartition, Counts>,
}

struct Seen<'a>(&'a CellKey, &'a HashMap<RowKey, Value>);

impl Known for Seen<'_> {
    fn first_seen(&self, identity: Identity) -> Option<FirstSeen> {
        match self.1.get(&RowKey::FirstSeen(self.0.clone(), identity)) {
            Some(Value::FirstSeen(first)) => Some(*first),
            _ => None,
        }
    }

    fn submission(&self, id: &NaturalId) -> Option<SubmissionRow> {
        match self.1.get(&RowKey::Submission(self.0.clone(), id.clone())) {
            Some(Value::Submission(row)) => Some(row.clone()),
            _ => None,
        }
    }

    fn user(&self, user: UserHash) -> Option<u64> {
        match self.1.get(&RowKey::User(self.0.clone(), user)) {
            Some(Value::Since(offset)) => Some(*offset),
            _ => None,
        }
    }
}

impl Folder {
    pub fn new(log: MemoryLog, store: MemoryStore, publisher: MemoryPublisher) -> Folder {
        let (cells, rows) = (HashMap::new(), HashMap::new());
        let (next, counts) = (BTreeMap::new(), BTreeMap::new());
        Folder { log, store, publisher, cells, rows, next, counts }
    }

    /// Folds everything that the log holds now.
    pub async fn fold(&mut self) {
        for (source, end) in self.log.ends().await.unwrap() {
            let next = self.next.get(&source).copied().unwrap_or(0);
            if next < end {
                self.fold_partition(source, next, end).await;
            }
        }
    }

    async fn fold_partition(&mut self, source: TopicPartition, next: u64, end: u64) {
        let mut reader = self.log.read([(source, next)].into()).await.unwrap();
        let mut rows = Vec::new();
        let mut last = None;
        let mut at = next;
        while at < end {
            for record in reader.next(LIMITS, Duration::from_secs(1)).await.unwrap() {
                at = record.position.offset + 1;
                rows.extend(self.step(source, &record));
                last = Some(record);
            }
        }
        let last = last.unwrap();
        for cell in self.cells.values() {
            if cell.key().source(self.log.partitions()) == source {
                rows.extend(cell.head_row());
                rows.extend((0..cell.slots()).map(|slot| cell.row(slot)));
            }
        }
        let counts = self.counts.get(&source).copied().unwrap_or_default();
        let applied = last.position.offset;
        let progress = Progress { applied, record_hash: last.record.hash(), counts };
        let from = next.checked_sub(1);
        let flush = Flush { source, from, progress, cells: Vec::new(), rows };
        self.store.flush(Arc::new(flush)).await.unwrap();
        self.next.insert(source, applied + 1);
        let appended_at_ms = last.record.appended_at_ms;
        self.publisher.publish(Change::Progress { source, applied, appended_at_ms }).await;
    }

    fn step(&mut self, source: TopicPartition, record: &LogRecord) -> Vec<Row> {
        let LogRecord { position, record } = record;
        let counts = self.counts.entry(source).or_default();
        let event = match read(record, source, self.log.partitions()) {
            Ok(event) => event,
            Err(rejection) => {
                counts.rejected += 1;
                return rejected_rows(record, source, position.offset, &rejection);
            }
        };
        let key = CellKey::of(&event, source);
        let cell = self.cells.entry(key.clone()).or_insert_with(|| Cell::new(key.clone()));
        let rows = match cell.step(position.offset, &event, &Seen(&key, &self.rows)) {
            Outcome::Counted(effects) => {
                counts.counted += 1;
                effects.rows
            }
            Outcome::Duplicate(_) => {
                counts.duplicates += 1;
                Vec::new()
            }
            Outcome::Rejected(rejection) => {
                counts.rejected += 1;
                rejected_rows(record, source, position.offset, &rejection)
            }
        };
        for row in &rows {
            self.rows.insert(row.key.clone(), row.value.clone());
        }
        rows
    }

    /// What became of all records so far.
    pub fn counts(&self) -> Counts {
        self.counts.values().fold(Counts::default(), |sum, counts| Counts {
            counted: sum.counted + counts.counted,
            duplicates: sum.duplicates + counts.duplicates,
            rejected: sum.rejected + counts.rejected,
        })
    }

    /// The reasons of all dead letters, in the order of their rows.
    pub async fn reasons(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for source in self.next.keys() {
            let keys = (0..self.next[source]).map(|offset| RowKey::DeadLetter(*source, offset));
            for row in self.store.get(keys.collect()).await.unwrap().into_iter().flatten() {
                if let Value::DeadLetter(letter) = row.value {
                    reasons.push(letter.rejection.reason);
                }
            }
        }
        reasons
    }
}
