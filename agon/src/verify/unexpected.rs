//! The rows that are stored and that the fold does not give. A second pass, only when a table holds
//! more rows than the first one expected.
//!
//! The keys are read before the limits: a live consumer only adds rows, so whatever was there
//! belongs to the fold up to limits that were read later.

use agon_ports::{EventLog, PortError, StoreInspector};
use agon_projections::row_bytes::{key_of_bytes, row_of_bytes};
use agon_projections::{Applied, RowKey, Table};
use agon_schema::TopicPartition;

use super::compare::{Keys, each_row, hex};
use super::expected::Expected;
use super::limits::Limits;
use super::moved::is_later_refusal;
use super::records::Records;
use super::report::Difference;

/// The rows of these tables that the fold does not give.
pub async fn unexpected(
    log: &dyn EventLog,
    store: &dyn StoreInspector,
    tables: &[Table],
) -> Result<Vec<Difference>, PortError> {
    let mut keys = Keys::default();
    for table in tables {
        each_row(store, *table, |key, _| keys.add(key)).await?;
    }
    let limits = Limits::read(log, store).await?;
    for (source, limits) in &limits {
        take_out(log, *source, limits, &mut keys).await?;
    }
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows = Vec::new();
    for table in tables {
        each_row(store, *table, |key, value| {
            if keys.has(key) {
                rows.push((*table, key.to_vec(), value.to_vec()));
            }
        })
        .await?;
    }
    let mut named = Vec::new();
    for (table, key, value) in rows {
        if !is_ahead(log, &key, &value, |source| limits.get(&source)?.progress).await? {
            let name = key_of_bytes(&key).map_or_else(|| hex(&key), |key| key.to_string());
            named.push(Difference::unexpected(table, name));
        }
    }
    Ok(named)
}

/// Takes out the keys that the fold of a partition gives.
async fn take_out(
    log: &dyn EventLog,
    source: TopicPartition,
    limits: &Limits,
    keys: &mut Keys,
) -> Result<(), PortError> {
    let mut expected = Expected::new(source, log.partitions(), limits.clone());
    let Some((first, last)) = expected.span() else { return Ok(()) };
    let mut records = Records::open(log, source, first, last).await?;
    while let Some(record) = records.next().await? {
        expected.fold(&record).fixed.iter().for_each(|row| keys.remove(&row.key));
    }
    expected.rest().iter().for_each(|row| keys.remove(&row.key));
    Ok(())
}

/// Whether it is the mark of a refusal whose flush did not complete.
async fn is_ahead(
    log: &dyn EventLog,
    key: &[u8],
    value: &[u8],
    progress: impl Fn(TopicPartition) -> Applied,
) -> Result<bool, PortError> {
    let Some(row) = row_of_bytes(key, value) else { return Ok(false) };
    match row.key {
        RowKey::Refusal(source, mark) => {
            is_later_refusal(log, source, mark, Some(row.value), progress(source)).await
        }
        _ => Ok(false),
    }
}
