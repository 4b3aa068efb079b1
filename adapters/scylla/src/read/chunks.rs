//! Rows that are stored in chunks: the matches of a cell, and an agent's history in it.
//!
//! Chunks may overlap, but only within a window. So all chunks of a window are read before a row
//! of it is answered.

use std::collections::BTreeMap;

use agon_ports::Order;
use agon_projections::row_bytes::{key_bytes, row_of_bytes};
use agon_projections::{CellKey, Row, RowKey};
use agon_schema::AgentId;

use super::bind::{Bind, Start, of_cell};
use super::{Page, Reader, damaged};
use crate::chunk::{self, WINDOW, window_of};
use crate::error::RequestError;
use crate::flush::{bucket_of_offset, history_bucket};

/// Chunks that are read at once at least and at most; a chunk seldom holds more than a flush does.
const CHUNKS_MIN: usize = 16;
const CHUNKS_MAX: usize = 64;

/// Whose chunks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Chunked {
    Matches(CellKey),
    History(CellKey, AgentId),
}

impl Chunked {
    fn key(&self, offset: u64) -> RowKey {
        match self {
            Chunked::Matches(cell) => RowKey::Match(cell.clone(), offset),
            Chunked::History(cell, agent) => RowKey::History(cell.clone(), agent.clone(), offset),
        }
    }

    /// The part of a partition in which a window lies.
    fn partition(&self, window: u64) -> Vec<Bind> {
        match self {
            Chunked::Matches(cell) => {
                let mut values = of_cell(cell);
                values.push(Bind::Big(bucket_of_offset(window)));
                values
            }
            Chunked::History(cell, agent) => {
                let mut values = of_cell(cell);
                let bucket = Bind::Tiny(history_bucket(agent));
                values.extend([bucket, Bind::Text(agent.as_str().to_owned())]);
                values
            }
        }
    }

    /// The first offset and the one after the last that stand in one partition with this one.
    fn span(&self, offset: u64) -> (u64, u64) {
        match self {
            Chunked::Matches(_) => (offset >> 18 << 18, ((offset >> 18) + 1) << 18),
            Chunked::History(..) => (0, u64::MAX),
        }
    }
}

/// The offset in the key of a row that stands in a chunk.
pub(super) fn offset_of(key: &RowKey) -> Option<u64> {
    match key {
        RowKey::Match(_, offset) | RowKey::History(_, _, offset) => Some(*offset),
        _ => None,
    }
}

type Stored = (i64, Vec<u8>);
type Rows = BTreeMap<u64, Vec<u8>>;

impl Reader {
    /// The rows of these offsets, all of one window.
    pub(super) async fn chunked_in(
        &self,
        of: &Chunked,
        offsets: &[u64],
    ) -> Result<Vec<Row>, RequestError> {
        let Some(first) = offsets.first() else { return Ok(vec![]) };
        let mut rows = Rows::new();
        self.window(of, window_of(*first), &mut rows).await?;
        rows.retain(|offset, _| offsets.contains(offset));
        rows.into_iter().map(|(offset, value)| row(of, offset, &value)).collect()
    }

    /// A page of the rows that are not above `through`.
    pub(super) async fn chunked(
        &self,
        of: &Chunked,
        through: u64,
        page: Page<'_>,
    ) -> Result<Vec<Row>, RequestError> {
        let after = page.after.and_then(offset_of);
        let mut shown = Vec::new();
        // The next offset that may be answered, going either way.
        let mut next = match (page.order, after) {
            (Order::Rising, None) => Some(0),
            (Order::Rising, Some(after)) => after.checked_add(1),
            (Order::Falling, None) => Some(through),
            (Order::Falling, Some(before)) => before.checked_sub(1).map(|at| at.min(through)),
        };
        while let Some(at) = next.filter(|at| *at <= through && shown.len() < page.limit) {
            let mut rows = Rows::new();
            let wanted = (page.limit - shown.len()).clamp(CHUNKS_MIN, CHUNKS_MAX);
            let take = |(offset, value): (u64, Vec<u8>)| row(of, offset, &value);
            match page.order {
                Order::Rising => {
                    next = self.rising(of, at, wanted, &mut rows).await?;
                    let rows = rows.into_iter().filter(|(o, _)| (at..=through).contains(o));
                    shown.extend(rows.map(take).collect::<Result<Vec<_>, _>>()?);
                }
                Order::Falling => {
                    next = self.falling(of, at, wanted, &mut rows).await?;
                    let rows = rows.into_iter().rev().filter(|(offset, _)| *offset <= at);
                    shown.extend(rows.map(take).collect::<Result<Vec<_>, _>>()?);
                }
            }
        }
        shown.truncate(page.limit);
        Ok(shown)
    }

