//! A cell with a memory of its own that answers as a store would, and several of them at once.

use std::collections::{BTreeMap, HashMap};

use agon_projections::fold::{read, rejected_rows};
use agon_projections::row::{FirstSeen, SubmissionRow, UserHash, Value};
use agon_projections::row_bytes::{key_bytes, key_of_bytes, row_of_bytes, value_bytes};
use agon_projections::{Cell, CellKey, Effects, Known, Outcome, Rejection, Row, RowKey, Table};
use agon_schema::{Event, Identity, NaturalId, Record, Topic, TopicPartition};

/// What a cell's side rows say, looked up by key.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    first_seen: HashMap<Identity, FirstSeen>,
    submissions: HashMap<NaturalId, SubmissionRow>,
    users: HashMap<UserHash, u64>,
}

impl Memory {
    pub fn absorb(&mut self, row: &Row) {
        match (&row.key, &row.value) {
            (RowKey::FirstSeen(_, identity), Value::FirstSeen(first)) => {
                let before = self.first_seen.insert(*identity, *first);
                assert_eq!(before, None, "an identity takes effect once");
            }
            (RowKey::Submission(_, id), Value::Submission(row)) => {
                self.submissions.insert(id.clone(), row.clone());
            }
            (RowKey::User(_, user), Value::Since(offset)) => {
                let before = self.users.insert(*user, *offset);
                assert_eq!(before, None, "a user is new once");
            }
            _ => {}
        }
    }
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

/// The rows of a cell itself: its head and all its slots.
pub fn own_rows(cell: &Cell) -> Vec<Row> {
    cell.head_row().into_iter().chain((0..cell.slots()).map(|slot| cell.row(slot))).collect()
}

/// The first rows in which two folds differ, in words; empty when they are equal.
pub fn differences(one: &Fold, other: &Fold) -> Vec<String> {
    let (one, other) = (one.bytes(), other.bytes());
    let keys = one.keys().chain(other.keys().filter(|key| !one.contains_key(*key)));
    let show = |rows: &BTreeMap<Vec<u8>, Vec<u8>>, key: &Vec<u8>| {
        rows.get(key).map(|value| row_of_bytes(key, value).map(|row| row.value))
    };
    keys.filter(|key| one.get(*key) != other.get(*key))
        .take(5)
        .map(|key| {
            let name = key_of_bytes(key).map(|key| key.to_string());
            format!("{name:?}: {:?} and {:?}", show(&one, key), show(&other, key))
        })
        .collect()
}

/// One cell, folded event by event, with every row it leaves.
#[derive(Clone, Debug)]
pub struct Fold {
    pub cell: Cell,
    pub known: Memory,
    /// Rows beside the cell's own.
    pub side: BTreeMap<RowKey, Value>,
    /// The cell's own rows as a store has them that is told of changed slots alone.
    pub kept: BTreeMap<RowKey, Value>,
    pub next: u64,
}

impl Fold {
    pub fn new(key: CellKey) -> Fold {
        Fold {
            cell: Cell::new(key),
            known: Memory::default(),
            side: BTreeMap::new(),
            kept: BTreeMap::new(),
            next: 0,
        }
    }

    pub fn step(&mut self, event: &Event) -> Outcome {
        self.step_at(self.next, event)
    }

    pub fn step_at(&mut self, offset: u64, event: &Event) -> Outcome {
        self.next = offset + 1;
        let outcome = self.cell.step(offset, event, &self.known);
        if let Outcome::Counted(effects) = &outcome {
            self.absorb(effects);
        }
        self.keep_head();
        outcome
    }

    pub fn reject_unread(&mut self) {
        self.cell.reject_unread(self.next);
        self.next += 1;
        self.keep_head();
    }

    fn absorb(&mut self, effects: &Effects) {
        for row in &effects.rows {
            self.known.absorb(row);
            let before = self.side.insert(row.key.clone(), row.value.clone());
            let is_changed = matches!(row.key, RowKey::Submission(..));
            assert!(before.is_none() || is_changed, "{} is written once", row.key);
        }
        for slot in &effects.touched {
            let row = self.cell.row(*slot);
            self.kept.insert(row.key, row.value);
        }
    }

    fn keep_head(&mut self) {
        if let Some(row) = self.cell.head_row() {
            self.kept.insert(row.key, row.value);
        }
    }

    /// All rows as sorted bytes: two folds are equal when these are.
    pub fn bytes(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let side = self.side.iter().map(|(key, value)| (key_bytes(key), value_bytes(value)));
        let own = own_rows(&self.cell);
        side.chain(own.iter().map(|row| (key_bytes(&row.key), value_bytes(&row.value)))).collect()
    }

    /// The same fold, made from nothing but the bytes of its rows, in the order of their keys.
    pub fn reloaded(&self) -> Fold {
        let rows: Vec<Row> = self
            .bytes()
            .iter()
            .map(|(key, value)| row_of_bytes(key, value).expect("what was written is read"))
            .collect();
        let mut fold = Fold::new(self.cell.key());
        fold.cell = Cell::from_rows(self.cell.key(), rows.iter().cloned());
        fold.next = self.next;
        for row in rows {
            fold.known.absorb(&row);
            let own = [Table::Heads, Table::Entrants, Table::Servers, Table::Tallies];
            let is_own = own.contains(&row.key.table());
            let kept = if is_own { &mut fold.kept } else { &mut fold.side };
            kept.insert(row.key, row.value);
        }
        fold
    }
}

/// Partitions with their cells, fed with records as a log gives them.
#[derive(Debug, Default)]
pub struct World {
    pub cells: BTreeMap<CellKey, Fold>,
    pub dead: Vec<(TopicPartition, Rejection)>,
    pub rows: BTreeMap<RowKey, Value>,
    pub counted: u64,
    pub duplicates: u64,
    next: HashMap<TopicPartition, u64>,
}

pub const PARTITIONS: u32 = 16;

impl World {
    pub fn feed(&mut self, topic: Topic, record: &Record) {
        let source = TopicPartition::of_key(topic, &record.key, PARTITIONS);
        let next = self.next.entry(source).or_default();
        let offset = *next;
        *next += 1;
        let rejection = match read(record, source, PARTITIONS) {
            Ok(event) => {
                let key = CellKey::of(&event, source);
                let cell = self.cells.entry(key.clone()).or_insert_with(|| Fold::new(key));
                match cell.step_at(offset, &event) {
                    Outcome::Counted(_) => {
                        self.counted += 1;
                        return;
                    }
                    Outcome::Duplicate(_) => {
                        self.duplicates += 1;
                        return;
                    }
                    Outcome::Rejected(rejection) => rejection,
                }
            }
            Err(rejection) => {
                if topic == Topic::RecentChange {
                    let key = CellKey::Stream(source.partition);
                    let cell = self.cells.entry(key.clone()).or_insert_with(|| Fold::new(key));
                    cell.next = offset;
                    cell.reject_unread();
                }
                rejection
            }
        };
        for row in rejected_rows(record, source, offset, &rejection) {
            self.rows.insert(row.key, row.value);
        }
        self.dead.push((source, rejection));
    }
}
