//! `verify`: one record at a time through the codec and the pure step, against everything that is
//! stored, read through the inspector: nothing of loading, batching, coalescing or flushing is
//! shared with the consumer. It is right beside consumers at work, too: see [`moved`] and
//! [`unexpected`].

mod compare;
mod expected;
mod limits;
mod moved;
mod records;
mod report;
#[cfg(test)]
mod tests;
mod unexpected;

use agon_ports::{EventLog, PortError, StoreInspector};
use agon_schema::{Position, PositionToken, TopicPartition};

use compare::Comparison;
use expected::Expected;
use limits::Limits;
use records::Records;
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
    let mut comparison = Comparison::new(store);
    let mut token = PositionToken::start(log.id());
    let mut folded = 0;
    for (source, limits) in Limits::read(log, store).await? {
        if let Some((applied, end)) = limits.beyond {
            comparison.name(Difference::of_log(source, applied, end));
            continue;
        }
        if let Some(offset) = limits.progress {
            token.raise(Position { source, offset });
        }
        let mut on_record = || {
            folded += 1;
            on_record(folded);
        };
        compare_partition(log, store, source, limits, &mut comparison, &mut on_record).await?;
    }
    comparison.settle().await?;
    let tables = comparison.tables_with_more().await?;
    if !tables.is_empty() {
        let unexpected = unexpected::unexpected(log, store, &tables).await?;
        unexpected.into_iter().for_each(|difference| comparison.name(difference));
    }
    for name in store.foreign().await? {
        comparison.name(Difference::foreign(name));
    }
    Ok(comparison.report(token.to_string()))
}

/// Compares what one partition left behind.
async fn compare_partition(
    log: &dyn EventLog,
    store: &dyn StoreInspector,
    source: TopicPartition,
    limits: Limits,
    comparison: &mut Comparison<'_>,
    on_record: &mut (dyn FnMut() + Send),
) -> Result<(), PortError> {
    let mut expected = Expected::new(source, log.partitions(), limits);
    let Some((first, last)) = expected.span() else { return Ok(()) };
    let mut records = Records::open(log, source, first, last).await?;
    while let Some(record) = records.next().await? {
        for row in expected.fold(&record).fixed {
            comparison.expect(row).await?;
        }
        on_record();
    }
    comparison.cells += expected.cells();
    let unequal = comparison.expect_now(expected.rest()).await?;
    if !unequal.is_empty() {
        for compare::Unequal { row, stored } in
            moved::wrong(log, store, &mut expected, unequal).await?
        {
            comparison.name(Difference::unequal(&row, &stored));
        }
    }
    Ok(())
}
