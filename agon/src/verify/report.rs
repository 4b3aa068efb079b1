//! What `verify` found.

use agon_projections::row_bytes::row_of_bytes;
use agon_projections::{Row, RowKey, Table};
use agon_schema::TopicPartition;
use serde::Serialize;

use super::compare::hex;

/// The result of a comparison.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Cells that something happened to.
    pub cells: u64,
    /// Rows that the fold leaves behind.
    pub rows: u64,
    /// Rows that are missing, unequal, unexpected or stamped by someone else.
    pub differences: u64,
    /// The first hundred of them.
    pub named: Vec<Difference>,
    /// How far the store is folded.
    pub position: String,
    /// Of what is folded; equal folds have equal hashes, whenever they were appended.
    pub hash: String,
}

/// One thing that is not as it should be.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What kind: `missing`, `unequal`, `unexpected`, `foreign` or `log`.
    pub kind: &'static str,
    /// In which table.
    pub table: &'static str,
    /// Which row.
    pub row: String,
    /// What is stored.
    pub stored: Option<String>,
    /// What the fold gives.
    pub expected: Option<String>,
}

impl Difference {
    /// The fold gives a row that is not stored.
    pub fn missing(row: &Row) -> Difference {
        Difference::new("missing", &row.key, None, Some(format!("{:?}", row.value)))
    }

    /// The stored value is another one.
    pub fn unequal(row: &Row, stored: &[u8]) -> Difference {
        let key = agon_projections::row_bytes::key_bytes(&row.key);
        let stored = row_of_bytes(&key, stored)
            .map_or_else(|| format!("no value: {}", hex(stored)), |row| format!("{:?}", row.value));
        Difference::new("unequal", &row.key, Some(stored), Some(format!("{:?}", row.value)))
    }

    /// A row is stored that the fold does not give.
    pub fn unexpected(table: Table, row: String) -> Difference {
        Difference { kind: "unexpected", table: table.name(), row, stored: None, expected: None }
    }

    /// A row was written by something else than a flush: `table: row: how that is seen`.
    pub fn foreign(row: String) -> Difference {
        let is_named = |table: &Table| row.split(':').next() == Some(table.name());
        let table = Table::ALL.into_iter().find(is_named).map_or("", Table::name);
        Difference { kind: "foreign", table, row, stored: None, expected: None }
    }

    /// The store is ahead of the log.
    pub fn of_log(source: TopicPartition, applied: u64, end: u64) -> Difference {
        Difference {
            kind: "log",
            table: Table::Progress.name(),
            row: RowKey::Progress(source).to_string(),
            stored: Some(format!("folded through offset {applied}")),
            expected: Some(format!("the log ends at offset {end} (exclusive)")),
        }
    }

    fn new(
        kind: &'static str,
        key: &RowKey,
        stored: Option<String>,
        expected: Option<String>,
    ) -> Difference {
        Difference { kind, table: key.table().name(), row: key.to_string(), stored, expected }
    }
}

impl Report {
    /// The report as lines for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for difference in &self.named {
            text.push_str(&format!("{}: {}\n", difference.kind, difference.row));
            for (label, value) in
                [("stored", &difference.stored), ("expected", &difference.expected)]
            {
                if let Some(value) = value {
                    text.push_str(&format!("  {label:8} {value}\n"));
                }
            }
        }
        let more = self.differences - self.named.len() as u64;
        if more > 0 {
            text.push_str(&format!("and {more} more\n"));
        }
        text.push_str(&format!(
            "{} cells, {} rows, {} differences, position {}, hash {}",
            self.cells, self.rows, self.differences, self.position, self.hash
        ));
        text
    }
}
