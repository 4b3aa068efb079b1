//! A store that is atomic by cell alone, as a wide-column store is: the rows beside cells come
//! first, then one cell after the other, the progress last. Whatever order writes come in, each row
//! keeps its newest state, so it refuses nobody: not even one who lost the partition long ago.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use agon_memory::MemoryStore;
use agon_ports::{PortError, ProjectionStore, Scan};
use agon_projections::row::Value;
use agon_projections::row_bytes::{key_bytes, value_bytes};
use agon_projections::{Flush, Row, RowKey, Table};
use async_trait::async_trait;
use tokio::sync::RwLock;

use crate::events::Chance;

/// Whether a row is stored beside its cell, before it.
pub fn is_beside(row: &Row) -> bool {
    let with_cell =
        [Table::Heads, Table::Entrants, Table::Servers, Table::Submissions, Table::Tallies];
    !with_cell.contains(&row.key.table())
}

/// The store. Clones are the same.
#[derive(Clone)]
pub struct CellStore {
    store: MemoryStore,
    part_per_mille: u64,
    shared: Arc<Shared>,
}

struct Shared {
    /// A batch of a cell is written whole under it, and so are reads.
    batch: RwLock<()>,
    chance: Mutex<Chance>,
    parts: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl CellStore {
    /// A store that ends so many flushes of a thousand somewhere in the middle.
    pub fn new(store: MemoryStore, seed: u64, part_per_mille: u64) -> CellStore {
        let shared = Shared {
            batch: RwLock::new(()),
            chance: Mutex::new(Chance(seed)),
            parts: AtomicU64::new(0),
            wrong: Mutex::default(),
        };
        CellStore { store, part_per_mille, shared: Arc::new(shared) }
    }

    /// Flushes that ended in the middle.
    pub fn parts(&self) -> u64 {
        self.shared.parts.load(Ordering::SeqCst)
    }

    /// Fails when the same state of a row was ever written with another value.
    pub fn check(&self) {
        let wrong = self.shared.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{} writes\n{}", wrong.len(), wrong[..1].join("\n"));
    }

    /// Writes these at once, where they are no older than what is there.
    async fn write(&self, rows: Vec<Row>) -> Result<(), PortError> {
        let _batch = self.shared.batch.write().await;
        let before = self.store.get(rows.iter().map(|row| row.key.clone()).collect()).await?;
        for (row, before) in rows.into_iter().zip(before) {
            let is_newer = match before {
                None => true,
                Some(before) => {
                    let is_same = stamp(&row) == stamp(&before);
                    if is_same && value_bytes(&row.value) != value_bytes(&before.value) {
                        let wrong = format!("{}: {:?}\n{:?}", row.key, before.value, row.value);
                        self.shared.wrong.lock().unwrap().push(wrong);
                    }
                    stamp(&row) > stamp(&before)
                }
            };
            if is_newer {
                self.store.overwrite_raw(key_bytes(&row.key), value_bytes(&row.value));
            }
        }
        Ok(())
    }

    /// Where a flush ends: after how many rows beside the cells, and the bits of the cells that are
    /// written.
    fn cut(&self, beside: usize) -> Option<(usize, u64)> {
        let mut chance = self.shared.chance.lock().unwrap();
        if chance.below(1_000) >= self.part_per_mille {
            return None;
        }
        self.shared.parts.fetch_add(1, Ordering::SeqCst);
        let is_among_cells = chance.below(4) > 0;
        let rows = if is_among_cells { beside } else { chance.below(beside as u64 + 1) as usize };
        Some((rows, if is_among_cells { chance.below(u64::MAX) } else { 0 }))
    }
}

/// What decides between two states of a row: the larger one stays.
fn stamp(row: &Row) -> i128 {
    let earliest = |offset: u64| -i128::from(offset);
    match (&row.key, &row.value) {
        (_, Value::Head(head)) => head.applied.into(),
        (_, Value::Rating(rating)) => rating.ver.into(),
        (_, Value::Score(score)) => score.ver.into(),
        (_, Value::Submission(submission)) => submission.ver.into(),
        (_, Value::Server(messages)) => (*messages).into(),
        (_, Value::Tally(tally)) => tally.ver.into(),
        (_, Value::Progress(progress)) => progress.applied.into(),
        (_, Value::FirstSeen(first)) => earliest(first.offset),
        (RowKey::Refusal(..), Value::Since(offset)) => (*offset).into(),
        (_, Value::Since(offset)) => earliest(*offset),
        (_, Value::Match(_) | Value::History(_) | Value::DeadLetter(_)) => 0,
    }
}

#[async_trait]
impl ProjectionStore for CellStore {
    async fn flush(&self, flush: Arc<Flush>) -> Result<(), PortError> {
        let side = flush.cells.iter().flat_map(|cell| &cell.side).chain(&flush.rows);
        let mut beside: Vec<Row> = side.filter(|row| is_beside(row)).cloned().collect();
        let cut = self.cut(beside.len());
        let (rows, cells) = cut.unwrap_or((beside.len(), u64::MAX));
        beside.truncate(rows);
        for row in beside {
            self.write(vec![row]).await?;
        }
        for (index, cell) in flush.cells.iter().enumerate() {
            if cells >> (index % 64) & 1 == 1 {
                let with_cell = cell.side.iter().filter(|row| !is_beside(row));
                self.write(cell.own.iter().chain(with_cell).cloned().collect()).await?;
            }
        }
        if cut.is_some() {
            return Err(PortError::later("flush", "it ended in the middle (injected)"));
        }
        let value = Value::Progress(flush.progress.clone());
        self.write(vec![Row { key: RowKey::Progress(flush.source), value }]).await
    }

    async fn get(&self, keys: Vec<RowKey>) -> Result<Vec<Option<Row>>, PortError> {
        let _batch = self.shared.batch.read().await;
        self.store.get(keys).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, PortError> {
        let _batch = self.shared.batch.read().await;
        self.store.scan(scan).await
    }
}
