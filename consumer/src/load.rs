//! Asks the store for what a batch needs: cells that are not in memory, and rows that events ask
//! for. Patient: it tries again until the store answers or the worker is told to stop.

use std::time::Duration;

use agon_ports::{Order, PortError, Retry, Scan};
use agon_projections::row_bytes::Prefix;
use agon_projections::{CellKey, Row, RowKey, Table};

use crate::consumer::ConsumerError;
use crate::decoded::Decoded;
use crate::flusher::pause;
use crate::overlay::Found;
use crate::partition::{PartitionFold, found};
use crate::seen::Seen;
use crate::worker::Shared;

/// Rows a page when a cell is loaded.
const PAGE_ROWS: usize = 4_096;

/// Loads what a batch needs. `None` when told to stop before the store answered.
pub(crate) async fn prepare(
    shared: &Shared,
    fold: &mut PartitionFold,
    batch: &[Decoded],
) -> Result<Option<Found>, ConsumerError> {
    for key in fold.missing_cells(batch) {
        let Some((own, seen)) = load(shared, &key).await? else {
            return Ok(None);
        };
        fold.load(key, own, seen);
    }
    let keys: Vec<RowKey> = fold.missing_rows(batch).into_iter().collect();
    if keys.is_empty() {
        return Ok(Some(Found::default()));
    }
    let rows = patiently(shared, || shared.store.get(keys.clone())).await?;
    Ok(rows.map(found))
}

/// A cell's own rows, and the filter over those that events ask for.
async fn load(shared: &Shared, key: &CellKey) -> Result<Option<(Vec<Row>, Seen)>, ConsumerError> {
    let mut own = Vec::new();
    for table in [Table::Heads, Table::Entrants, Table::Servers] {
        let all = pages(shared, table, key, |page| {
            own.extend(page);
            true
        });
        if all.await?.is_none() {
            return Ok(None);
        }
    }
    let mut seen = Seen::new(shared.config.filter_items_max);
    for table in [Table::FirstSeen, Table::Users, Table::Submissions] {
        let all = pages(shared, table, key, |page| {
            page.iter().for_each(|row| seen.insert(&row.key));
            // A filter that has let go of everything needs to hear no more.
            !seen.is_cold()
        });
        if all.await?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some((own, seen)))
}

/// Hands over the rows of a cell in a table page by page, until `take` says that it has enough.
/// Only this worker writes them, and none of them is in a flush under way: a cell leaves memory
/// when everything of it is stored.
async fn pages(
    shared: &Shared,
    table: Table,
    key: &CellKey,
    mut take: impl FnMut(Vec<Row>) -> bool,
) -> Result<Option<()>, ConsumerError> {
    let mut after = None;
    loop {
        let scan = Scan {
            prefix: Prefix::Cell(table, key.clone()),
            after: after.take(),
            order: Order::Rising,
            limit: PAGE_ROWS,
        };
        let Some(page) = patiently(shared, || shared.store.scan(scan.clone())).await? else {
            return Ok(None);
        };
        let is_last = page.len() < PAGE_ROWS;
        after = page.last().map(|row| row.key.clone());
        if !take(page) || is_last {
            return Ok(Some(()));
        }
    }
}

/// Tries until the store answers; `None` when told to stop first.
async fn patiently<T, F>(
    shared: &Shared,
    mut ask: impl FnMut() -> F,
) -> Result<Option<T>, ConsumerError>
where
    F: Future<Output = Result<T, PortError>>,
{
    let longest = Duration::from_millis(shared.config.retry_max_ms);
    for attempts in 0.. {
        match ask().await {
            Ok(answer) => return Ok(Some(answer)),
            Err(error) if error.retry == Retry::Later => {
                tracing::warn!(%error, "the store is away");
                tokio::select! {
                    () = shared.stop.cancelled() => return Ok(None),
                    () = tokio::time::sleep(pause(attempts, longest)) => {}
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}
