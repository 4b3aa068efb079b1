//! Loading a cell from a store that goes on moving, without losing or doubling news.
//!
//! News are kept from before the first row is read. The head is read before the rows and again
//! after them: every row read is at or below the second head, and everything above the first one
//! comes as news. When the news reach from the first head to the second or beyond, nothing is
//! missing; else the load begins again.

use std::sync::Arc;

use agon_ports::{Order, PortError, ProjectionStore, Scan};
use agon_projections::row::{Row, RowKey};
use agon_projections::row_bytes::Prefix;
use agon_projections::{Applied, CellKey};

use super::slot::{LoadError, Slot};
use super::view::View;

/// Rows a page.
const PAGE_ROWS: usize = 4096;
/// Beginnings before a load gives up.
const ATTEMPTS_MAX: usize = 8;

/// Reads the slot's cell and shows it.
pub(crate) async fn load(
    store: &dyn ProjectionStore,
    slot: &Slot,
    entrants_max: usize,
) -> Result<(), LoadError> {
    for _ in 0..ATTEMPTS_MAX {
        slot.listen();
        let key = slot.key();
        let head = head(store, key).await?;
        if head.is_none() && !matches!(key, CellKey::Stream(_)) {
            return Err(LoadError::Unknown);
        }
        let mut rows: Vec<Row> = head.into_iter().collect();
        read_rows(store, key, &mut rows, entrants_max).await?;
        let seen = applied(self::head(store, key).await?.as_ref());
        let view = build(key.clone(), rows).await?;
        if slot.settle(view, seen).await.is_ok() {
            return Ok(());
        }
    }
    Err(LoadError::Unsettled { attempts: ATTEMPTS_MAX })
}

impl From<PortError> for LoadError {
    fn from(error: PortError) -> LoadError {
        LoadError::Store(Arc::new(error))
    }
}

async fn head(store: &dyn ProjectionStore, key: &CellKey) -> Result<Option<Row>, PortError> {
    let rows = store.get(vec![RowKey::Head(key.clone())]).await?;
    Ok(rows.into_iter().next().flatten())
}

fn applied(head: Option<&Row>) -> Applied {
    match head.map(|row| &row.value) {
        Some(agon_projections::row::Value::Head(head)) => Some(head.applied),
        _ => None,
    }
}

async fn read_rows(
    store: &dyn ProjectionStore,
    key: &CellKey,
    rows: &mut Vec<Row>,
    entrants_max: usize,
) -> Result<(), LoadError> {
    let prefix = Prefix::Cell(View::table(key), key.clone());
    let mut after = None;
    loop {
        let (order, limit) = (Order::Rising, PAGE_ROWS);
        let page = store.scan(Scan { prefix: prefix.clone(), after, order, limit }).await?;
        let is_last = page.len() < PAGE_ROWS;
        after = page.last().map(|row| row.key.clone());
        rows.extend(page);
        if rows.len() > entrants_max.saturating_add(1) {
            return Err(LoadError::TooLarge { entrants_max });
        }
        if is_last {
            return Ok(());
        }
    }
}

/// A large board takes a while to sort; others are served meanwhile.
async fn build(key: CellKey, rows: Vec<Row>) -> Result<View, PortError> {
    if rows.len() <= PAGE_ROWS {
        return Ok(View::from_rows(&key, rows));
    }
    let attempted = format!("build the board of {key}");
    let built = tokio::task::spawn_blocking(move || View::from_rows(&key, rows)).await;
    built.map_err(|error| PortError::never(attempted, error))
}
