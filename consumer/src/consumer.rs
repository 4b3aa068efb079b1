//! The workers together: alone or in a group, status, shutdown.

use std::sync::Arc;
use std::time::Duration;

use agon_ports::{Assignment, ChangePublisher, Clock, EventLog, Group, PortError, ProjectionStore};
use agon_schema::TopicPartition;
use prometheus::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::ConsumerConfig;
use crate::crash::point;
use crate::error::ConsumerError;
use crate::membership::Membership;
use crate::metrics::Metrics;
use crate::share::{Ready, Share, Sources};
use crate::standing::{Phase, Standing};
use crate::worker::{Positions, Shared};

/// Where one partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Which.
    pub source: TopicPartition,
    /// Whether this consumer works on it; in a group others have their share.
    pub is_mine: bool,
    /// Stored through this offset, if through any; not known of others' partitions.
    pub applied: Option<u64>,
    /// The offset that the next record of the log will get.
    pub end: u64,
}

/// Running workers: alone over all partitions of a log, or as a member of a group over a share.
pub struct Consumer {
    config: ConsumerConfig,
    log: Arc<dyn EventLog>,
    positions: watch::Receiver<Positions>,
    standing: watch::Receiver<Standing>,
    failure: watch::Receiver<Option<String>>,
    stop: CancellationToken,
    work: AbortOnDropHandle<Result<(), ConsumerError>>,
}

impl Consumer {
    /// Resumes every partition where the store stands and starts the workers.
    ///
    /// # Errors
    /// When log or store are away, or do not belong together.
    pub async fn start(
        config: ConsumerConfig,
        log: Arc<dyn EventLog>,
        store: Arc<dyn ProjectionStore>,
        publisher: Arc<dyn ChangePublisher>,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Consumer, ConsumerError> {
        let sources: Sources = Arc::new(TopicPartition::all(log.partitions()).collect());
        let ready = Ready::resume(&config, log.as_ref(), store.as_ref(), &sources).await?;
        // Last of what can fail, so that a start that failed may be tried again.
        let metrics = Metrics::register(registry)?;
        let shared = shared(config, log.as_ref(), store, publisher, metrics);
        let share = Share::start(ready, &shared, &log, &clock).await;
        let standing = Arc::new(watch::Sender::new(Standing::with(Phase::Working, &sources)));
        let told = Arc::clone(&standing);
        Ok(Consumer::of(&shared, log, &standing, |failed| alone(share, failed, told)))
    }

    /// Joins a group and works on the share that it assigns, until that is revoked, and on the
    /// next one. Call it in a runtime. It answers at once: [`Consumer::standing`] says how far it
    /// has come, [`Consumer::failure`] why it gave up.
    ///
    /// # Errors
    /// A metric's name is taken.
    pub fn start_in_group(
        config: ConsumerConfig,
        log: Arc<dyn EventLog>,
        store: Arc<dyn ProjectionStore>,
        publisher: Arc<dyn ChangePublisher>,
        group: Arc<dyn Group>,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Consumer, ConsumerError> {
        let metrics = Metrics::register(registry)?;
        let shared = shared(config, log.as_ref(), store, publisher, metrics);
        let standing = Arc::new(watch::Sender::new(Standing::new(Phase::Joining)));
        let membership = Membership {
            shared: shared.clone(),
            log: Arc::clone(&log),
            clock,
            group,
            standing: Arc::clone(&standing),
        };
        Ok(Consumer::of(&shared, log, &standing, |_| membership.run()))
    }

    /// Runs this work and listens to it.
    fn of<W>(
        shared: &Shared,
        log: Arc<dyn EventLog>,
        standing: &Arc<watch::Sender<Standing>>,
        work: impl FnOnce(Failed) -> W,
    ) -> Consumer
    where
        W: Future<Output = Result<(), ConsumerError>> + Send + 'static,
    {
        let (failed, failure) = watch::channel(None);
        let failed = Arc::new(failed);
        let work = reported(work(Arc::clone(&failed)), failed, Arc::clone(standing));
        Consumer {
            config: shared.config.clone(),
            log,
            positions: shared.positions.subscribe(),
            standing: standing.subscribe(),
            failure,
            stop: shared.stop.clone(),
            work: AbortOnDropHandle::new(tokio::spawn(work)),
        }
    }

    /// What it works on at present, and what is in its way.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Where every partition stands.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn status(&self) -> Result<Vec<PartitionStatus>, PortError> {
        let ends = self.log.ends().await?;
        let mine = self.standing().partitions;
        let positions = self.positions.borrow();
        let of = |(source, end): (TopicPartition, u64)| PartitionStatus {
            source,
            is_mine: mine.contains(&source),
            applied: positions.get(&source).map(|stored| stored.applied),
            end,
        };
        Ok(ends.into_iter().map(of).collect())
    }

    /// A handle that waits for positions, for others to hold.
    pub fn reached(&self) -> Reached {
        Reached(self.positions.clone())
    }

    /// Waits until the consumer or, alone, one of its workers fails, for others to hold: it ends
    /// only then, with the reason.
    pub fn failure(&self) -> impl Future<Output = String> + Send + use<> {
        let mut failure = self.failure.clone();
        async move {
            match failure.wait_for(Option::is_some).await.map(|reason| reason.clone()) {
                Ok(Some(reason)) => reason,
                // The work ended and nothing failed.
                _ => std::future::pending().await,
            }
        }
    }

    /// Stops reading, stores what was folded, leaves the group, and ends.
    ///
    /// # Errors
    /// The first failure of a worker, or that `deadline` passed; nothing acknowledged is lost.
    pub async fn stop(self, deadline: Duration) -> Result<(), ConsumerError> {
        point(&self.config, "shutdown.before_flush");
        self.stop.cancel();
        match tokio::time::timeout(deadline, self.work).await {
            Ok(ended) => ended.unwrap_or_else(|e| Err(ConsumerError::Worker(e.to_string()))),
            Err(_) => Err(ConsumerError::Deadline { deadline_ms: deadline.as_millis() }),
        }
    }
}

/// Where a reason to fail is told.
type Failed = Arc<watch::Sender<Option<String>>>;

/// Knows how far the store stands.
#[derive(Clone)]
pub struct Reached(watch::Receiver<Positions>);

impl Reached {
    /// Waits until every record below these ends is folded and stored. `false` when the consumer
    /// ended before. While it runs with a failed worker this waits on: see [`Consumer::failure`].
    pub async fn wait_for(&mut self, ends: &Assignment) -> bool {
        let is_there = |positions: &Positions| {
            ends.iter().all(|(source, end)| {
                *end == 0 || positions.get(source).is_some_and(|stored| stored.applied + 1 >= *end)
            })
        };
        self.0.wait_for(is_there).await.is_ok()
    }

