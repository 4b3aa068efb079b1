//! What is held of one cell: a board, or the counts of one partition of the stream.
//!
//! A partition's counts are held so that a read looks at nothing whose number grows with users:
//! sums, the order of those who send most, and buckets of time.

use std::collections::BTreeMap;

use agon_projections::board::Board;
use agon_projections::frequent::Ranking;
use agon_projections::row::{
    Head, HeadDetail, Kept, Part, Row, RowKey, StreamTotals, TallyKey, Value,
};
use agon_projections::window::{Bucket, Rings, Span};
use agon_projections::{Applied, CellKey, Table};

/// The counts of one partition of the stream.
#[derive(Clone, Debug, Default)]
pub struct StreamCounts {
    head: Option<Head>,
    servers: BTreeMap<String, u64>,
    top_servers: Ranking,
    top_users: Ranking,
    rings: Rings,
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
            (RowKey::Tally(_, key), Value::Tally(tally)) => self.take_tally(key, tally.kept),
            _ => {}
        }
    }

    /// Registers are the fold's alone: their count stands in the head.
    fn take_tally(&mut self, key: TallyKey, kept: Kept) {
        match (key.part, kept) {
            (Part::Servers, Kept::Frequent(frequent)) => self.top_servers.put(key.place, frequent),
            (Part::Users, Kept::Frequent(frequent)) => self.top_users.put(key.place, frequent),
            (Part::Minute, Kept::Bucket(bucket)) => self.fill(Span::Minute, key.place, bucket),
            (Part::Hour, Kept::Bucket(bucket)) => self.fill(Span::Hour, key.place, bucket),
            (Part::Day, Kept::Bucket(bucket)) => self.fill(Span::Day, key.place, bucket),
            _ => {}
        }
    }

    fn fill(&mut self, span: Span, place: u16, bucket: Bucket) {
        // A row that is none of this ring is passed over, as everywhere.
        let _ = self.rings.of_mut(span).load(place, bucket);
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

    /// The servers that send most.
    pub fn top_servers(&self) -> &Ranking {
        &self.top_servers
    }

    /// The users who send most.
    pub fn top_users(&self) -> &Ranking {
        &self.top_users
    }

    /// The buckets of time.
    pub fn rings(&self) -> &Rings {
        &self.rings
    }

    /// The tables that hold a partition's own rows.
    pub const TABLES: [Table; 3] = [Table::Heads, Table::Servers, Table::Tallies];
}

/// A cell in memory.
#[derive(Debug)]
pub(crate) enum View {
    Board(Box<Board>),
    Stream(Box<StreamCounts>),
}

impl View {
    pub fn from_rows(key: &CellKey, rows: Vec<Row>) -> View {
        match key {
            CellKey::Stream(_) => View::Stream(Box::new(StreamCounts::from_rows(rows))),
            _ => View::Board(Box::new(Board::from_rows(key.clone(), rows))),
        }
    }

    /// The tables that hold the cell's own rows besides its head.
    pub fn tables(key: &CellKey) -> &'static [Table] {
        match key {
            CellKey::Stream(_) => &[Table::Servers, Table::Tallies],
            CellKey::Environment(_) | CellKey::Benchmark(_) => &[Table::Entrants],
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
