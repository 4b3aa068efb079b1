//! What all parts of the intake share: the queue, the recent identities, and the places in use.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agon_ports::{Append, Clock, EventLog, PortError};
use agon_projections::CellKey;
use agon_projections::row::HeadDetail;
use agon_schema::{Position, TopicPartition};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::config::IntakeConfig;
use super::error::IntakeError;
use super::metrics::IntakeMetrics;
use super::progress::Progress;
use super::view::Lookup;
use crate::batch::Size;
use crate::recent::{Key, Recent};

/// What the appender answers for a piece: the positions of its records in their order.
pub(crate) type Reply = Result<Vec<Position>, IntakeError>;

/// Some records of one call, in their order, that are appended together.
pub(crate) struct Piece {
    pub appends: Vec<Append>,
    /// The claim of each record.
    pub claims: Vec<Key>,
    /// Those that are definitions.
    pub definitions: Vec<Key>,
    pub bytes: usize,
    pub queued_at: Instant,
    pub reply: oneshot::Sender<Reply>,
    /// Its places are given back when the last piece and the call itself are done.
    pub _places: Arc<Places>,
}

impl Piece {
    pub fn size(&self) -> Size {
        Size { records: self.appends.len(), bytes: self.bytes }
    }
}

/// What stands behind the one lock. Nobody awaits while holding it.
pub(crate) struct State {
    pub recent: Recent,
    pub queue: VecDeque<Piece>,
    /// Definitions that the store has; they never change.
    pub definitions: HashMap<CellKey, HeadDetail>,
    /// Definitions that were appended here, which the store may not have yet. What is recent is
    /// forgotten when much follows; these are needed for as long as anything follows.
    pub appended: HashSet<Key>,
    /// Appends that failed so far. Each took the whole queue with it, so what was judged before
    /// it may stand on something that is not in the log.
    pub failures: u64,
    pub is_closed: bool,
    calls: u64,
}

impl State {
    /// A number for a new call.
    pub fn call(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }
}

pub(crate) struct Shared {
    pub config: IntakeConfig,
    pub log: Arc<dyn EventLog>,
    pub lookup: Lookup,
    pub clock: Arc<dyn Clock>,
    pub metrics: IntakeMetrics,
    pub progress: Progress,
    /// Wakes the appender.
    pub work: Notify,
    used: watch::Sender<Size>,
    state: Mutex<State>,
}

impl Shared {
    pub fn new(
        config: IntakeConfig,
        log: Arc<dyn EventLog>,
        lookup: Lookup,
        clock: Arc<dyn Clock>,
        metrics: IntakeMetrics,
    ) -> Arc<Shared> {
        let state = State {
            recent: Recent::new(config.recent_max),
            queue: VecDeque::new(),
            definitions: HashMap::new(),
            appended: HashSet::new(),
            failures: 0,
            is_closed: false,
            calls: 0,
        };
        Arc::new(Shared {
            config,
            log,
            lookup,
            clock,
            metrics,
            progress: Progress::default(),
            work: Notify::new(),
            used: watch::Sender::default(),
            state: Mutex::new(state),
        })
    }

    /// Nothing panics while it holds this lock, so what a poisoned one guards is whole.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in how far the store is.
    pub fn passed(&self, source: TopicPartition, applied: u64) {
        self.state().recent.passed(source, applied);
        self.progress.raise(source, applied);
    }

    /// Takes places for a call, or refuses it at once.
    pub fn reserve(self: &Arc<Shared>, size: Size) -> Result<Arc<Places>, IntakeError> {
        let (records_max, bytes_max) = (self.config.queue_records_max, self.config.queue_bytes_max);
        let Size { records, bytes } = size;
        if records > records_max || bytes > bytes_max {
            return Err(IntakeError::TooMuch { records, bytes, records_max, bytes_max });
        }
        let state = self.state();
        if state.is_closed {
            return Err(IntakeError::Closed);
        }
        let mut waiting = 0;
        let has_room = self.used.send_if_modified(|used| {
            waiting = used.records;
            let fits = records <= records_max - used.records && bytes <= bytes_max - used.bytes;
            if fits {
                used.records += records;
                used.bytes += bytes;
            }
            fits
        });
        // Until here a close waits; from now on it sees the places.
        drop(state);
        if !has_room {
            return Err(IntakeError::Overloaded { records, waiting, records_max });
        }
        self.metrics.queue_records.add(records as i64);
        Ok(Arc::new(Places { shared: Arc::clone(self), size }))
    }

    /// Whether nothing that was accepted waits for its answer.
    pub fn is_idle(&self) -> bool {
        self.used.borrow().records == 0
    }

    /// Waits until everything that was accepted is answered.
    pub async fn idle(&self) {
        // The sender lives as long as `self`.
        let _ = self.used.subscribe().wait_for(|used| used.records == 0).await;
    }

    /// Refuses what comes from now on.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.work.notify_one();
    }

    /// Fails these pieces and everything in the queue: what stands there may depend on them.
    pub fn fail(&self, pieces: Vec<Piece>, error: PortError) {
        let error = IntakeError::from(error);
        let mut state = self.state();
        state.failures += 1;
        let queued = std::mem::take(&mut state.queue);
        for piece in pieces.into_iter().chain(queued) {
            for key in &piece.claims {
                state.recent.failed(*key);
            }
            // Nobody listens when the caller has gone.
            let _ = piece.reply.send(Err(error.clone()));
        }
    }
}

/// Places of one call in the queue; given back when dropped.
pub(crate) struct Places {
    shared: Arc<Shared>,
    size: Size,
}

impl Drop for Places {
    fn drop(&mut self) {
        self.shared.used.send_modify(|used| {
            used.records -= self.size.records;
            used.bytes -= self.size.bytes;
        });
        self.shared.metrics.queue_records.sub(self.size.records as i64);
        self.shared.work.notify_one();
    }
}

/// Claims of one call that are not in the queue yet; given up when dropped.
pub(crate) struct Claims {
    pub shared: Arc<Shared>,
    pub call: u64,
    pub keys: Vec<Key>,
}

impl Drop for Claims {
    fn drop(&mut self) {
        if self.keys.is_empty() {
            return;
        }
        let mut state = self.shared.state();
        for key in &self.keys {
            state.recent.release(*key, self.call);
        }
    }
}