    /// Records folded and stored so far, over all partitions.
    pub fn records(&self) -> u64 {
        self.0.borrow().values().map(|stored| stored.applied + 1).sum()
    }
}

/// What all workers share.
fn shared(
    config: ConsumerConfig,
    log: &dyn EventLog,
    store: Arc<dyn ProjectionStore>,
    publisher: Arc<dyn ChangePublisher>,
    metrics: Metrics,
) -> Shared {
    Shared {
        config,
        store,
        publisher,
        partitions: log.partitions(),
        metrics,
        positions: Arc::new(watch::Sender::new(Positions::new())),
        commits: None,
        stop: CancellationToken::new(),
        #[cfg(feature = "controls")]
        kept: crate::partition::Kept::default(),
    }
}

/// Waits for the workers on all partitions. One that failed keeps no other from working on.
async fn alone(
    mut share: Share,
    failed: Failed,
    standing: Arc<watch::Sender<Standing>>,
) -> Result<(), ConsumerError> {
    let mut first = Ok(());
    while let Some(ended) = share.next_ended().await {
        let ended = ended.map_err(ConsumerError::from);
        if let Err(error) = &ended {
            fail(&failed, &error.to_string());
            standing.send_modify(|standing| standing.phase = Phase::Ended);
        }
        first = first.and(ended);
    }
    share.passed("shutdown.after_flush");
    first
}

/// Tells the first reason to fail.
fn fail(failed: &Failed, reason: &str) {
    failed.send_if_modified(|told| {
        let is_first = told.is_none();
        told.get_or_insert_with(|| reason.to_owned());
        is_first
    });
}

/// Does the work and says why it failed, should it; a panic is a failure too.
async fn reported(
    work: impl Future<Output = Result<(), ConsumerError>>,
    failed: Failed,
    standing: Arc<watch::Sender<Standing>>,
) -> Result<(), ConsumerError> {
    struct Unless(Failed, Option<String>);
    impl Drop for Unless {
        fn drop(&mut self) {
            if let Some(reason) = self.1.take() {
                fail(&self.0, &reason);
            }
        }
    }
    let mut guard = Unless(failed, Some("the consumer stopped without a reason".to_owned()));
    let ended = work.await;
    guard.1 = ended.as_ref().err().map(ToString::to_string);
    standing.send_modify(|standing| {
        standing.phase = Phase::Ended;
        standing.hindrance = guard.1.clone();
    });
    ended
}
