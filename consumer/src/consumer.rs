//! The workers together: assignment, resume, status, shutdown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agon_ports::{Assignment, ChangePublisher, Clock, EventLog, PortError, ProjectionStore};
use agon_projections::RowKey;
use agon_projections::row::Progress;
use agon_schema::{Position, Topic, TopicPartition};
use prometheus::Registry;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::ConsumerConfig;
use crate::metrics::Metrics;
use crate::partition::progress;
use crate::worker::{Assigned, Positions, Shared, Stored, Worker};

/// Why the consumer stopped.
#[derive(Debug, Error)]
pub enum ConsumerError {
    /// A port refused something for good.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The record at the stored position is another one.
    #[error(
        "the store was folded through offset {stored} of another log: the record at {} offset {} \
         is not the one it saw; restore the log that belongs to it, or run `agon rebuild`",
        position.source, position.offset
    )]
    AnotherLog {
        /// What was read.
        position: Position,
        /// Where the store stands.
        stored: u64,
    },
    /// The log ends before the stored position.
    #[error(
        "the store is folded through offset {stored} of {source_partition}, but the log ends at \
         {end}: records are missing; restore the log, or run `agon rebuild`"
    )]
    LogTooShort {
        /// Which partition.
        source_partition: TopicPartition,
        /// Where the store stands.
        stored: u64,
        /// The offset that the next record would get.
        end: u64,
    },
    /// A metric's name is taken.
    #[error("register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A worker ended without an answer.
    #[error("a worker stopped: {0}")]
    Worker(String),
    /// Not everything was stored before the deadline; it is folded again at the next start.
    #[error(
        "shutdown took longer than {deadline_ms} ms; what was not stored is folded again at the next start"
    )]
    Deadline {
        /// How long it was given.
        deadline_ms: u128,
    },
}

/// Where one partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Which.
    pub source: TopicPartition,
    /// Stored through this offset, if through any.
    pub applied: Option<u64>,
    /// The offset that the next record of the log will get.
    pub end: u64,
}

/// Running workers over all partitions of a log.
pub struct Consumer {
    log: Arc<dyn EventLog>,
    positions: watch::Receiver<Positions>,
    failure: watch::Receiver<Option<String>>,
    stop: CancellationToken,
    workers: JoinSet<Result<(), ConsumerError>>,
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
        let partitions = log.partitions();
        let stored = resume(log.as_ref(), store.as_ref(), partitions).await?;
        let reached = stored.iter().filter_map(|(source, progress)| {
            let applied = progress.as_ref()?.applied;
            Some((*source, Stored { applied, appended_at_ms: 0 }))
        });
        let (sender, positions) = watch::channel(reached.collect::<Positions>());
        let shared = Shared {
            metrics: Metrics::register(registry)?,
            config,
            store,
            publisher,
            partitions,
            positions: Arc::new(sender),
            stop: CancellationToken::new(),
        };
        let stop = shared.stop.clone();
        let mut workers = JoinSet::new();
        let (failed, failure) = watch::channel(None);
        let failed = Arc::new(failed);
        for share in shares(stored, shared.config.workers) {
            let from: Assignment = share
                .iter()
                .map(|(source, progress)| (*source, progress.as_ref().map_or(0, |p| p.applied)))
                .collect();
            let assigned = share
                .into_iter()
                .map(|(source, progress)| (source, Assigned::new(&shared, source, progress)))
                .collect();
            let worker = Worker::new(shared.clone(), assigned, log.read(from).await?);
            workers.spawn(reported(worker.run(), failed.clone()));
        }
        workers.spawn(measure_lag(shared, Arc::clone(&log), clock));
        Ok(Consumer { log, positions, failure, stop, workers })
    }

    /// Where every partition stands.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn status(&self) -> Result<Vec<PartitionStatus>, PortError> {
        let ends = self.log.ends().await?;
        let positions = self.positions.borrow();
        let of = |(source, end): (TopicPartition, u64)| PartitionStatus {
            source,
            applied: positions.get(&source).map(|stored| stored.applied),
            end,
        };
        Ok(ends.into_iter().map(of).collect())
    }

    /// A handle that waits for positions, for others to hold.
    pub fn reached(&self) -> Reached {
        Reached(self.positions.clone())
    }

    /// Waits until a worker fails, for others to hold: it ends only then, with the reason.
    pub fn failure(&self) -> impl Future<Output = String> + Send + use<> {
        let mut failure = self.failure.clone();
        async move {
            match failure.wait_for(Option::is_some).await.map(|reason| reason.clone()) {
                Ok(Some(reason)) => reason,
                // The workers ended and none failed.
                _ => std::future::pending().await,
            }
        }
    }

    /// Stops reading, stores what was folded, and ends.
    ///
    /// # Errors
    /// The first failure of a worker, or that `deadline` passed; nothing acknowledged is lost.
    pub async fn stop(mut self, deadline: Duration) -> Result<(), ConsumerError> {
        self.stop.cancel();
        let all = async {
            while let Some(ended) = self.workers.join_next().await {
                ended.map_err(|error| ConsumerError::Worker(error.to_string()))??;
            }
            Ok(())
        };
        tokio::time::timeout(deadline, all)
            .await
            .unwrap_or(Err(ConsumerError::Deadline { deadline_ms: deadline.as_millis() }))
    }
}

