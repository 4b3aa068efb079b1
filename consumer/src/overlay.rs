//! What was folded but is not yet in the store: the rows that a later event may ask for.

use std::collections::HashMap;

use agon_projections::row::{FirstSeen, SubmissionRow, UserHash, Value};
use agon_projections::{CellKey, Known, Row, RowKey};
use agon_schema::{Identity, NaturalId};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The askable rows of one cell that one flush carries.
#[derive(Debug, Default)]
pub struct Overlay {
    first_seen: Map<Identity, FirstSeen>,
    users: Map<UserHash, u64>,
    submissions: Map<NaturalId, SubmissionRow>,
}

impl Overlay {
    /// Remembers a row, if it is one that an event may ask for.
    pub fn remember(&mut self, row: &Row) {
        match (&row.key, &row.value) {
            (RowKey::FirstSeen(_, identity), Value::FirstSeen(first)) => {
                self.first_seen.insert(*identity, *first);
            }
            (RowKey::User(_, user), Value::Since(offset)) => {
                self.users.insert(*user, *offset);
            }
            (RowKey::Submission(_, id), Value::Submission(submission)) => {
                self.submissions.insert(id.clone(), submission.clone());
            }
            _ => {}
        }
    }

    /// The newest state of each submission, as rows of this cell in the order of their keys.
    pub fn submissions(&self, cell: &CellKey) -> Vec<Row> {
        let row = |(id, submission): (&NaturalId, &SubmissionRow)| Row {
            key: RowKey::Submission(cell.clone(), id.clone()),
            value: Value::Submission(submission.clone()),
        };
        let mut rows: Vec<Row> = self.submissions.iter().map(row).collect();
        rows.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        rows
    }

    /// Whether the row of this key is here.
    pub fn holds(&self, key: &RowKey) -> bool {
        match key {
            RowKey::FirstSeen(_, identity) => self.first_seen.contains_key(identity),
            RowKey::User(_, user) => self.users.contains_key(user),
            RowKey::Submission(_, id) => self.submissions.contains_key(id),
            _ => false,
        }
    }
}

/// Rows that the store was asked for before a batch was folded.
pub type Found = HashMap<RowKey, Value, foldhash::fast::RandomState>;

/// The answer to what an event asks: from the rows since the last flush, else from the flush under
/// way, else from what the store said.
pub struct Layers<'a> {
    /// The cell that asks.
    pub cell: &'a CellKey,
    /// Folded since the last flush, then what the flush under way carries.
    pub near: [&'a Overlay; 2],
    /// In the store.
    pub found: &'a Found,
}

impl Known for Layers<'_> {
    fn first_seen(&self, identity: Identity) -> Option<FirstSeen> {
        let recent = self.near.iter().find_map(|layer| layer.first_seen.get(&identity));
        recent.copied().or_else(|| {
            match self.found.get(&RowKey::FirstSeen(self.cell.clone(), identity)) {
                Some(Value::FirstSeen(first)) => Some(*first),
                _ => None,
            }
        })
    }

    fn submission(&self, id: &NaturalId) -> Option<SubmissionRow> {
        let recent = self.near.iter().find_map(|layer| layer.submissions.get(id));
        recent.cloned().or_else(|| {
            match self.found.get(&RowKey::Submission(self.cell.clone(), id.clone())) {
                Some(Value::Submission(submission)) => Some(submission.clone()),
                _ => None,
            }
        })
    }

    fn user(&self, user: UserHash) -> Option<u64> {
        let recent = self.near.iter().find_map(|layer| layer.users.get(&user));
        recent.copied().or_else(|| match self.found.get(&RowKey::User(self.cell.clone(), user)) {
            Some(Value::Since(offset)) => Some(*offset),
            _ => None,
        })
    }
}
