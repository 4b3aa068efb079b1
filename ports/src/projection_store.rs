//! The store: rows that the folds left behind, and how far each partition is folded.

use std::sync::Arc;

use agon_projections::row_bytes::Prefix;
use agon_projections::{Flush, Row, RowKey};
use async_trait::async_trait;

use crate::PortError;

/// Which way a scan goes through its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the smallest key up.
    Rising,
    /// From the largest key down.
    Falling,
}

/// A page of rows whose keys start alike.
#[derive(Clone, Debug)]
pub struct Scan {
    /// What the keys start with.
    pub prefix: Prefix,
    /// The last key of the page before (exclusive); `None` for the first page.
    pub after: Option<RowKey>,
    /// Which way.
    pub order: Order,
    /// Rows at most.
    pub limit: usize,
}

impl Scan {
    /// The first page of at most `limit` rows, rising.
    pub fn first(prefix: Prefix, limit: usize) -> Scan {
        Scan { prefix, after: None, order: Order::Rising, limit }
    }
}

/// Keeps rows by key, and the position up to which they are true.
///
/// ```text
/// stored progress ---- (from ........ progress.applied]   a flush covers (from, applied]
///   applied <= stored : applied before, a no-op           (a retry, a late zombie)
///   from == stored    : applied
///   otherwise         : gap or overlap, refused as Retry::Never; nothing is written
/// ```
/// - After `Ok`, rows and progress are there together for every later call, and survive the loss
///   of the process. After the loss of power the store may stand at an earlier flush: the log
///   brings it forward again.
/// - A cell's own rows, its submissions and its `applied` are one: a crash or an error before `Ok`
///   leaves, of each cell, all of these or none. A store may write one cell of a flush and not yet
///   the other, but never the progress before every row that it vouches for.
/// - A row beside a cell is not shown while its offset lies above the cell's `applied`, and a row
///   of no cell while it lies above the partition's progress: it is left from a flush that did not
///   end, and the next one writes it again.
/// - A row that a flush writes replaces the one under the same key.
/// - Keys are in the order of [`agon_projections::row_bytes::key_bytes`].
///
/// What a flush is, so that any store can keep this: every row carries an offset within the flush's
/// span, as its value's `ver`, `applied` or offset, or in its key; [`CellFlush::from`] is the `to`
/// of the cell's flush before; a cell belongs to one partition; offsets lie below 2^40; identities,
/// users and the cells of an agent are written once, at the offset at which they came to be. Two
/// owners of a partition who flush other spans of the same log write equal rows at equal offsets;
/// of these the newer stand, whatever the order in which they arrive.
///
/// [`CellFlush::from`]: agon_projections::CellFlush::from
#[async_trait]
pub trait ProjectionStore: Send + Sync {
    /// Writes a flush as the table above says. Shared, so that a retry sends the very same one.
    ///
    /// # Errors
    /// `Retry::Never` for a gap, an overlap or a cell too large for the store, `Retry::Later` when
    /// the store is away or full, or when it is not known what became of the flush: the same one is
    /// sent again.
    async fn flush(&self, flush: Arc<Flush>) -> Result<(), PortError>;

    /// The rows of these keys, in the order asked; `None` where there is none.
    ///
    /// # Errors
    /// `Retry::Later` when the store is away, `Retry::Never` when a row is damaged.
    async fn get(&self, keys: Vec<RowKey>) -> Result<Vec<Option<Row>>, PortError>;

    /// At most `scan.limit` rows.
    ///
    /// # Errors
    /// As [`ProjectionStore::get`].
    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, PortError>;
}

/// Rows a page when a whole prefix is read.
const PAGE_ROWS: usize = 4096;

/// All rows under a prefix, read by pages.
///
/// # Errors
/// As [`ProjectionStore::scan`].
pub async fn scan_all(store: &dyn ProjectionStore, prefix: Prefix) -> Result<Vec<Row>, PortError> {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let after = rows.last().map(|row| row.key.clone());
        let scan = Scan { prefix: prefix.clone(), after, order: Order::Rising, limit: PAGE_ROWS };
        let page = store.scan(scan).await?;
        let is_last = page.len() < PAGE_ROWS;
        rows.extend(page);
        if is_last {
            return Ok(rows);
        }
    }
}