/// Knows how far the store stands.
#[derive(Clone)]
pub struct Reached(watch::Receiver<Positions>);

impl Reached {
    /// Waits until every record below these ends is folded and stored. `false` when the consumer
    /// ended before.
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

/// Runs a worker and says why it failed, should it; a panic is a failure too.
async fn reported(
    worker: impl Future<Output = Result<(), ConsumerError>>,
    failed: Arc<watch::Sender<Option<String>>>,
) -> Result<(), ConsumerError> {
    struct Unless(Arc<watch::Sender<Option<String>>>, Option<String>);
    impl Drop for Unless {
        fn drop(&mut self) {
            if let Some(reason) = self.1.take() {
                self.0.send_replace(Some(reason));
            }
        }
    }
    let mut guard = Unless(failed, Some("a worker stopped without a reason".to_owned()));
    let ended = worker.await;
    guard.1 = ended.as_ref().err().map(ToString::to_string);
    ended
}

/// Where the store stands in each partition, once it is sure that the log reaches so far.
async fn resume(
    log: &dyn EventLog,
    store: &dyn ProjectionStore,
    partitions: u32,
) -> Result<Vec<(TopicPartition, Option<Progress>)>, ConsumerError> {
    let sources = Topic::ALL.into_iter().flat_map(|topic| {
        (0..partitions).map(move |partition| TopicPartition { topic, partition })
    });
    let sources: Vec<TopicPartition> = sources.collect();
    let rows = store.get(sources.iter().map(|source| RowKey::Progress(*source)).collect()).await?;
    let ends = log.ends().await?;
    let mut stored = Vec::with_capacity(sources.len());
    for (source, row) in sources.into_iter().zip(rows) {
        let progress = progress(row);
        let end = ends.get(&source).copied().unwrap_or(0);
        if let Some(progress) = &progress
            && progress.applied >= end
        {
            let stored = progress.applied;
            return Err(ConsumerError::LogTooShort { source_partition: source, stored, end });
        }
        stored.push((source, progress));
    }
    Ok(stored)
}

/// Splits the partitions over the workers, each topic evenly.
fn shares<T>(
    partitions: Vec<(TopicPartition, T)>,
    workers: usize,
) -> Vec<BTreeMap<TopicPartition, T>> {
    let workers = workers.clamp(1, partitions.len().max(1));
    let mut shares: Vec<_> = (0..workers).map(|_| BTreeMap::new()).collect();
    for (index, (source, item)) in partitions.into_iter().enumerate() {
        shares[index % workers].insert(source, item);
    }
    shares
}

/// Measures how far behind each partition is, until told to stop.
async fn measure_lag(
    shared: Shared,
    log: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
) -> Result<(), ConsumerError> {
    let mut ticks =
        tokio::time::interval(Duration::from_millis(shared.config.lag_interval_ms.max(1)));
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let ends = match log.ends().await {
            Ok(ends) => ends,
            Err(error) => {
                tracing::warn!(%error, "lag is not known");
                continue;
            }
        };
        let now_ms = clock.now().micros() / 1_000;
        let positions = shared.positions.borrow();
        for (source, end) in ends {
            let stored = positions.get(&source);
            let records = end - stored.map_or(0, |stored| (stored.applied + 1).min(end));
            let since = stored.map(|stored| stored.appended_at_ms).filter(|at| *at > 0);
            let seconds = match (records, since) {
                (0, _) | (_, None) => 0.0,
                (_, Some(since)) => (now_ms - since).max(0) as f64 / 1_000.0,
            };
            shared.metrics.lag(source, records, seconds);
        }
    }
}
