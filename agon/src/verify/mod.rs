//! `verify`: one record at a time through the codec and the pure step, against everything that is
//! stored, read through the inspector: nothing of loading, batching, coalescing or flushing is
//! shared with the consumer.

mod compare;
mod expected;
mod report;

use agon_ports::{EventLog, PortError, StoreInspector};
use agon_projections::RowKey;
use agon_projections::row::{Progress, Value};
use agon_projections::row_bytes::{key_bytes, row_of_bytes};
use agon_schema::{Position, PositionToken, Topic, TopicPartition};

use compare::Comparison;
use expected::Expected;
pub use report::{Difference, Report};

/// Compares the store with the fold of the log up to the store's own position. `on_record` is told
/// how many records were folded.
///
/// # Errors
/// When log or store cannot be read at all. What is merely wrong is a difference.
pub async fn verify(
    log: &dyn EventLog,
    store: &dyn StoreInspector,
    on_record: &(dyn Fn(u64) + Sync),
) -> Result<Report, PortError> {
    let ends = log.ends().await?;
    let mut comparison = Comparison::new(store);
    let mut token = PositionToken::start(log.id());
    let mut folded = 0;
    for source in sources(log.partitions()) {
        let Some(progress) = stored_progress(store, source, &mut comparison).await? else {
            continue;
        };
        let end = ends.get(&source).copied().unwrap_or(0);
        if progress.applied >= end {
            comparison.name(Difference::of_log(source, progress.applied, end));
            continue;
        }
        token.raise(Position { source, offset: progress.applied });
        let mut expected = Expected::new(source, log.partitions());
        let mut reader = expected::Records::open(log, source, progress.applied).await?;
        while let Some(record) = reader.next().await? {
            for row in expected.fold(&record) {
                comparison.expect(row).await?;
            }
            folded += 1;
            on_record(folded);
        }
        for row in expected.rest() {
            comparison.expect(row).await?;
        }
        comparison.cells += expected.cells();
    }
    comparison.settle().await?;
    if !comparison.tables_with_more().await?.is_empty() {
        name_unexpected(log, &mut comparison).await?;
    }
    Ok(comparison.report(token.to_string()))
}

/// Every partition there is.
fn sources(partitions: u32) -> impl Iterator<Item = TopicPartition> {
    Topic::ALL.into_iter().flat_map(move |topic| {
        (0..partitions).map(move |partition| TopicPartition { topic, partition })
    })
}

/// How far the store says a partition is folded. A progress row that cannot be read is a
/// difference, and the partition counts as folded as far as the log goes.
async fn stored_progress(
    store: &dyn StoreInspector,
    source: TopicPartition,
    comparison: &mut Comparison<'_>,
) -> Result<Option<Progress>, PortError> {
    let key = RowKey::Progress(source);
    let bytes = key_bytes(&key);
    let Some(value) = store.values(vec![bytes.clone()]).await?.into_iter().flatten().next() else {
        return Ok(None);
    };
    match row_of_bytes(&bytes, &value).map(|row| row.value) {
        Some(Value::Progress(progress)) => Ok(Some(progress)),
        _ => {
            comparison.name(Difference::unreadable(&key, &value));
            Ok(None)
        }
    }
}

/// A second pass, only when the store holds rows that the first did not expect: names them.
async fn name_unexpected(
    log: &dyn EventLog,
    comparison: &mut Comparison<'_>,
) -> Result<(), PortError> {
    for (source, applied) in comparison.folded_through() {
        let mut expected = Expected::new(source, log.partitions());
        let mut reader = expected::Records::open(log, source, applied).await?;
        while let Some(record) = reader.next().await? {
            expected.fold(&record).iter().for_each(|row| comparison.remember_key(&row.key));
        }
        expected.rest().iter().for_each(|row| comparison.remember_key(&row.key));
    }
    comparison.name_the_rest().await
}
