//! What the store should hold: the fold of one partition, one record at a time, in plain maps.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use agon_ports::{Assignment, EventLog, LogReader, LogRecord, PortError, ReadLimits};
use agon_projections::fold::{read, rejected_rows};
use agon_projections::row::{Counts, FirstSeen, Progress, SubmissionRow, UserHash, Value};
use agon_projections::{Cell, CellKey, Known, Outcome, Row, RowKey};
use agon_schema::record::RecordHash;
use agon_schema::{Identity, NaturalId, Topic, TopicPartition};

/// The records of one partition, from the first to a last one.
pub struct Records {
    reader: Box<dyn LogReader>,
    waiting: std::vec::IntoIter<LogRecord>,
    left: u64,
}

impl Records {
    /// From the first record to the one at `last`.
    pub async fn open(
        log: &dyn EventLog,
        source: TopicPartition,
        last: u64,
    ) -> Result<Records, PortError> {
        let reader = log.read(Assignment::from([(source, 0)])).await?;
        Ok(Records { reader, waiting: Vec::new().into_iter(), left: last + 1 })
    }

    /// The next one; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<LogRecord>, PortError> {
        while self.left > 0 {
            if let Some(record) = self.waiting.next() {
                self.left -= 1;
                return Ok(Some(record));
            }
            let limits = ReadLimits { records_max: 1_024, bytes_max: 1 << 20 };
            let page = self.reader.next(limits, Duration::from_secs(5)).await?;
            if page.is_empty() {
                return Err(PortError::later("read the log", "no record came for 5 s"));
            }
            self.waiting = page.into_iter();
        }
        Ok(None)
    }
}

/// What events of one cell may ask for.
#[derive(Default)]
struct Memory {
    first_seen: HashMap<Identity, FirstSeen>,
    submissions: BTreeMap<NaturalId, SubmissionRow>,
    users: HashMap<UserHash, u64>,
}

impl Known for Memory {
    fn first_seen(&self, identity: Identity) -> Option<FirstSeen> {
        self.first_seen.get(&identity).copied()
    }

    fn submission(&self, id: &NaturalId) -> Option<SubmissionRow> {
        self.submissions.get(id).cloned()
    }

    fn user(&self, user: UserHash) -> Option<u64> {
        self.users.get(&user).copied()
    }
}

/// The sequential fold of one partition.
pub struct Expected {
    source: TopicPartition,
    partitions: u32,
    cells: BTreeMap<CellKey, (Cell, Memory)>,
    refusals: BTreeMap<RowKey, Value>,
    counts: Counts,
    last: Option<(u64, RecordHash)>,
}

impl Expected {
    /// Nothing folded yet.
    pub fn new(source: TopicPartition, partitions: u32) -> Expected {
        Expected {
            source,
            partitions,
            cells: BTreeMap::new(),
            refusals: BTreeMap::new(),
            counts: Counts::default(),
            last: None,
        }
    }

    /// Folds one record; answers the rows that no later record changes.
    pub fn fold(&mut self, record: &LogRecord) -> Vec<Row> {
        let offset = record.position.offset;
        self.last = Some((offset, record.record.hash()));
        let event = match read(&record.record, self.source, self.partitions) {
            Ok(event) => event,
            Err(rejection) => {
                if self.source.topic == Topic::RecentChange {
                    let key = CellKey::Stream(self.source.partition);
                    let new = || (Cell::new(key.clone()), Memory::default());
                    self.cells.entry(key.clone()).or_insert_with(new).0.reject_unread(offset);
                }
                return self.bury(record, &rejection);
            }
        };
        let key = CellKey::of(&event, self.source);
        let new = || (Cell::new(key.clone()), Memory::default());
        let (cell, memory) = self.cells.entry(key.clone()).or_insert_with(new);
        match cell.step(offset, &event, memory) {
            Outcome::Counted(effects) => {
                self.counts.counted += 1;
                effects.rows.into_iter().filter(|row| memory.keep(row)).collect()
            }
            Outcome::Duplicate(_) => {
                self.counts.duplicates += 1;
                Vec::new()
            }
            Outcome::Rejected(rejection) => self.bury(record, &rejection),
        }
    }

    fn bury(&mut self, record: &LogRecord, rejection: &agon_projections::Rejection) -> Vec<Row> {
        self.counts.rejected += 1;
        let offset = record.position.offset;
        let rows = rejected_rows(&record.record, self.source, offset, rejection);
        let (refusals, letters): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| matches!(row.key, RowKey::Refusal(..)));
        self.refusals.extend(refusals.into_iter().map(|row| (row.key, row.value)));
        letters
    }

    /// The rows that every record may have changed, as they are now.
    pub fn rest(&mut self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (key, (cell, memory)) in &self.cells {
            rows.extend(cell.head_row());
            rows.extend((0..cell.slots()).map(|slot| cell.row(slot)));
            rows.extend(memory.submissions.iter().map(|(id, submission)| Row {
                key: RowKey::Submission(key.clone(), id.clone()),
                value: Value::Submission(submission.clone()),
            }));
        }
        let refusals = self.refusals.iter();
        rows.extend(refusals.map(|(key, value)| Row { key: key.clone(), value: value.clone() }));
        if let Some((applied, record_hash)) = self.last {
            let progress = Progress { applied, record_hash, counts: self.counts };
            let key = RowKey::Progress(self.source);
            rows.push(Row { key, value: Value::Progress(progress) });
        }
        rows
    }

    /// Cells that something happened to.
    pub fn cells(&self) -> u64 {
        self.cells.values().filter(|(cell, _)| cell.applied().is_some()).count() as u64
    }
}

impl Memory {
    /// Remembers what later events may ask for; whether the row is one that stays as it is.
    fn keep(&mut self, row: &Row) -> bool {
        match (&row.key, &row.value) {
            (RowKey::FirstSeen(_, identity), Value::FirstSeen(first)) => {
                self.first_seen.insert(*identity, *first);
                true
            }
            (RowKey::User(_, user), Value::Since(offset)) => {
                self.users.insert(*user, *offset);
                true
            }
            (RowKey::Submission(_, id), Value::Submission(submission)) => {
                self.submissions.insert(id.clone(), submission.clone());
                false
            }
            _ => true,
        }
    }
}
