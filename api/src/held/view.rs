//! What is held of one cell: a board, or the counts of one partition of the stream.

use std::collections::BTreeMap;

use agon_projections::board::Board;
use agon_projections::row::{Head, HeadDetail, Row, RowKey, StreamTotals, Value};
use agon_projections::{Applied, CellKey, Table};

/// The counts of one partition of the stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamCounts {
    head: Option<Head>,
    servers: BTreeMap<String, u64>,
}

impl StreamCounts {
    /// The counts that the cell's own rows say, in any order.
    pub fn from_rows(rows: impl IntoIterator<Item = Row>) -> StreamCounts {
        let mut counts = StreamCounts::default();
        for row in rows {
            counts.take(row);
        }
        counts
    }

    fn take(&mut self, row: Row) {
        match (row.key, row.value) {
            (RowKey::Head(_), Value::Head(head)) => self.head = Some(head),
            (RowKey::Server(_, name), Value::Server(messages)) => {
                self.servers.insert(name, messages);
            }
            _ => {}
        }
    }

    /// Totals and how far they are true; `None` when nothing was counted.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// The totals.
    pub fn totals(&self) -> StreamTotals {
        match self.head.as_ref().map(|head| &head.detail) {
            Some(HeadDetail::Stream(totals)) => *totals,
            _ => StreamTotals::default(),
        }
    }

    /// Messages by server.
    pub fn servers(&self) -> impl Iterator<Item = (&str, u64)> {
        self.servers.iter().map(|(name, messages)| (name.as_str(), *messages))
    }
}

/// A cell in memory.
#[derive(Debug)]
pub(crate) enum View {
    Board(Box<Board>),
    Stream(StreamCounts),
}

impl View {
    pub fn from_rows(key: &CellKey, rows: Vec<Row>) -> View {
        match key {
            CellKey::Stream(_) => View::Stream(StreamCounts::from_rows(rows)),
            _ => View::Board(Box::new(Board::from_rows(key.clone(), rows))),
        }
    }

    /// The table that holds the cell's own rows besides its head.
    pub fn table(key: &CellKey) -> Table {
        match key {
            CellKey::Stream(_) => Table::Servers,
            CellKey::Environment(_) | CellKey::Benchmark(_) => Table::Entrants,
        }
    }

    pub fn head(&self) -> Option<&Head> {
        match self {
            View::Board(board) => board.head(),
            View::Stream(counts) => counts.head(),
        }
    }

    pub fn applied(&self) -> Applied {
        self.head().map(|head| head.applied)
    }

    /// Takes in the rows of the span that follows.
    pub fn apply(&mut self, rows: &[Row]) {
        match self {
            View::Board(board) => board.apply(rows),
            View::Stream(counts) => rows.iter().for_each(|row| counts.take(row.clone())),
        }
    }

    /// Entrants that it holds.
    pub fn entrants(&self) -> usize {
        match self {
            View::Board(board) => board.len(),
            View::Stream(_) => 0,
        }
    }
}
