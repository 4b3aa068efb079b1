//! The workers together: assignment, resume, status, shutdown.

use std::sync::Arc;
use std::time::Duration;

use agon_ports::{Assignment, ChangePublisher, Clock, EventLog, PortError, ProjectionStore};
use agon_projections::row::Progress;
use agon_schema::{Position, TopicPartition};
use prometheus::Registry;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::ConsumerConfig;
use crate::lag;
use crate::metrics::Metrics;
use crate::resume::{Resumed, resume};
use crate::worker::{Positions, Shared, Stored, Worker};

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
        "shutdown took longer than {deadline_ms} ms; what was not stored is folded again at the \
         next start"
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
        let resumed = resume(log.as_ref(), store.as_ref()).await?;
        let reached = resumed.iter().filter_map(|resumed| {
            let Resumed { source, stored, appended_at_ms } = resumed;
            let applied = stored.as_ref()?.applied;
            Some((*source, Stored { applied, appended_at_ms: *appended_at_ms }))
        });
        let (sender, positions) = watch::channel(reached.collect::<Positions>());
        let mut shares_to_read = Vec::new();
        for share in shares(resumed, config.workers) {
            let from: Assignment = share
                .iter()
                .map(|resumed| (resumed.source, next(resumed.stored.as_ref())))
                .collect();
            shares_to_read.push((share, log.read(from).await?));
        }
        let ends = log.ends().await?;
        let shared = Shared {
            // Last of what can fail, so that a start that failed may be tried again.
            metrics: Metrics::register(registry)?,
            config,
            store,
            publisher,
            partitions: log.partitions(),
            positions: Arc::new(sender),
            stop: CancellationToken::new(),
        };
        let stop = shared.stop.clone();
        let mut workers = JoinSet::new();
        let (failed, failure) = watch::channel(None);
        let failed = Arc::new(failed);
        for (share, reader) in shares_to_read {
            let worker = Worker::new(shared.clone(), share, reader);
            workers.spawn(reported(worker.run(), Arc::clone(&failed)));
        }
        let lag = lag::begin(&shared, &ends, clock.as_ref());
        let lag = lag::measure(shared, lag, Arc::clone(&log), clock);
        let until_stopped = stop.clone();
        workers.spawn(async move {
            until_stopped.run_until_cancelled(lag).await;
            Ok(())
        });
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
        // One that failed keeps no other from storing what it folded.
        let all = async {
            let mut first = Ok(());
            while let Some(ended) = self.workers.join_next().await {
                let ended = ended.unwrap_or_else(|e| Err(ConsumerError::Worker(e.to_string())));
                first = first.and(ended);
            }
            first
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

/// The first offset that is not folded.
fn next(stored: Option<&Progress>) -> u64 {
    stored.map_or(0, |progress| progress.applied + 1)
}

/// Splits the partitions over the workers, each topic evenly.
fn shares<T>(partitions: Vec<T>, workers: usize) -> Vec<Vec<T>> {
    let workers = workers.clamp(1, partitions.len().max(1));
    let mut shares: Vec<_> = (0..workers).map(|_| Vec::new()).collect();
    for (index, item) in partitions.into_iter().enumerate() {
        shares[index % workers].push(item);
    }
    shares
}
