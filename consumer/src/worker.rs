//! The loop of one worker. It decides nothing: [`crate::step`] does, and this carries it out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agon_ports::{
    Change, ChangePublisher, LogReader, LogRecord, Order, PortError, ProjectionStore, ReadLimits,
    Retry, Scan, scan_all,
};
use agon_projections::row::Progress;
use agon_projections::row_bytes::Prefix;
use agon_projections::{CellKey, RowKey, Table};
use agon_schema::TopicPartition;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::ConsumerConfig;
use crate::consumer::ConsumerError;
use crate::flusher::{Answer, Flusher, Set, pause};
use crate::metrics::Metrics;
use crate::overlay::Found;
use crate::partition::{Decoded, PartitionFold, decode, found};
use crate::step::{Look, Sending, Step, next_step};

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
    pub(crate) stop: CancellationToken,
}

/// One partition of a worker: its fold, and the record that its resume must find again.
pub(crate) struct Assigned {
    fold: PartitionFold,
    resume: Option<Progress>,
}

impl Assigned {
    pub(crate) fn new(shared: &Shared, source: TopicPartition, stored: Option<Progress>) -> Self {
        let filter_items_max = shared.config.filter_items_max;
        let fold = PartitionFold::new(source, stored.clone(), filter_items_max);
        Assigned { fold, resume: stored }
    }
}

pub(crate) struct Worker {
    pub(crate) shared: Shared,
    pub(crate) assigned: BTreeMap<TopicPartition, Assigned>,
    pub(crate) reader: Box<dyn LogReader>,
    flusher: Flusher,
    dirty_since: Option<Instant>,
    dirty_bytes: usize,
    read_again_at: Option<Instant>,
    read_attempts: u32,
}

impl Worker {
    pub(crate) fn new(
        shared: Shared,
        assigned: BTreeMap<TopicPartition, Assigned>,
        reader: Box<dyn LogReader>,
    ) -> Worker {
        let retry_max = Duration::from_millis(shared.config.retry_max_ms);
        let flusher = Flusher::new(Arc::clone(&shared.store), retry_max);
        Worker {
            shared,
            assigned,
            reader,
            flusher,
            dirty_since: None,
            dirty_bytes: 0,
            read_again_at: None,
            read_attempts: 0,
        }
    }

    /// Works until told to stop and everything folded is stored, or until something is refused for
    /// good.
    pub(crate) async fn run(mut self) -> Result<(), ConsumerError> {
        let stop = self.shared.stop.clone();
        loop {
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
                        answer = self.flusher.answer() => self.answered(answer?).await,
                        read = self.reader.next(limits, wait) => self.take(read).await?,
                    }
                }
                Step::Flush => self.flush(),
                Step::Resend => self.flusher.resend(),
                Step::AwaitFlush => {
                    let answer = self.flusher.answer().await?;
                    self.answered(answer).await;
                }
                Step::Pause { wait_ms } => {
                    tokio::select! {
                        answer = self.flusher.answer() => self.answered(answer?).await,
                        () = tokio::time::sleep(Duration::from_millis(wait_ms.max(1))) => {}
                    }
                }
                Step::Stop => return Ok(()),
            }
        }
    }

    fn look(&self) -> Look {
        let now = Instant::now();
        let folds = || self.assigned.values().map(|assigned| &assigned.fold);
        let in_ms = |at: Instant| at.saturating_duration_since(now).as_millis() as u64;
        Look {
            dirty_rows: folds().map(PartitionFold::dirty_rows).sum(),
            dirty_bytes: self.dirty_bytes,
            dirty_age_ms: self.dirty_since.map(|at| now.duration_since(at).as_millis() as u64),
            sending: self.flusher.sending(now),
            read_again_in_ms: self.read_again_at.map_or(0, in_ms),
            is_stopping: self.shared.stop.is_cancelled(),
        }
    }

    async fn take(&mut self, read: Result<Vec<LogRecord>, PortError>) -> Result<(), ConsumerError> {
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
    async fn fold(&mut self, records: Vec<LogRecord>) -> Result<(), ConsumerError> {
        let mut batches: BTreeMap<TopicPartition, Vec<Decoded>> = BTreeMap::new();
        for record in records {
            let source = record.position.source;
            let Some(assigned) = self.assigned.get_mut(&source) else { continue };
            if !is_new(assigned, &record)? {
                continue;
            }
            self.dirty_bytes += record.record.size_bytes();
            let decoded = decode(record, self.shared.partitions);
            batches.entry(source).or_default().push(decoded);
        }
        for (source, batch) in batches {
            let Some(assigned) = self.assigned.get_mut(&source) else { continue };
            let Some(found) = prepare(&self.shared, &mut assigned.fold, &batch).await? else {
                return Ok(());
            };
            self.dirty_since.get_or_insert_with(Instant::now);
            for decoded in batch {
                let verdict = assigned.fold.fold(decoded, &found);
                self.shared.metrics.folded(source.topic, verdict);
            }
            // A long batch must not keep others from their turn on this thread.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn flush(&mut self) {
        let folds = self.assigned.values_mut();
        let set: Vec<_> = folds.filter_map(|assigned| assigned.fold.take_flush()).collect();
        self.dirty_since = None;
        self.dirty_bytes = 0;
        self.flusher.send(Arc::new(set));
    }

    async fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Stored(set, time) => {
                self.shared.metrics.took(time);
                self.stored(&set).await;
            }
            Answer::Again(error) => {
                tracing::warn!(%error, "a flush was not stored; it is sent again");
                if let Sending::Failed { again_in_ms } = self.flusher.sending(Instant::now()) {
                    tracing::debug!(again_in_ms, "next attempt");
                }
            }
        }
    }

    /// Everything of the set is in the store: forget it, then tell the feed.
    async fn stored(&mut self, set: &Set) {
        for flush in set.iter() {
            self.shared.metrics.flushed(flush, "ok");
            let Some(assigned) = self.assigned.get_mut(&flush.source) else { continue };
            assigned.fold.flushed();
            let appended_at_ms = assigned.fold.appended_at_ms();
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
        }
        let slots: usize = self.assigned.values().map(|assigned| assigned.fold.slots()).sum();
        if slots > self.shared.config.slots_max {
            for assigned in self.assigned.values_mut() {
                assigned.fold.drop_clean_cells();
            }
        }
    }
}

