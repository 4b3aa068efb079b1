//! Where the store stands, once it is sure that log and store belong together. Nothing is folded
//! or written before that is known of every partition that is asked for.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agon_ports::{Assignment, EventLog, LogRecord, PortError, ProjectionStore, ReadLimits};
use agon_projections::RowKey;
use agon_projections::row::Progress;
use agon_schema::TopicPartition;
use tokio::time::Instant;

use crate::error::ConsumerError;
use crate::partition::progress;

/// How long the log may take to show the next of the records at the stored positions.
const RECORD_WAIT: Duration = Duration::from_secs(10);
/// What one read of them may bring. Records that follow them come along and are passed over.
const LIMITS: ReadLimits = ReadLimits { records_max: 256, bytes_max: 1 << 20 };

/// One partition and how far it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Resumed {
    pub(crate) source: TopicPartition,
    pub(crate) stored: Option<Progress>,
    /// When the record at the stored position was appended; 0 without one.
    pub(crate) appended_at_ms: i64,
}

impl Resumed {
    /// The first offset that is not folded.
    pub(crate) fn next(&self) -> u64 {
        self.stored.as_ref().map_or(0, |progress| progress.applied + 1)
    }
}

/// Where the store stands in each of these partitions.
pub(crate) async fn resume(
    log: &dyn EventLog,
    store: &dyn ProjectionStore,
    sources: &BTreeSet<TopicPartition>,
) -> Result<Vec<Resumed>, ConsumerError> {
    let keys = sources.iter().map(|source| RowKey::Progress(*source)).collect();
    let stored = store.get(keys).await?.into_iter().map(progress);
    let stored: BTreeMap<_, _> = sources.iter().copied().zip(stored).collect();
    in_bounds(&stored, &log.starts().await?, &log.ends().await?)?;
    let appended_at_ms = same_records(log, &stored).await?;
    let resumed = stored.into_iter().map(|(source, stored)| {
        let appended_at_ms = appended_at_ms.get(&source).copied().unwrap_or(0);
        Resumed { source, stored, appended_at_ms }
    });
    Ok(resumed.collect())
}

/// Looks whether the log holds everything from the stored positions on, these included.
fn in_bounds(
    stored: &BTreeMap<TopicPartition, Option<Progress>>,
    starts: &Assignment,
    ends: &Assignment,
) -> Result<(), ConsumerError> {
    for (source, stored) in stored {
        let source_partition = *source;
        let stored = stored.as_ref().map(|progress| progress.applied);
        let (needed, start) = (stored.unwrap_or(0), starts.get(source).copied().unwrap_or(0));
        if start > needed {
            return Err(ConsumerError::LogStartsLater { source_partition, needed, start });
        }
        let end = ends.get(source).copied().unwrap_or(0);
        if let Some(stored) = stored.filter(|stored| *stored >= end) {
            return Err(ConsumerError::LogTooShort { source_partition, stored, end });
        }
    }
    Ok(())
}

/// Looks whether the log holds the very records that the store was folded through, with one reader
/// for all, and answers when they were appended.
async fn same_records(
    log: &dyn EventLog,
    stored: &BTreeMap<TopicPartition, Option<Progress>>,
) -> Result<BTreeMap<TopicPartition, i64>, ConsumerError> {
    let at = |(source, stored): (&TopicPartition, &Option<Progress>)| {
        Some((*source, stored.as_ref()?.applied))
    };
    let from: Assignment = stored.iter().filter_map(at).collect();
    let mut appended_at_ms = BTreeMap::new();
    if from.is_empty() {
        return Ok(appended_at_ms);
    }
    let mut reader = log.read(from.clone()).await?;
    let mut until = Instant::now() + RECORD_WAIT;
    while appended_at_ms.len() < from.len() {
        let wait = until.saturating_duration_since(Instant::now());
        let before = appended_at_ms.len();
        for read in reader.next(LIMITS, wait).await? {
            let source = read.position.source;
            let Some(Some(progress)) = stored.get(&source) else { continue };
            if let Entry::Vacant(first) = appended_at_ms.entry(source) {
                same_record(&read, progress)?;
                first.insert(read.record.appended_at_ms);
            }
        }
        if appended_at_ms.len() > before {
            until = Instant::now() + RECORD_WAIT;
        } else if Instant::now() >= until {
            return Err(did_not_come(&from, &appended_at_ms).into());
        }
    }
    Ok(appended_at_ms)
}

fn same_record(read: &LogRecord, progress: &Progress) -> Result<(), ConsumerError> {
    #[cfg(feature = "controls")]
    if crate::controls::is_broken("no_record_hash") {
        return Ok(());
    }
    let stored = progress.applied;
    if read.position.offset == stored && read.record.hash() == progress.record_hash {
        return Ok(());
    }
    Err(ConsumerError::AnotherLog { position: read.position, stored })
}

fn did_not_come(from: &Assignment, came: &BTreeMap<TopicPartition, i64>) -> PortError {
    let missing = from.iter().find(|(source, _)| !came.contains_key(source));
    let attempted = match missing {
        Some((source, offset)) => format!("read {source} at offset {offset}"),
        None => "read the records at the stored positions".to_owned(),
    };
    PortError::later(attempted, format!("no record came within {} s", RECORD_WAIT.as_secs()))
}
