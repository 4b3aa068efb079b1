//! The loop of one worker. It decides nothing: [`crate::step`] does, and this carries it out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agon_ports::{
    Assignment, Change, ChangePublisher, Commits, LogReader, LogRecord, PortError, ProjectionStore,
    ReadLimits, Retry,
};
use agon_projections::Flush;
use agon_schema::TopicPartition;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::ConsumerConfig;
use crate::crash::point;
use crate::decoded::{Decoded, decode};
use crate::error::Stopped;
use crate::flusher::{Answer, Flusher, Set, pause};
use crate::linked::Linked;
use crate::load::prepare;
use crate::metrics::{Metrics, Tally};
use crate::partition::PartitionFold;
use crate::resume::Resumed;
use crate::step::{Look, Step, next_step};
use crate::warming::{Warmed, Warming};

/// How far every partition is stored, and when its newest stored record was appended.
pub(crate) type Positions = BTreeMap<TopicPartition, Stored>;

/// How far one partition is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) applied: u64,
    pub(crate) appended_at_ms: i64,
}

/// What a worker shares with the others.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: ConsumerConfig,
    pub(crate) store: Arc<dyn ProjectionStore>,
    pub(crate) publisher: Arc<dyn ChangePublisher>,
    pub(crate) partitions: u32,
    pub(crate) metrics: Metrics,
    pub(crate) positions: Arc<watch::Sender<Positions>>,
    /// Where stored positions are told to the log, in a group.
    pub(crate) commits: Option<Arc<dyn Commits>>,
    pub(crate) stop: CancellationToken,
    #[cfg(feature = "controls")]
    pub(crate) kept: crate::partition::Kept,
}

pub(crate) struct Worker {
    shared: Shared,
    folds: BTreeMap<TopicPartition, PartitionFold>,
    reader: Box<dyn LogReader>,
    flusher: Flusher,
    warming: Warming,
    dirty_since: Option<Instant>,
    dirty_bytes: usize,
    read_again_at: Option<Instant>,
    read_attempts: u32,
    beat_at: Instant,
    linked: Linked,
}

impl Worker {
    pub(crate) fn new(shared: Shared, share: Vec<Resumed>, reader: Box<dyn LogReader>) -> Worker {
        let retry_max = Duration::from_millis(shared.config.retry_max_ms);
        let flushes_max = shared.config.flushes_max;
        let flusher = Flusher::new(Arc::clone(&shared.store), flushes_max, retry_max);
        let filter_items_max = shared.config.filter_items_max;
        let fold = |resumed: Resumed| {
            let Resumed { source, stored, .. } = resumed;
            let fold = PartitionFold::new(source, stored, filter_items_max);
            #[cfg(feature = "controls")]
            let fold = fold.with_kept(&shared.kept, shared.partitions);
            (source, fold)
        };
        let folds = share.into_iter().map(fold).collect();
        Worker {
            beat_at: Instant::now() + heartbeat_interval(&shared.config),
            shared,
            folds,
            reader,
            flusher,
            warming: Warming::new(),
            dirty_since: None,
            dirty_bytes: 0,
            read_again_at: None,
            read_attempts: 0,
            linked: Linked::default(),
        }
    }