    /// Reads whole windows from the one of `at` on. Answers where the next one begins; its
    /// partition may hold nothing.
    async fn rising(
        &self,
        of: &Chunked,
        at: u64,
        wanted: usize,
        rows: &mut Rows,
    ) -> Result<Option<u64>, RequestError> {
        let window = window_of(at);
        let after = window.checked_sub(1).map(|before| Bind::Big(before as i64));
        let start = Start { after, order: Order::Rising, limit: wanted };
        let chunks = self.chunks(of, window, start).await?;
        let last = chunks.last().map(|(first, _)| window_of(*first as u64));
        match last.filter(|_| chunks.len() == wanted) {
            None => {
                take(of, &chunks, rows)?;
                Ok(Some(of.span(at).1).filter(|end| *end < u64::MAX))
            }
            Some(last) => {
                let before = chunks.partition_point(|(first, _)| (*first as u64) < last);
                take(of, &chunks[..before], rows)?;
                if before > 0 {
                    return Ok(Some(last));
                }
                self.window(of, last, rows).await?;
                Ok(Some(last + WINDOW))
            }
        }
    }

    /// As `rising`, downwards. Answers the last offset of the next window.
    async fn falling(
        &self,
        of: &Chunked,
        at: u64,
        wanted: usize,
        rows: &mut Rows,
    ) -> Result<Option<u64>, RequestError> {
        let end = window_of(at) + WINDOW;
        let after = Some(Bind::Big(end as i64));
        let start = Start { after, order: Order::Falling, limit: wanted };
        let chunks = self.chunks(of, window_of(at), start).await?;
        let last = chunks.last().map(|(first, _)| window_of(*first as u64));
        match last.filter(|_| chunks.len() == wanted) {
            None => {
                take(of, &chunks, rows)?;
                Ok(of.span(at).0.checked_sub(1))
            }
            Some(last) => {
                let above = chunks.partition_point(|(first, _)| *first as u64 >= last + WINDOW);
                take(of, &chunks[..above], rows)?;
                if above > 0 {
                    return Ok(Some(last + WINDOW - 1));
                }
                self.window(of, last, rows).await?;
                Ok(last.checked_sub(1))
            }
        }
    }

    async fn chunks(
        &self,
        of: &Chunked,
        window: u64,
        start: Start,
    ) -> Result<Vec<Stored>, RequestError> {
        let paged = match of {
            Chunked::Matches(_) => &self.reads.matches,
            Chunked::History(..) => &self.reads.history,
        };
        paged.rows(&self.link, of.partition(window), start).await
    }

    /// Reads the window that begins here: 4096 chunks at most.
    async fn window(&self, of: &Chunked, window: u64, rows: &mut Rows) -> Result<(), RequestError> {
        let prepared = match of {
            Chunked::Matches(_) => &self.reads.matches_window,
            Chunked::History(..) => &self.reads.history_window,
        };
        let mut values = of.partition(window);
        values.extend([Bind::Big(window as i64), Bind::Big((window + WINDOW) as i64)]);
        take(of, &self.link.rows::<Stored>(prepared, values).await?, rows)
    }
}

fn take(of: &Chunked, chunks: &[Stored], rows: &mut Rows) -> Result<(), RequestError> {
    for (first, bytes) in chunks {
        let first = *first as u64;
        chunk::read(bytes, first, rows).ok_or_else(|| damaged(&of.key(first)))?;
    }
    Ok(())
}

fn row(of: &Chunked, offset: u64, value: &[u8]) -> Result<Row, RequestError> {
    let key = of.key(offset);
    row_of_bytes(&key_bytes(&key), value).ok_or_else(|| damaged(&key))
}
