//! How far a store says it is folded, read at one moment.
//!
//! ```text
//! partition  0 ............ P ........... A ........... end
//!                           progress      the head of one cell
//! ```
//! A crash between the flush of a cell and that of `progress` leaves the cell ahead of its
//! partition. Such a store is right: each cell is the fold up to the greater of both.

use std::collections::BTreeMap;

use agon_ports::{EventLog, PortError, StoreInspector};
use agon_projections::row::Value;
use agon_projections::row_bytes::{Prefix, key_bytes, prefix_bytes, row_of_bytes};
use agon_projections::{Applied, CellKey, RowKey, Table};
use agon_schema::TopicPartition;

/// Heads a page.
const PAGE_ROWS: usize = 1_024;

/// How far one partition and its cells are stored.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Dead letters, refusals and counts are true up to here.
    pub progress: Applied,
    /// Set when the progress lies beyond the end of the log: `(stored, end)`.
    pub beyond: Option<(u64, u64)>,
    heads: BTreeMap<CellKey, u64>,
}

impl Limits {
    /// The limits of every partition of the log.
    pub async fn read(
        log: &dyn EventLog,
        store: &dyn StoreInspector,
    ) -> Result<BTreeMap<TopicPartition, Limits>, PortError> {
        let heads = heads(store).await?;
        let sources: Vec<TopicPartition> = TopicPartition::all(log.partitions()).collect();
        let keys = sources.iter().map(|source| key_bytes(&RowKey::Progress(*source))).collect();
        let progress = store.values(keys).await?;
        // Last, so that what the store was folded from is in the log.
        let ends = log.ends().await?;
        let end = |source: &TopicPartition| ends.get(source).copied().unwrap_or(0);
        let mut limits = BTreeMap::new();
        for (source, stored) in sources.iter().zip(progress) {
            let of = Limits::of_progress(*source, stored.as_deref(), end(source));
            limits.insert(*source, of);
        }
        for (cell, applied) in heads {
            let source = cell.source(log.partitions());
            // A head that claims what the log does not have is believed in no part.
            if applied < end(&source)
                && let Some(limits) = limits.get_mut(&source)
            {
                limits.heads.insert(cell, applied);
            }
        }
        Ok(limits)
    }

    /// With a progress row that cannot be read the partition counts as folded as far as the log
    /// goes: then that row is the difference, not every row of the partition.
    fn of_progress(source: TopicPartition, stored: Option<&[u8]>, end: u64) -> Limits {
        let Some(stored) = stored else { return Limits::default() };
        match applied(&RowKey::Progress(source), stored) {
            Some(applied) if applied >= end => {
                Limits { beyond: Some((applied, end)), ..Limits::default() }
            }
            Some(applied) => Limits { progress: Some(applied), ..Limits::default() },
            // Without a record there is nothing to fold, and the row is one too many.
            None => Limits { progress: end.checked_sub(1), ..Limits::default() },
        }
    }

    /// The same, as far as the store has moved since: the partition and some of its cells.
    pub async fn again(
        &self,
        log: &dyn EventLog,
        store: &dyn StoreInspector,
        source: TopicPartition,
        cells: impl IntoIterator<Item = &CellKey>,
    ) -> Result<Limits, PortError> {
        let cells: Vec<&CellKey> = cells.into_iter().collect();
        let heads = cells.iter().map(|cell| RowKey::Head(CellKey::clone(cell)));
        let keys: Vec<RowKey> = [RowKey::Progress(source)].into_iter().chain(heads).collect();
        let stored = store.values(keys.iter().map(key_bytes).collect()).await?;
        let end = log.ends().await?.get(&source).copied().unwrap_or(0);
        let mut now = self.clone();
        for (key, value) in keys.into_iter().zip(stored) {
            let Some(value) = value else { continue };
            let Some(applied) = applied(&key, &value).filter(|applied| *applied < end) else {
                continue;
            };
            if let RowKey::Head(cell) = key {
                let head = now.heads.entry(cell).or_insert(applied);
                *head = applied.max(*head);
            } else {
                now.progress = now.progress.max(Some(applied));
            }
        }
        Ok(now)
    }

    /// The last offset that a cell is folded through.
    pub fn of(&self, cell: &CellKey) -> Applied {
        self.progress.max(self.heads.get(cell).copied())
    }

    /// The greatest of its cells' and its own.
    pub fn last(&self) -> Applied {
        self.progress.max(self.heads.values().max().copied())
    }
}

/// The offset that a head or a progress names, if its bytes can be read.
fn applied(key: &RowKey, value: &[u8]) -> Applied {
    match row_of_bytes(&key_bytes(key), value)?.value {
        Value::Head(head) => Some(head.applied),
        Value::Progress(progress) => Some(progress.applied),
        _ => None,
    }
}

async fn heads(store: &dyn StoreInspector) -> Result<Vec<(CellKey, u64)>, PortError> {
    let prefix = prefix_bytes(&Prefix::Table(Table::Heads));
    let mut heads = Vec::new();
    let mut after = None;
    loop {
        let page = store.entries(prefix.clone(), after.take(), PAGE_ROWS).await?;
        let is_last = page.len() < PAGE_ROWS;
        for (key, value) in &page {
            if let Some(row) = row_of_bytes(key, value)
                && let (RowKey::Head(cell), Value::Head(head)) = (row.key, row.value)
            {
                heads.push((cell, head.applied));
            }
        }
        after = page.into_iter().last().map(|(key, _)| key);
        if is_last {
            return Ok(heads);
        }
    }
}
