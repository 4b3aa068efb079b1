//! Where the store stands, once it is sure that log and store belong together. Nothing is folded
//! or written before that is known of every partition.

use std::time::Duration;

use agon_ports::{EventLog, PortError, ProjectionStore, ReadLimits};
use agon_projections::RowKey;
use agon_projections::row::Progress;
use agon_schema::TopicPartition;

use crate::consumer::ConsumerError;
use crate::partition::progress;

/// How long the log may take to show the record at a stored position.
const RECORD_WAIT: Duration = Duration::from_secs(10);

/// One partition and how far it is stored.
pub(crate) struct Resumed {
    pub(crate) source: TopicPartition,
    pub(crate) stored: Option<Progress>,
    /// When the record at the stored position was appended; 0 without one.
    pub(crate) appended_at_ms: i64,
}

/// Where the store stands in each partition.
pub(crate) async fn resume(
    log: &dyn EventLog,
    store: &dyn ProjectionStore,
) -> Result<Vec<Resumed>, ConsumerError> {
    let sources: Vec<TopicPartition> = TopicPartition::all(log.partitions()).collect();
    let rows = store.get(sources.iter().map(|source| RowKey::Progress(*source)).collect()).await?;
    let ends = log.ends().await?;
    let mut resumed = Vec::with_capacity(sources.len());
    for (source, row) in sources.into_iter().zip(rows) {
        let stored = progress(row);
        let end = ends.get(&source).copied().unwrap_or(0);
        let appended_at_ms = match &stored {
            Some(progress) => same_record(log, source, end, progress).await?,
            None => 0,
        };
        resumed.push(Resumed { source, stored, appended_at_ms });
    }
    Ok(resumed)
}

/// Looks whether the log holds the record that the store was folded through, and answers when it
/// was appended.
async fn same_record(
    log: &dyn EventLog,
    source: TopicPartition,
    end: u64,
    progress: &Progress,
) -> Result<i64, ConsumerError> {
    let stored = progress.applied;
    if stored >= end {
        return Err(ConsumerError::LogTooShort { source_partition: source, stored, end });
    }
    let mut reader = log.read([(source, stored)].into()).await?;
    // One record, of whatever size.
    let limits = ReadLimits { records_max: 1, bytes_max: 1 };
    match reader.next(limits, RECORD_WAIT).await?.into_iter().next() {
        Some(read)
            if read.position.offset == stored && read.record.hash() == progress.record_hash =>
        {
            Ok(read.record.appended_at_ms)
        }
        Some(read) => Err(ConsumerError::AnotherLog { position: read.position, stored }),
        None => {
            let attempted = format!("read {source} at offset {stored}");
            let reason = format!("no record came within {} s", RECORD_WAIT.as_secs());
            Err(PortError::later(attempted, reason).into())
        }
    }
}
