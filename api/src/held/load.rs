//! Loading a cell from a store that goes on moving, without losing or doubling news.
//!
//! News are kept from before the first row is read. The head is read before the rows and again
//! after them, so that whatever the rows hold above the first head comes as news. When the news
//! reach from the first head to the newest thing that was read, nothing is missing; else the load
//! begins again.
//!
//! The newest thing that was read is not always the second head. The store writes a cell at once,
//! but each page is a read of its own: on a store of several copies a page may come from one that
//! took a flush which is not yet acknowledged, and the head after it from others. So
//! - a row of an entrant or of a stream's tallies says itself how new it is (`ver`), and the news
//!   must reach it;
//! - a server's row does not; but a server's messages are among all messages, so when the servers
//!   hold more than the second head counts, the load begins again. A row that is newer by less
//!   than the messages without a server passes; the next news of its server make it right.

use std::sync::Arc;

use agon_ports::{Order, PortError, ProjectionStore, Scan};
use agon_projections::row::{Head, HeadDetail, Row, RowKey, Value};
use agon_projections::row_bytes::Prefix;
use agon_projections::{Applied, CellKey, Table};

use super::slot::{LoadError, SETTLE, Slot};
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
        for table in View::tables(key) {
            read_rows(store, *table, key, &mut rows, entrants_max).await?;
        }
        let second = self::head(store, key).await?;
        if are_servers_ahead(&rows, second.as_ref()) {
            tokio::time::sleep(SETTLE).await;
            continue;
        }
        let seen = applied(second.as_ref()).max(newest(&rows));
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
        Some(Value::Head(head)) => Some(head.applied),
        _ => None,
    }
}

/// The newest event that a row shows.
fn newest(rows: &[Row]) -> Applied {
    let ver = |row: &Row| match &row.value {
        Value::Rating(rating) => Some(rating.ver),
        Value::Score(score) => Some(score.ver),
        Value::Tally(tally) => Some(tally.ver),
        _ => None,
    };
    rows.iter().filter_map(ver).max()
}

/// Whether servers hold messages that the head does not count yet.
fn are_servers_ahead(rows: &[Row], head: Option<&Row>) -> bool {
    let messages = match head.map(|row| &row.value) {
        Some(Value::Head(Head { detail: HeadDetail::Stream(totals), .. })) => totals.messages,
        _ => 0,
    };
    let by_server = rows.iter().filter_map(|row| match row.value {
        Value::Server(messages) => Some(messages),
        _ => None,
    });
    by_server.fold(0_u64, u64::saturating_add) > messages
}

async fn read_rows(
    store: &dyn ProjectionStore,
    table: Table,
    key: &CellKey,
    rows: &mut Vec<Row>,
    entrants_max: usize,
) -> Result<(), LoadError> {
    let prefix = Prefix::Cell(table, key.clone());
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
