//! A cell's own rows, its submissions and its head: one partition.

use agon_projections::row_bytes::{Prefix, key_bytes, prefix_bytes, row_of_bytes};
use agon_projections::{Applied, CellKey, Row, RowKey, Table};

use super::bind::{Bind, Start, of_cell};
use super::{Page, Reader, damaged};
use crate::error::RequestError;

/// Rows of a cell that are read as one page, which no flush can tear.
const UNPAGED_ROWS_MAX: usize = 10_000;
/// Beginnings before a read in pages gives up.
const ATTEMPTS_MAX: usize = 8;

impl Reader {
    /// A cell's `applied`.
    pub(super) async fn applied(&self, cell: &CellKey) -> Result<Applied, RequestError> {
        let rows = self.link.rows::<(Option<i64>,)>(&self.reads.applied, of_cell(cell)).await?;
        Ok(rows.first().and_then(|(applied,)| *applied).map(|applied| applied as u64))
    }

    /// A cell's head.
    pub(super) async fn head(&self, cell: &CellKey) -> Result<Option<Row>, RequestError> {
        let rows = self.link.rows::<(Option<Vec<u8>>,)>(&self.reads.head, of_cell(cell)).await?;
        let Some(head) = rows.into_iter().next().and_then(|(head,)| head) else { return Ok(None) };
        let key = RowKey::Head(cell.clone());
        let row = row_of_bytes(&key_bytes(&key), &head);
        row.map(Some).ok_or_else(|| damaged(&key))
    }

    /// The rows with these ids.
    pub(super) async fn own_in(
        &self,
        table: Table,
        cell: &CellKey,
        ids: Vec<Vec<u8>>,
    ) -> Result<Vec<Row>, RequestError> {
        let mut values = of_cell(cell);
        values.extend([Bind::Tiny(table as i8), Bind::Blobs(ids)]);
        let rows = self.link.rows::<(Vec<u8>, Vec<u8>)>(&self.reads.own_in, values).await?;
        rows.into_iter().map(|(id, value)| own_row(table, cell, &id, &value)).collect()
    }

    /// A page of rows. Pages that must be joined for it are of one state of the cell.
    pub(super) async fn own(
        &self,
        table: Table,
        cell: &CellKey,
        page: Page<'_>,
    ) -> Result<Vec<Row>, RequestError> {
        for _ in 0..ATTEMPTS_MAX {
            if let Some(rows) = self.own_once(table, cell, page).await? {
                return Ok(rows);
            }
        }
        let reason = format!("{cell} changed {ATTEMPTS_MAX} times while it was read");
        Err(RequestError::passing(reason))
    }

    /// `None` when the cell moved between two pages.
    async fn own_once(
        &self,
        table: Table,
        cell: &CellKey,
        page: Page<'_>,
    ) -> Result<Option<Vec<Row>>, RequestError> {
        let mut after = page.after.map(|key| Bind::Blob(id_of(key)));
        let mut rows = Vec::new();
        let mut seen = None;
        while rows.len() < page.limit {
            let limit = (page.limit - rows.len()).min(UNPAGED_ROWS_MAX);
            let mut values = of_cell(cell);
            values.push(Bind::Tiny(table as i8));
            let start = Start { after: after.take(), order: page.order, limit };
            type Own = (Option<i64>, Vec<u8>, Vec<u8>);
            let found = self.reads.own.rows::<Own>(&self.link, values, start).await?;
            let is_last = found.len() < limit;
            for (applied, id, value) in &found {
                if *seen.get_or_insert(*applied) != *applied {
                    return Ok(None);
                }
                rows.push(own_row(table, cell, id, value)?);
            }
            if is_last {
                break;
            }
            after = found.into_iter().next_back().map(|(_, id, _)| Bind::Blob(id));
        }
        Ok(Some(rows))
    }
}

/// What the column `id` holds for a row.
pub(super) fn id_of(key: &RowKey) -> Vec<u8> {
    match key {
        RowKey::Entrant(_, agent) => agent.as_str().as_bytes().to_vec(),
        RowKey::Server(_, name) => name.as_bytes().to_vec(),
        RowKey::Submission(_, id) => id.as_str().as_bytes().to_vec(),
        RowKey::Tally(_, key) => key.bytes().to_vec(),
        // Other rows stand elsewhere.
        _ => Vec::new(),
    }
}

fn own_row(table: Table, cell: &CellKey, id: &[u8], value: &[u8]) -> Result<Row, RequestError> {
    let mut key = prefix_bytes(&Prefix::Cell(table, cell.clone()));
    key.extend_from_slice(id);
    if !matches!(table, Table::Servers | Table::Tallies) {
        key.push(0);
    }
    row_of_bytes(&key, value).ok_or_else(|| {
        RequestError::damaged(format!("a row of {cell} in {} is damaged", table.name()))
    })
}