/// Whether a record follows what is folded; the one at the resume position only proves that this
/// is the log the store was folded from.
fn is_new(assigned: &mut Assigned, record: &LogRecord) -> Result<bool, ConsumerError> {
    let offset = record.position.offset;
    if let Some(resume) = assigned.resume.take() {
        if offset == resume.applied && record.record.hash() == resume.record_hash {
            return Ok(false);
        }
        return Err(ConsumerError::AnotherLog {
            position: record.position,
            stored: resume.applied,
        });
    }
    Ok(true)
}

/// Loads what a batch needs. `None` when told to stop before the store answered.
async fn prepare(
    shared: &Shared,
    fold: &mut PartitionFold,
    batch: &[Decoded],
) -> Result<Option<Found>, ConsumerError> {
    for key in fold.missing_cells(batch) {
        let Some((own, seen)) = patiently(shared, || load(shared, &key)).await? else {
            return Ok(None);
        };
        fold.load(key, own, seen.as_deref());
    }
    let keys: BTreeSet<RowKey> = fold.missing_rows(batch);
    if keys.is_empty() {
        return Ok(Some(Found::default()));
    }
    let keys: Vec<RowKey> = keys.into_iter().collect();
    let rows = patiently(shared, || shared.store.get(keys.clone())).await?;
    Ok(rows.map(found))
}

type Loaded = (Vec<agon_projections::Row>, Option<Vec<RowKey>>);

/// A cell's own rows, and the keys that its filter starts with.
async fn load(shared: &Shared, key: &CellKey) -> Result<Loaded, PortError> {
    let store = shared.store.as_ref();
    let mut own = Vec::new();
    for table in [Table::Heads, Table::Entrants, Table::Servers] {
        own.extend(scan_all(store, Prefix::Cell(table, key.clone())).await?);
    }
    let mut seen = Vec::new();
    for table in [Table::FirstSeen, Table::Users, Table::Submissions] {
        let mut after = None;
        loop {
            let prefix = Prefix::Cell(table, key.clone());
            let scan = Scan { prefix, after: after.take(), order: Order::Rising, limit: 4_096 };
            let page = store.scan(scan).await?;
            let is_last = page.len() < 4_096;
            after = page.last().map(|row| row.key.clone());
            seen.extend(page.into_iter().map(|row| row.key));
            if seen.len() > shared.config.filter_items_max {
                return Ok((own, None));
            }
            if is_last {
                break;
            }
        }
    }
    Ok((own, Some(seen)))
}

/// Tries until the store answers; `None` when told to stop first.
async fn patiently<T, F>(
    shared: &Shared,
    mut ask: impl FnMut() -> F,
) -> Result<Option<T>, ConsumerError>
where
    F: Future<Output = Result<T, PortError>>,
{
    let longest = Duration::from_millis(shared.config.retry_max_ms);
    for attempts in 0.. {
        match ask().await {
            Ok(answer) => return Ok(Some(answer)),
            Err(error) if error.retry == Retry::Later => {
                tracing::warn!(%error, "the store is away");
                tokio::select! {
                    () = shared.stop.cancelled() => return Ok(None),
                    () = tokio::time::sleep(pause(attempts, longest)) => {}
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}
