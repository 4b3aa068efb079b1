//! What the store should hold: the fold of one partition, one record at a time, in plain maps.

use std::collections::{BTreeMap, HashMap};

use agon_ports::LogRecord;
use agon_projections::fold::{read, rejected_rows};
use agon_projections::row::{Counts, FirstSeen, Progress, SubmissionRow, UserHash, Value};
use agon_projections::{Cell, CellKey, Known, Outcome, Rejection, Row, RowKey};
use agon_schema::record::RecordHash;
use agon_schema::{Identity, NaturalId, Topic, TopicPartition};

use super::limits::Limits;

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

/// What became of a record.
enum Fate {
    Counted,
    Duplicate,
    Rejected(Rejection),
}

/// What one record did.
#[derive(Default)]
pub struct Did {
    /// Rows that no later record changes.
    pub fixed: Vec<Row>,
    cell: Option<CellKey>,
    touched: Vec<u32>,
    submissions: Vec<Row>,
}

/// The sequential fold of one partition, each cell up to its own limit.
pub struct Expected {
    source: TopicPartition,
    partitions: u32,
    limits: Limits,
    /// How far everything is folded; the limits before the present ones.
    through: Limits,
    cells: BTreeMap<CellKey, (Cell, Memory)>,
    refusals: BTreeMap<RowKey, Value>,
    counts: Counts,
    last: Option<(u64, RecordHash)>,
    /// What became of records that a cell is folded through, and the progress not yet.
    ahead: BTreeMap<u64, Fate>,
}

impl Expected {
    /// Nothing folded yet, and to be folded up to these limits.
    pub fn new(source: TopicPartition, partitions: u32, limits: Limits) -> Expected {
        Expected {
            source,
            partitions,
            limits,
            through: Limits::default(),
            cells: BTreeMap::new(),
            refusals: BTreeMap::new(),
            counts: Counts::default(),
            last: None,
            ahead: BTreeMap::new(),
        }
    }

    /// The partition.
    pub fn source(&self) -> TopicPartition {
        self.source
    }

    /// How far it is to be folded.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The first and the last record that [`Expected::fold`] must be given, in order.
    pub fn span(&self) -> Option<(u64, u64)> {
        let first = self.through.progress.map_or(0, |through| through + 1);
        self.limits.last().map(|last| (first, last))
    }

    /// Everything was folded up to the limits, and now there are greater ones.
    pub fn raise(&mut self, limits: Limits) {
        self.through = std::mem::replace(&mut self.limits, limits);
    }

    /// Folds one record, unless it lies beyond the limit of its cell or was folded before.
    pub fn fold(&mut self, record: &LogRecord) -> Did {
        let offset = record.position.offset;
        let mut did = Did::default();
        match read(&record.record, self.source, self.partitions) {
            Ok(event) => {
                let key = CellKey::of(&event, self.source);
                if Some(offset) > self.limits.of(&key) {
                    return did;
                }
                let fate = match self.ahead.remove(&offset) {
                    Some(fate) => fate,
                    None => self.step(offset, key, &event, &mut did),
                };
                if Some(offset) <= self.limits.progress {
                    self.count(record, &fate, &mut did);
                } else {
                    self.ahead.insert(offset, fate);
                }
            }
            Err(rejection) => {
                self.reject_unread(offset, &mut did);
                if Some(offset) <= self.limits.progress {
                    self.count(record, &Fate::Rejected(rejection), &mut did);
                }
            }
        }
        did
    }

    fn step(
        &mut self,
        offset: u64,
        key: CellKey,
        event: &agon_schema::Event,
        did: &mut Did,
    ) -> Fate {
        let new = || (Cell::new(key.clone()), Memory::default());
        let (cell, memory) = self.cells.entry(key.clone()).or_insert_with(new);
        did.cell = Some(key.clone());
        match cell.step(offset, event, memory) {
            Outcome::Counted(effects) => {
                did.touched = effects.touched;
                for row in effects.rows {
                    let rows =
                        if memory.keep(&row) { &mut did.fixed } else { &mut did.submissions };
                    rows.push(row);
                }
                Fate::Counted
            }
            Outcome::Duplicate(_) => Fate::Duplicate,
            Outcome::Rejected(rejection) => Fate::Rejected(rejection),
        }
    }

    /// A stream's cell counts the records that cannot be read.
    fn reject_unread(&mut self, offset: u64, did: &mut Did) {
        let key = CellKey::Stream(self.source.partition);
        let is_new = Some(offset) > self.through.of(&key) && Some(offset) <= self.limits.of(&key);
        if self.source.topic == Topic::RecentChange && is_new {
            let new = || (Cell::new(key.clone()), Memory::default());
            self.cells.entry(key.clone()).or_insert_with(new).0.reject_unread(offset);
            did.cell = Some(key);
        }
    }

    fn count(&mut self, record: &LogRecord, fate: &Fate, did: &mut Did) {
        self.last = Some((record.position.offset, record.record.hash()));
        match fate {
            Fate::Counted => self.counts.counted += 1,
            Fate::Duplicate => self.counts.duplicates += 1,
            Fate::Rejected(rejection) => {
                self.counts.rejected += 1;
                let offset = record.position.offset;
                for row in rejected_rows(&record.record, self.source, offset, rejection) {
                    if matches!(row.key, RowKey::Refusal(..)) {
                        self.refusals.insert(row.key, row.value);
                    } else {
                        did.fixed.push(row);
                    }
                }
            }
        }
    }

    /// The rows that every record may have changed, as they are now.
    pub fn rest(&self) -> Vec<Row> {
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
        rows.extend(self.progress());
        rows
    }

    /// Those of them that one record changed, right after it was folded.
    pub fn changed(&self, did: Did) -> Vec<Row> {
        let mut rows = did.submissions;
        if let Some((cell, _)) = did.cell.and_then(|key| self.cells.get(&key)) {
            rows.extend(cell.head_row());
            rows.extend(did.touched.into_iter().map(|slot| cell.row(slot)));
        }
        rows.extend(self.progress());
        rows
    }

    fn progress(&self) -> Option<Row> {
        let (applied, record_hash) = self.last?;
        let progress = Progress { applied, record_hash, counts: self.counts };
        let key = RowKey::Progress(self.source);
        Some(Row { key, value: Value::Progress(progress) })
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
