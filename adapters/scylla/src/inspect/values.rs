//! The values of single keys; those in chunks of one window are read together.

use std::collections::{BTreeMap, BTreeSet};

use agon_projections::{RowKey, Table};

use super::ask::{Asker, all};
use super::chunk::WINDOW;
use super::place::Place;
use super::rows::{agent_cells, mark_of, marked, single, window};
use crate::error::RequestError;

/// Rows of chunks, by the key of the first offset of their window.
type Windows = BTreeMap<RowKey, BTreeMap<u64, Vec<u8>>>;

/// The values of keys, in their order; `None` for what is no key.
pub(super) async fn values(
    asker: &Asker,
    keys: Vec<Option<RowKey>>,
) -> Result<Vec<Option<Vec<u8>>>, RequestError> {
    let asked: BTreeSet<RowKey> = keys.iter().flatten().filter_map(first_of_window).collect();
    let windows = all(asked.into_iter().map(async |key| {
        let rows = match offset_of(&key) {
            Some(first) => window(asker, key.table(), &Place::of(&key), first).await?,
            None => BTreeMap::new(),
        };
        Ok((key, rows))
    }));
    let windows: Windows = windows.await?.into_iter().collect();
    all(keys.iter().map(async |key| match key {
        Some(key) => value(asker, key, &windows).await,
        None => Ok(None),
    }))
    .await
}

async fn value(
    asker: &Asker,
    key: &RowKey,
    windows: &Windows,
) -> Result<Option<Vec<u8>>, RequestError> {
    if let Some(first) = first_of_window(key) {
        let row = |rows: &BTreeMap<u64, Vec<u8>>| rows.get(&offset_of(key)?).cloned();
        return Ok(windows.get(&first).and_then(row));
    }
    if let Some(mark) = mark_of(key) {
        return marked(asker, key, mark).await;
    }
    if let RowKey::AgentCell(_, cell) = key {
        let mut cells = agent_cells(asker, &Place::of(key)).await?;
        return Ok(cells.remove(cell).map(|(value, _)| value));
    }
    debug_assert!(matches!(key.table(), Table::Heads | Table::Progress));
    single(asker, key.table(), &Place::of(key)).await
}

fn offset_of(key: &RowKey) -> Option<u64> {
    match key {
        RowKey::Match(_, offset) | RowKey::History(.., offset) => Some(*offset),
        _ => None,
    }
}

/// The key with the first offset of its window, for a row in a chunk.
fn first_of_window(key: &RowKey) -> Option<RowKey> {
    let first = |offset: &u64| offset - offset % WINDOW;
    match key {
        RowKey::Match(cell, offset) => Some(RowKey::Match(cell.clone(), first(offset))),
        RowKey::History(cell, agent, offset) => {
            Some(RowKey::History(cell.clone(), agent.clone(), first(offset)))
        }
        _ => None,
    }
}
