//! The handle that routes hold: cells in memory, progress, rendered bodies, and the store behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agon_ports::{ChangeSubscriber, Clock, ProjectionStore};
use agon_projections::CellKey;
use prometheus::Registry;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::{ApiConfig, LogIdentity};
use crate::follower;
use crate::hearing::Hearing;
use crate::held::boards::Boards;
use crate::held::load;
use crate::held::slot::{LoadError, Slot};
use crate::metrics::ApiMetrics;
use crate::progress::Progress;
use crate::rendered::RenderedCache;

/// How long to wait before the store is asked again, at first and at most.
pub(crate) const RETRY_MS: (u64, u64) = (50, 2000);

/// The read side. Clones are one.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

pub(crate) struct Inner {
    pub config: ApiConfig,
    pub log: LogIdentity,
    pub store: Arc<dyn ProjectionStore>,
    pub clock: Arc<dyn Clock>,
    pub boards: Boards,
    pub progress: Progress,
    pub hearing: Arc<Hearing>,
    pub rendered: RenderedCache,
    pub metrics: ApiMetrics,
    pub feed_is_closed: AtomicBool,
    loads: Semaphore,
}

/// Whether the read side can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// The store was read once: positions can be waited for.
    pub is_loaded: bool,
    /// The change feed still brings news. When it does not, boards stay as they are.
    pub feed_is_open: bool,
    /// Cells that are shown but wait to be read again.
    pub cells_stale: usize,
    /// Milliseconds since the feed was last heard; none when it never was.
    pub heard_ms: Option<u64>,
    /// Milliseconds since it spoke of the partition that it is silent about for longest; 0 when
    /// nothing is folded yet. What is shown of that partition may be as old.
    pub silence_ms: u64,
    /// Partitions that it is silent about for longer than the limit: nobody folds them, or the
    /// broker is away.
    pub partitions_silent: usize,
    /// The limit, [`ApiConfig::staleness_ms_max`].
    pub staleness_ms_max: u64,
}

impl Readiness {
    /// Whether everything is as it should be.
    pub fn is_ready(&self) -> bool {
        self.is_loaded && self.feed_is_open
    }

    /// Whether what is shown is no older than the limit. A process that is not fresh still serves:
    /// sending readers elsewhere would not make boards newer.
    pub fn is_fresh(&self) -> bool {
        self.feed_is_open && self.partitions_silent == 0
    }
}

impl Api {
    /// Starts to follow the feed, on the runtime that this is called on. The subscriber was made
    /// before, so nothing that is published from now on is missed. The task ends when the feed
    /// does; what is in memory is served all the same.
    ///
    /// # Errors
    /// When the registry has metrics of these names.
    pub fn start(
        config: ApiConfig,
        store: Arc<dyn ProjectionStore>,
        log: LogIdentity,
        feed: Box<dyn ChangeSubscriber>,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<(Api, JoinHandle<()>), prometheus::Error> {
        let hearing = Arc::new(Hearing::default());
        let inner = Arc::new(Inner {
            config,
            log,
            store,
            clock,
            boards: Boards::new(config.boards_max, config.entrants_max),
            progress: Progress::new(),
            metrics: ApiMetrics::register(registry, Arc::clone(&hearing))?,
            hearing,
            rendered: RenderedCache::new(config.rendered_bytes_max),
            feed_is_closed: AtomicBool::new(false),
            loads: Semaphore::new(config.loads_max.max(1)),
        });
        let follower = tokio::spawn(follower::follow(Arc::clone(&inner), feed));
        Ok((Api(inner), follower))
    }

    /// Whether the read side can answer.
    pub fn readiness(&self) -> Readiness {
        let stale = |slot: &Arc<Slot>| slot.is_readable() && slot.is_stale();
        let staleness_ms_max = self.0.config.staleness_ms_max;
        let silence = self.0.hearing.silence(Duration::from_millis(staleness_ms_max));
        Readiness {
            is_loaded: self.0.progress.is_loaded(),
            feed_is_open: !self.0.feed_is_closed.load(Ordering::Relaxed),
            cells_stale: self.0.boards.all().iter().filter(|slot| stale(slot)).count(),
            heard_ms: silence.any.map(|since| since.as_millis() as u64),
            silence_ms: silence.longest.as_millis() as u64,
            partitions_silent: silence.partitions,
            staleness_ms_max,
        }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    /// The cell in memory, loaded if it is not. With a deadline it is one that shows everything
    /// that is folded by now; without one it may be about to be loaded again.
    pub(crate) async fn held(
        &self,
        key: &CellKey,
        deadline: Option<Instant>,
    ) -> Result<Arc<Slot>, HeldError> {
        let (slot, is_new) = self.0.boards.find_or_make(key);
        if is_new {
            self.0.load(Arc::clone(&slot));
        }
        if deadline.is_none() && slot.is_readable() {
            return Ok(slot);
        }
        let fresh = slot.fresh();
        match deadline {
            Some(deadline) => {
                tokio::time::timeout_at(deadline, fresh)
                    .await
                    .map_err(|_| HeldError::TooLate)??;
            }
            None => fresh.await?,
        }
        Ok(slot)
    }
}

/// Why a cell cannot be shown now.
#[derive(Debug)]
pub(crate) enum HeldError {
    /// It could not be loaded.
    Load(LoadError),
    /// It was not up to date by the deadline.
    TooLate,
}

impl From<LoadError> for HeldError {
    fn from(error: LoadError) -> HeldError {
        HeldError::Load(error)
    }
}

impl Inner {
    /// Starts the load of a slot. One task a slot, as many at work as the configuration says.
    pub fn load(self: &Arc<Inner>, slot: Arc<Slot>) {
        let inner = Arc::clone(self);
        tokio::spawn(async move { inner.load_until_settled(&slot).await });
    }

    /// A first load fails with the store; a later one goes on trying while the board is shown.
    async fn load_until_settled(&self, slot: &Arc<Slot>) {
        let (mut delay_ms, delay_ms_max) = RETRY_MS;
        loop {
            let error = match self.load_once(slot).await {
                Ok(()) => {
                    self.metrics.loaded.inc();
                    return self.boards.review(&self.metrics);
                }
                Err(error) => error,
            };
            let may_pass = match &error {
                LoadError::Store(error) => error.retry == agon_ports::Retry::Later,
                LoadError::Unsettled { .. } => true,
                LoadError::Unknown | LoadError::TooLarge { .. } => false,
            };
            if !matches!(error, LoadError::Unknown) {
                self.metrics.load_failed.inc();
                tracing::warn!(cell = %slot.key(), %error, "a cell was not loaded");
            }
            if may_pass && slot.is_readable() && self.boards.holds(slot) {
                tokio::time::sleep(Duration::from_millis(delay_ms)).await;
                delay_ms = (delay_ms * 2).min(delay_ms_max);
                continue;
            }
            self.boards.forget(slot);
            slot.fail(error);
            return self.boards.review(&self.metrics);
        }
    }

    async fn load_once(&self, slot: &Slot) -> Result<(), LoadError> {
        // The semaphore lives as long as this and is never closed.
        let _turn = self.loads.acquire().await;
        load::load(self.store.as_ref(), slot, self.config.entrants_max).await
    }
}
