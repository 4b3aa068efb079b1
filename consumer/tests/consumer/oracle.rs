//! The sequential fold: one record at a time, everything kept in one plain map. It shares with the
//! consumer the pure step and nothing else.

use std::collections::BTreeMap;

use agon_ports::{Append, LogRecord};
use agon_projections::fold::{read, rejected_rows};
use agon_projections::row::{Counts, FirstSeen, Progress, SubmissionRow, UserHash, Value};
use agon_projections::row_bytes::value_bytes;
use agon_projections::{Cell, CellKey, Known, Outcome, RowKey};
use agon_schema::{Identity, NaturalId, Position, Topic, TopicPartition};

use crate::events::PARTITIONS;

/// Rows by their keys.
pub type Rows = BTreeMap<RowKey, Value>;

/// The records of each partition, with their offsets.
pub fn partitions(appends: &[Append]) -> BTreeMap<TopicPartition, Vec<LogRecord>> {
    let mut partitions: BTreeMap<_, Vec<LogRecord>> = BTreeMap::new();
    for Append { target, record } in appends {
        let records = partitions.entry(*target).or_default();
        let position = Position { source: *target, offset: records.len() as u64 };
        records.push(LogRecord { position, record: record.clone() });
    }
    partitions
}

/// Every row that these records leave behind.
pub fn fold(appends: &[Append]) -> Rows {
    let mut rows = Rows::new();
    for records in partitions(appends).values() {
        fold_partition(records, &mut rows);
    }
    rows
}

struct Plain<'a>(&'a CellKey, &'a Rows);

impl Known for Plain<'_> {
    fn first_seen(&self, identity: Identity) -> Option<FirstSeen> {
        match self.1.get(&RowKey::FirstSeen(self.0.clone(), identity)) {
            Some(Value::FirstSeen(first)) => Some(*first),
            _ => None,
        }
    }

    fn submission(&self, id: &NaturalId) -> Option<SubmissionRow> {
        match self.1.get(&RowKey::Submission(self.0.clone(), id.clone())) {
            Some(Value::Submission(submission)) => Some(submission.clone()),
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

fn fold_partition(records: &[LogRecord], rows: &mut Rows) {
    let mut cells: BTreeMap<CellKey, Cell> = BTreeMap::new();
    let mut counts = Counts::default();
    for LogRecord { position: Position { source, offset }, record } in records {
        let rejection = match read(record, *source, PARTITIONS) {
            Ok(event) => {
                let key = CellKey::of(&event, *source);
                let cell = cells.entry(key.clone()).or_insert_with(|| Cell::new(key.clone()));
                let outcome = cell.step(*offset, &event, &Plain(&key, rows));
                rows.extend(cell.head_row().map(|row| (row.key, row.value)));
                match outcome {
                    Outcome::Counted(effects) => {
                        counts.counted += 1;
                        let own = effects.touched.into_iter().map(|slot| cell.row(slot));
                        rows.extend(effects.rows.into_iter().chain(own).map(|r| (r.key, r.value)));
                        None
                    }
                    Outcome::Duplicate(_) => {
                        counts.duplicates += 1;
                        None
                    }
                    Outcome::Rejected(rejection) => Some(rejection),
                }
            }
            Err(rejection) => {
                if source.topic == Topic::RecentChange {
                    let key = CellKey::Stream(source.partition);
                    let cell = cells.entry(key.clone()).or_insert_with(|| Cell::new(key));
                    cell.reject_unread(*offset);
                    rows.extend(cell.head_row().map(|row| (row.key, row.value)));
                }
                Some(rejection)
            }
        };
        if let Some(rejection) = rejection {
            counts.rejected += 1;
            let dead = rejected_rows(record, *source, *offset, &rejection);
            rows.extend(dead.into_iter().map(|row| (row.key, row.value)));
        }
        let progress = Progress { applied: *offset, record_hash: record.hash(), counts };
        rows.insert(RowKey::Progress(*source), Value::Progress(progress));
    }
}

/// Fails unless both hold the same rows, bit for bit; names the rows that differ.
pub fn check_same(name: &str, expected: &Rows, stored: &Rows) {
    let keys = expected.keys().chain(stored.keys());
    let differs = |key: &&RowKey| {
        let bytes = |rows: &Rows| rows.get(key).map(value_bytes);
        bytes(expected) != bytes(stored)
    };
    let mut differences: Vec<String> = keys
        .filter(differs)
        .map(|key| format!("{key}:\n  is {:?}\n  not {:?}", stored.get(key), expected.get(key)))
        .collect();
    differences.dedup();
    let count = differences.len();
    differences.truncate(5);
    assert!(count == 0, "{name}: {count} rows differ\n{}", differences.join("\n"));
}
