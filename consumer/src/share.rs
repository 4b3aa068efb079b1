//! A share: some partitions with the workers on them, from where the store stands until they are
//! let go. What the workers hold in memory is gone with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use agon_ports::{Assignment, Change, Clock, EventLog, LogReader, ProjectionStore};
use agon_schema::TopicPartition;
use tokio::task::{JoinError, JoinSet};

use crate::config::ConsumerConfig;
use crate::crash::point;
use crate::error::{ConsumerError, Stopped};
use crate::lag;
use crate::resume::{Resumed, resume};
use crate::worker::{Positions, Shared, Stored, Worker};

/// Partitions of one share.
pub(crate) type Sources = Arc<BTreeSet<TopicPartition>>;

/// Running workers over some partitions.
pub(crate) struct Share {
    shared: Shared,
    sources: Sources,
    /// Where the store stood at the start.
    began: Positions,
    workers: JoinSet<Result<(), Stopped>>,
}

/// A share that can be worked on: log and store belong together and answer.
pub(crate) struct Ready {
    sources: Sources,
    began: Positions,
    to_read: Vec<(Vec<Resumed>, Box<dyn LogReader>)>,
    ends: Assignment,
}

impl Ready {
    /// Looks where the store stands and opens the log there. Nothing is started, written or told.
    pub(crate) async fn resume(
        config: &ConsumerConfig,
        log: &dyn EventLog,
        store: &dyn ProjectionStore,
        sources: &Sources,
    ) -> Result<Ready, ConsumerError> {
        point(config, "assign.before_resume");
        let resumed = resume(log, store, sources).await?;
        point(config, "assign.after_resume");
        let began: Positions = resumed.iter().filter_map(reached).collect();
        let mut to_read = Vec::new();
        for resumed in split(resumed, config.workers) {
            let from: Assignment =
                resumed.iter().map(|resumed| (resumed.source, resumed.next())).collect();
            #[cfg(feature = "controls")]
            let from = crate::controls::begin(config, from).await?;
            to_read.push((resumed, log.read(from).await?));
        }
        let ends = log.ends().await?;
        Ok(Ready { sources: Arc::clone(sources), began, to_read, ends })
    }
}

impl Share {
    /// Starts the workers.
    pub(crate) async fn start(
        ready: Ready,
        shared: &Shared,
        log: &Arc<dyn EventLog>,
        clock: &Arc<dyn Clock>,
    ) -> Share {
        let Ready { sources, began, to_read, ends } = ready;
        let shared = Shared { stop: shared.stop.child_token(), ..shared.clone() };
        shared.positions.send_modify(|positions| positions.extend(began.clone()));
        // Whoever had them before may have stored more than it told.
        for source in sources.iter().filter(|_| shared.commits.is_some()) {
            shared.publisher.publish(Change::Reload { source: *source }).await;
        }
        let lag = lag::begin(&shared, &sources, &ends, clock.as_ref());
        let (log, clock) = (Arc::clone(log), Arc::clone(clock));
        let lag = lag::measure(shared.clone(), lag, Arc::clone(&sources), log, clock);
        let mut workers = JoinSet::new();
        let until_stopped = shared.stop.clone();
        workers.spawn(async move {
            until_stopped.run_until_cancelled(lag).await;
            Ok(())
        });
        for (resumed, reader) in to_read {
            workers.spawn(Worker::new(shared.clone(), resumed, reader).run());
        }
        Share { shared, sources, began, workers }
    }

    /// Whether anything was stored since the share was started.
    pub(crate) fn has_stored(&self) -> bool {
        let now = self.shared.positions.borrow();
        self.sources.iter().any(|source| now.get(source) != self.began.get(source))
    }

    /// Tells the workers to store what they folded and to end.
    pub(crate) fn stop(&self) {
        self.shared.stop.cancel();
    }

    /// Passes a crash point.
    pub(crate) fn passed(&self, name: &'static str) {
        point(&self.shared.config, name);
    }

    /// Waits for the next worker to end; `None` when none is left. Cancelling loses nothing.
    pub(crate) async fn next_ended(&mut self) -> Option<Result<(), Stopped>> {
        let unjoined = |stopped: JoinError| -> Result<(), Stopped> {
            Err(ConsumerError::Worker(stopped.to_string()).into())
        };
        let ended = self.workers.join_next().await?;
        Some(ended.unwrap_or_else(unjoined))
    }

    /// Waits until a worker fails. Without one that does it waits for ever.
    pub(crate) async fn failed(&mut self) -> Stopped {
        loop {
            match self.next_ended().await {
                Some(Ok(())) => {}
                Some(Err(stopped)) => return stopped,
                None => return std::future::pending().await,
            }
        }
    }

    /// Stores what was folded, and ends.
    pub(crate) async fn finish(&mut self) -> Result<(), Stopped> {
        self.stop();
        let mut first = Ok(());
        while let Some(ended) = self.next_ended().await {
            // One that failed keeps no other from storing what it folded.
            first = first.and(ended);
        }
        first
    }

    /// Ends the workers where they stand and lets go of everything. Nothing of it runs afterwards
    /// but, perhaps, a flush that the store has already.
    pub(crate) async fn discard(mut self) {
        self.workers.shutdown().await;
        let Share { shared, sources, .. } = self;
        shared.positions.send_modify(|positions| {
            positions.retain(|source, _| !sources.contains(source));
        });
        sources.iter().for_each(|source| shared.metrics.forget_lag(*source));
    }
}

fn reached(resumed: &Resumed) -> Option<(TopicPartition, Stored)> {
    let applied = resumed.stored.as_ref()?.applied;
    Some((resumed.source, Stored { applied, appended_at_ms: resumed.appended_at_ms }))
}

/// Splits partitions over workers, each topic evenly. No partitions need no worker.
fn split<T>(partitions: Vec<T>, workers: usize) -> Vec<Vec<T>> {
    let workers = workers.max(1).min(partitions.len());
    let mut shares: Vec<_> = (0..workers).map(|_| Vec::new()).collect();
    for (index, item) in partitions.into_iter().enumerate() {
        shares[index % workers].push(item);
    }
    shares
}
