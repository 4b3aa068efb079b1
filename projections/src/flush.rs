//! What is stored at once: rows, and the position up to which they are true.

use agon_schema::TopicPartition;

use crate::cell::CellKey;
use crate::checkpoint::Applied;
use crate::row::{Progress, Row};

/// One cell's part of a flush: its head and changed entrants, and the rows beside them.
#[derive(Clone, Debug, PartialEq)]
pub struct CellFlush {
    /// Which cell.
    pub key: CellKey,
    /// The cell's `applied` at the flush before (exclusive).
    pub from: Applied,
    /// The cell's `applied` now (inclusive).
    pub to: u64,
    /// Rows of the cell itself: its head, entrants, servers. The feed carries these.
    pub own: Vec<Row>,
    /// Rows beside them: first-seen, matches, histories, …
    pub side: Vec<Row>,
}

/// Everything that the span `(from, progress.applied]` of one partition changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Flush {
    /// The partition.
    pub source: TopicPartition,
    /// What was stored of it before (exclusive).
    pub from: Applied,
    /// How far it is folded now.
    pub progress: Progress,
    /// The cells that changed, in the order of their keys.
    pub cells: Vec<CellFlush>,
    /// Rows of no cell: dead letters and refusals.
    pub rows: Vec<Row>,
}

impl Flush {
    /// Every row of the flush but the progress, which a store writes last.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        let cells = self.cells.iter().flat_map(|cell| cell.side.iter().chain(&cell.own));
        cells.chain(&self.rows)
    }

    /// How many rows that are.
    pub fn row_count(&self) -> usize {
        let cells: usize = self.cells.iter().map(|cell| cell.side.len() + cell.own.len()).sum();
        cells + self.rows.len() + 1
    }
}
