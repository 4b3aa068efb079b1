//! Stores that benches put in the place of the real one: one that drops, one that counts, one
//! without duplicate checks and positions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agon_ports::{PortError, ProjectionStore, Scan};
use agon_projections::row_bytes::Prefix;
use agon_projections::{Flush, Row, RowKey, Table};
use agon_scylla::ScyllaStore;
use agon_scylla::bare::{BareStore, BatchShape};
use async_trait::async_trait;

/// One flush of so many is looked at closely: planning it again costs time.
const SAMPLE_EVERY: u64 = 16;
/// Batches whose shape is kept.
const SHAPES_MAX: usize = 1_000_000;

/// Says yes and keeps nothing.
pub struct DroppingStore;

#[async_trait]
impl ProjectionStore for DroppingStore {
    async fn flush(&self, _flush: Arc<Flush>) -> Result<(), PortError> {
        Ok(())
    }

    async fn get(&self, keys: Vec<RowKey>) -> Result<Vec<Option<Row>>, PortError> {
        Ok(keys.iter().map(|_| None).collect())
    }

    async fn scan(&self, _scan: Scan) -> Result<Vec<Row>, PortError> {
        Ok(Vec::new())
    }
}

/// What went into a store.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Flushes.
    pub flushes: u64,
    /// Records that the flushes looked at covered.
    pub sampled_events: u64,
    /// The batches of these flushes.
    pub batches: Vec<BatchShape>,
}

impl Seen {
    /// Batches an event.
    pub fn batches_per_event(&self) -> f64 {
        self.batches.len() as f64 / self.sampled_events as f64
    }

    /// Rows an event, as the store has them: each a statement of a batch.
    pub fn rows_per_event(&self) -> f64 {
        self.rows() as f64 / self.sampled_events as f64
    }

    /// Bytes a row, about.
    pub fn bytes_per_row(&self) -> f64 {
        let bytes: usize = self.batches.iter().map(|batch| batch.bytes).sum();
        bytes as f64 / self.rows() as f64
    }

    fn rows(&self) -> usize {
        self.batches.iter().map(|batch| batch.rows).sum()
    }
}

/// The real store, with a count of what goes into it.
pub struct CountingStore {
    inner: Arc<ScyllaStore>,
    shapes: Arc<BareStore>,
    seen: Mutex<Seen>,
}

impl CountingStore {
    /// Counts what goes into `inner`.
    pub fn new(inner: Arc<ScyllaStore>, shapes: Arc<BareStore>) -> CountingStore {
        CountingStore { inner, shapes, seen: Mutex::default() }
    }

    /// What went into it so far.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // Nothing panics while it is held.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ProjectionStore for CountingStore {
    async fn flush(&self, flush: Arc<Flush>) -> Result<(), PortError> {
        self.inner.flush(Arc::clone(&flush)).await?;
        let is_sampled = {
            let mut seen = self.lock();
            seen.flushes += 1;
            seen.flushes % SAMPLE_EVERY == 1 && seen.batches.len() < SHAPES_MAX
        };
        if is_sampled {
            let shapes = self.shapes.shape(&flush)?;
            let first = flush.from.map_or(0, |from| from + 1);
            let mut seen = self.lock();
            seen.sampled_events += flush.progress.applied + 1 - first;
            seen.batches.extend(shapes);
        }
        Ok(())
    }

    async fn get(&self, keys: Vec<RowKey>) -> Result<Vec<Option<Row>>, PortError> {
        self.inner.get(keys).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, PortError> {
        self.inner.scan(scan).await
    }
}

/// The real tables, without identities and positions: none is written, none is found. What is in
/// it afterwards is of no use.
pub struct UncheckedStore {
    /// For rows by key.
    pub reads: Arc<ScyllaStore>,
    /// For flushes.
    pub writes: Arc<BareStore>,
}

#[async_trait]
impl ProjectionStore for UncheckedStore {
    async fn flush(&self, flush: Arc<Flush>) -> Result<(), PortError> {
        self.writes.write(&flush).await
    }

    async fn get(&self, keys: Vec<RowKey>) -> Result<Vec<Option<Row>>, PortError> {
        let is_off = |key: &RowKey| matches!(key, RowKey::FirstSeen(..) | RowKey::Progress(_));
        let asked: Vec<RowKey> = keys.iter().filter(|key| !is_off(key)).cloned().collect();
        let found = if asked.is_empty() { Vec::new() } else { self.reads.get(asked).await? };
        let mut found = found.into_iter();
        let answer = |key: &RowKey| if is_off(key) { None } else { found.next().flatten() };
        Ok(keys.iter().map(answer).collect())
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, PortError> {
        match scan.prefix {
            Prefix::Cell(Table::FirstSeen, _) => Ok(Vec::new()),
            _ => self.reads.scan(scan).await,
        }
    }
}
