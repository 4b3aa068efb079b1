//! Filters of large cells, read while events are folded already: who takes over a cell with
//! millions of identities looks each one up in the store until the filter is there.

use std::collections::HashMap;
use std::sync::Arc;

use agon_projections::CellKey;
use agon_schema::TopicPartition;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use crate::error::ConsumerError;
use crate::load::read_filter;
use crate::seen::Seen;
use crate::worker::Shared;

/// Filters that one worker reads at a time: the rest of the store's time is for events.
const READS_MAX: usize = 1;

/// Filters that wait for their turn. Beyond it a cell goes without, and is looked up.
const WAITING_MAX: usize = 256;

/// A filter that was read.
pub(crate) struct Warmed {
    pub(crate) source: TopicPartition,
    pub(crate) cell: CellKey,
    /// The load of the cell that it is for.
    pub(crate) load: u64,
    pub(crate) seen: Seen,
}

/// The filters that one worker waits for. Dropped with it.
pub(crate) struct Warming {
    reads: JoinSet<Option<Warmed>>,
    /// The newest read of each cell, by which one that is no longer wanted is ended.
    newest: HashMap<CellKey, AbortHandle>,
    turn: Arc<Semaphore>,
}

impl Warming {
    pub(crate) fn new() -> Warming {
        Warming {
            reads: JoinSet::new(),
            newest: HashMap::new(),
            turn: Arc::new(Semaphore::new(READS_MAX)),
        }
    }

    /// Reads the filter of a cell.
    pub(crate) fn begin(
        &mut self,
        shared: &Shared,
        source: TopicPartition,
        cell: CellKey,
        load: u64,
    ) {
        if let Some(older) = self.newest.remove(&cell) {
            older.abort();
        }
        self.newest.retain(|_, read| !read.is_finished());
        if self.newest.len() >= WAITING_MAX {
            tracing::warn!(%cell, "too many filters to read: every identity is looked up");
            return;
        }
        let key = cell.clone();
        let (shared, turn) = (shared.clone(), Arc::clone(&self.turn));
        let read = self.reads.spawn(async move {
            let _turn = turn.acquire_owned().await.ok()?;
            match read_filter(&shared, &cell).await {
                Ok(seen) => seen.map(|seen| Warmed { source, cell, load, seen }),
                Err(stopped) => {
                    let error = ConsumerError::from(stopped);
                    tracing::warn!(%cell, %error, "no filter: every identity is looked up");
                    None
                }
            }
        });
        self.newest.insert(key, read);
    }

    /// The next filter that is there by now.
    pub(crate) fn next(&mut self) -> Option<Warmed> {
        while let Some(read) = self.reads.try_join_next() {
            if let Ok(Some(warmed)) = read {
                return Some(warmed);
            }
        }
        None
    }
}
