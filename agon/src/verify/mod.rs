//! `verify`: one record at a time through the codec and the pure step, against everything that is
//! stored, read through the inspector: nothing of loading, batching, coalescing or flushing is
//! shared with the consumer.

mod compare;
mod expected;
mod report;

use agon_ports::{EventLog, PortError, StoreInspector};
use agon_projections::RowKey;
use agon_projections::row::Value;
use agon_projections::row_bytes::{key_bytes, row_of_bytes};
use agon_schema::{Position, PositionToken, TopicPartition};

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
    for source in TopicPartition::all(log.partitions()) {
        let end = ends.get(&source).copied().unwrap_or(0);
        let Some(applied) = stored_progress(store, source, end).await? else {
            continue;
        };
        if applied >= end {
            comparison.name(Difference::of_log(source, applied, end));
            continue;
        }
        token.raise(Position { source, offset: applied });
        let mut expected = Expected::new(source, log.partitions());
        let mut reader = expected::Records::open(log, source, applied).await?;
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

/// The last offset that the store says is folded of a partition. With a progress row that cannot
/// be read the partition counts as folded as far as the log goes: then that row is the difference,
/// not every row of the partition.
async fn stored_progress(
    store: &dyn StoreInspector,
    source: TopicPartition,
    end: u64,
) -> Result<Option<u64>, PortError> {
    let bytes = key_bytes(&RowKey::Progress(source));
    let Some(value) = store.values(vec![bytes.clone()]).await?.into_iter().flatten().next() else {
        return Ok(None);
    };
    match row_of_bytes(&bytes, &value).map(|row| row.value) {
        Some(Value::Progress(progress)) => Ok(Some(progress.applied)),
        // Without a record there is nothing to fold, and the row is one too many.
        _ => Ok(end.checked_sub(1)),
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
