//! Rows that a live consumer rewrote between the reading of the limits and the comparison.
//!
//! Such a row holds a later value of the same fold. The limits are read again, the fold goes on up
//! to them, and a stored value that it gives on the way is right. What it does not give within
//! them is a difference, and so is every unequal row of a cell that has not moved.

use std::collections::BTreeMap;

use agon_ports::{EventLog, PortError, StoreInspector};
use agon_projections::fold::refusal_mark;
use agon_projections::row::Value;
use agon_projections::row_bytes::{key_bytes, row_of_bytes, value_bytes};
use agon_projections::{Applied, CellKey, RowKey};
use agon_schema::{ContentHash, TopicPartition};

use super::compare::Unequal;
use super::expected::Expected;
use super::records::Records;

/// Those of the unequal rows that are wrong. The fold is left further than it was.
pub async fn wrong(
    log: &dyn EventLog,
    store: &dyn StoreInspector,
    expected: &mut Expected,
    unequal: Vec<Unequal>,
) -> Result<Vec<Unequal>, PortError> {
    let mut wrong = Vec::new();
    let mut moved = BTreeMap::new();
    let source = expected.source();
    let before = expected.limits().clone();
    let cells = unequal.iter().filter_map(|unequal| cell_of(&unequal.row.key));
    let now = before.again(log, store, source, cells).await?;
    for unequal in unequal {
        let RowKey::Refusal(_, mark) = unequal.row.key else {
            let has_moved = match cell_of(&unequal.row.key) {
                Some(cell) => now.of(cell) > before.of(cell),
                None => now.progress > before.progress,
            };
            if has_moved {
                moved.insert(key_bytes(&unequal.row.key), unequal);
            } else {
                wrong.push(unequal);
            }
            continue;
        };
        let row = row_of_bytes(&key_bytes(&unequal.row.key), &unequal.stored);
        if !is_later_refusal(log, source, mark, row.map(|row| row.value), before.progress).await? {
            wrong.push(unequal);
        }
    }
    if !moved.is_empty() {
        expected.raise(now);
        fold_on(log, expected, &mut moved).await?;
    }
    wrong.extend(moved.into_values());
    Ok(wrong)
}

/// Folds on and takes out each row whose stored value the fold gives.
async fn fold_on(
    log: &dyn EventLog,
    expected: &mut Expected,
    moved: &mut BTreeMap<Vec<u8>, Unequal>,
) -> Result<(), PortError> {
    let Some((first, last)) = expected.span() else { return Ok(()) };
    let mut records = Records::open(log, expected.source(), first, last).await?;
    while let Some(record) = records.next().await? {
        let did = expected.fold(&record);
        for row in expected.changed(did) {
            let key = key_bytes(&row.key);
            if moved.get(&key).is_some_and(|moved| moved.stored == value_bytes(&row.value)) {
                moved.remove(&key);
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether the stored value of a refusal is the offset of a record beyond the progress whose bytes
/// bear its mark: refused again, by a flush that did not complete.
pub async fn is_later_refusal(
    log: &dyn EventLog,
    source: TopicPartition,
    mark: ContentHash,
    stored: Option<Value>,
    progress: Applied,
) -> Result<bool, PortError> {
    let Some(Value::Since(offset)) = stored else { return Ok(false) };
    let end = log.ends().await?.get(&source).copied().unwrap_or(0);
    if Some(offset) <= progress || offset >= end {
        return Ok(false);
    }
    let record = Records::open(log, source, offset, offset).await?.next().await?;
    Ok(record.is_some_and(|record| refusal_mark(&record.record) == mark))
}

/// The cell of a row that records change, if it is one of a cell.
fn cell_of(key: &RowKey) -> Option<&CellKey> {
    match key {
        RowKey::Head(cell)
        | RowKey::Entrant(cell, _)
        | RowKey::Server(cell, _)
        | RowKey::Tally(cell, _)
        | RowKey::Submission(cell, _) => Some(cell),
        _ => None,
    }
}