    /// Works until told to stop and everything folded is stored, or until something is refused for
    /// good.
    pub(crate) async fn run(mut self) -> Result<(), Stopped> {
        let stop = self.shared.stop.clone();
        loop {
            self.warm();
            match next_step(&self.look(), &self.shared.config) {
                Step::Read { wait_ms } => {
                    let limits = ReadLimits {
                        records_max: self.shared.config.read_records_max,
                        bytes_max: self.shared.config.read_bytes_max,
                    };
                    let wait = Duration::from_millis(wait_ms);
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        answer = self.flusher.answer() => self.answered(answer).await?,
                        read = self.reader.next(limits, wait) => self.take(read).await?,
                    }
                }
                Step::Beat => self.beat().await,
                Step::Flush => self.flush(),
                Step::Resend => self.flusher.resend(),
                Step::AwaitFlush { wait_ms } => {
                    let is_stopping = stop.is_cancelled();
                    tokio::select! {
                        biased;
                        answer = self.flusher.answer() => self.answered(answer).await?,
                        () = stop.cancelled(), if !is_stopping => {}
                        () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
                    }
                }
                Step::Pause { wait_ms } => {
                    let is_stopping = stop.is_cancelled();
                    tokio::select! {
                        () = stop.cancelled(), if !is_stopping => {}
                        answer = self.flusher.answer() => self.answered(answer).await?,
                        () = tokio::time::sleep(Duration::from_millis(wait_ms.max(1))) => {}
                    }
                }
                Step::Stop => return Ok(()),
            }
        }
    }

    /// Takes in the filters that were read meanwhile.
    fn warm(&mut self) {
        while let Some(Warmed { source, cell, load, seen }) = self.warming.next() {
            if let Some(fold) = self.folds.get_mut(&source) {
                fold.warm(&cell, load, seen);
            }
        }
    }

    fn look(&self) -> Look {
        let now = Instant::now();
        let in_ms = |at: Instant| at.saturating_duration_since(now).as_millis() as u64;
        let beat_in = self.beat_at.saturating_duration_since(now);
        Look {
            dirty_rows: self.folds.values().map(PartitionFold::dirty_rows).sum(),
            dirty_bytes: self.dirty_bytes,
            dirty_age_ms: self.dirty_since.map(|at| now.duration_since(at).as_millis() as u64),
            sending: self.flusher.sending(now),
            read_again_in_ms: self.read_again_at.map_or(0, in_ms),
            // Rounded up: what comes a little early would only be looked at again.
            beat_in_ms: beat_in.as_micros().div_ceil(1_000) as u64,
            is_stopping: self.shared.stop.is_cancelled(),
        }
    }

    async fn take(&mut self, read: Result<Vec<LogRecord>, PortError>) -> Result<(), Stopped> {
        match read {
            Ok(records) => {
                self.read_again_at = None;
                self.read_attempts = 0;
                self.fold(records).await
            }
            Err(error) if error.retry == Retry::Later => {
                let longest = Duration::from_millis(self.shared.config.retry_max_ms);
                let pause = pause(self.read_attempts, longest);
                tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "the log is away");
                self.read_attempts = self.read_attempts.saturating_add(1);
                self.read_again_at = Some(Instant::now() + pause);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Folds what was read. When told to stop while the store is away, the records stay unfolded
    /// and are read again at the next start.
    async fn fold(&mut self, records: Vec<LogRecord>) -> Result<(), Stopped> {
        let mut batches: BTreeMap<TopicPartition, Vec<Decoded>> = BTreeMap::new();
        for record in records {
            let source = record.position.source;
            self.dirty_bytes += record.record.size_bytes();
            let decoded = decode(record, self.shared.partitions);
            batches.entry(source).or_default().push(decoded);
        }
        for (source, batch) in batches {
            let Some(fold) = self.folds.get_mut(&source) else { continue };
            let Some(found) = prepare(&self.shared, &mut self.warming, fold, &batch).await? else {
                return Ok(());
            };
            self.dirty_since.get_or_insert_with(Instant::now);
            self.linked.fold(source, &batch);
            let mut tally = Tally::default();
            for decoded in batch {
                tally.add(fold.fold(decoded, &found));
            }
            self.shared.metrics.folded(source.topic, &tally);
            point(&self.shared.config, "fold.after_batch");
            // A long batch must not keep others from their turn on this thread.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn flush(&mut self) {
        let set: Vec<_> = self.folds.values_mut().filter_map(PartitionFold::take_flush).collect();
        self.dirty_since = None;
        self.dirty_bytes = 0;
        self.linked.send(&set);
        point(&self.shared.config, "flush.before_send");
        #[cfg(feature = "controls")]
        if crate::controls::is_broken("commit_before_flush") {
            set.iter().for_each(|flush| self.commit(flush));
        }
        self.flusher.send(Arc::new(set));
    }

    /// Says how far everything is stored, for readers that heard nothing for long.
    async fn beat(&mut self) {
        let stored = self.shared.positions.borrow().clone();
        for source in self.folds.keys() {
            let Some(Stored { applied, appended_at_ms }) = stored.get(source) else { continue };
            let (applied, appended_at_ms) = (*applied, *appended_at_ms);
            let progress = Change::Progress { source: *source, applied, appended_at_ms };
            self.shared.publisher.publish(progress).await;
        }
        self.beat_at = Instant::now() + heartbeat_interval(&self.shared.config);
    }

    async fn answered(&mut self, answer: Answer) -> Result<(), Stopped> {
        match answer.result {
            Ok(took) => {
                point(&self.shared.config, "flush.after_store");
                for (flush, took) in answer.set.iter().zip(took) {
                    self.shared.metrics.stored(flush, took);
                }
                self.linked.stored();
                self.stored(&answer.set).await;
                Ok(())
            }
            Err(error) => {
                answer.set.iter().for_each(|flush| self.shared.metrics.failed(flush));
                if error.retry == Retry::Never {
                    return Err(Stopped::Overtaken(error));
                }
                tracing::warn!(%error, "a flush was not stored; it is sent again");
                Ok(())
            }
        }
    }

    /// Everything of the set is in the store: forget it, then tell the feed.
    async fn stored(&mut self, set: &Set) {
        for flush in set.iter() {
            let Some(fold) = self.folds.get_mut(&flush.source) else { continue };
            let appended_at_ms = fold.landed();
            point(&self.shared.config, "feed.before_publish");
            for cell in &flush.cells {
                let change = Change::Moved {
                    cell: cell.key.clone(),
                    from: cell.from,
                    to: cell.to,
                    rows: Arc::new(cell.own.clone()),
                };
                self.shared.publisher.publish(change).await;
            }
            let applied = flush.progress.applied;
            let source = flush.source;
            let progress = Change::Progress { source, applied, appended_at_ms };
            self.shared.publisher.publish(progress).await;
            self.shared.positions.send_modify(|positions| {
                positions.insert(source, Stored { applied, appended_at_ms });
            });
            point(&self.shared.config, "feed.after_publish");
            self.commit(flush);
        }
        let slots: usize = self.folds.values().map(PartitionFold::slots).sum();
        if slots > self.shared.config.slots_max {
            self.folds.values_mut().for_each(PartitionFold::drop_clean_cells);
        }
    }

    /// Tells the log how far the partition of this flush is stored.
    fn commit(&self, flush: &Flush) {
        let Some(commits) = &self.shared.commits else { return };
        point(&self.shared.config, "commit.before");
        commits.commit(Assignment::from([(flush.source, flush.progress.applied + 1)]));
        point(&self.shared.config, "commit.after");
    }
}

#[cfg(feature = "controls")]
impl Drop for Worker {
    fn drop(&mut self) {
        if crate::controls::is_broken("memory_kept_after_revoke") {
            self.folds.values_mut().for_each(|fold| fold.keep(&self.shared.kept));
        }
    }
}

fn heartbeat_interval(config: &ConsumerConfig) -> Duration {
    Duration::from_millis(config.heartbeat_interval_ms.max(1))
}
