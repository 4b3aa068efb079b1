//! Asks the store for what a batch needs: cells that are not in memory, and rows that events ask
//! for. Patient: it tries again until the store answers or the worker is told to stop.

use std::time::Duration;

use agon_ports::{Order, PortError, Retry, Scan};
use agon_projections::row::Value;
use agon_projections::row_bytes::Prefix;
use agon_projections::{CellKey, Row, RowKey, Table};

use crate::crash::point;
use crate::decoded::Decoded;
use crate::error::Stopped;
use crate::flusher::pause;
use crate::overlay::Found;
use crate::partition::{PartitionFold, found};
use crate::seen::Seen;
use crate::warming::Warming;
use crate::worker::Shared;

/// The tables whose rows events may ask for.
const ASKED: [Table; 3] = [Table::FirstSeen, Table::Users, Table::Submissions];

/// How often a cell that moves under the reader is read, until it is clear that somebody else
/// writes it for good.
const LOADS_MAX: usize = 20;

/// Loads what a batch needs. `None` when told to stop before the store answered.
pub(crate) async fn prepare(
    shared: &Shared,
    warming: &mut Warming,
    fold: &mut PartitionFold,
    batch: &[Decoded],
) -> Result<Option<Found>, Stopped> {
    for key in fold.missing_cells(batch) {
        let Some(own) = load_own(shared, &key).await? else { return Ok(None) };
        let Some(filter) = small_filter(shared, &key).await? else { return Ok(None) };
        match filter {
            Filter::Whole(seen) => {
                fold.load(key, own, seen);
            }
            Filter::Large => {
                let seen = Seen::warming(shared.config.filter_items_max);
                let load = fold.load(key.clone(), own, seen);
                warming.begin(shared, fold.source(), key, load);
            }
        }
        point(&shared.config, "load.after_cell");
    }
    let keys: Vec<RowKey> = fold.missing_rows(batch).into_iter().collect();
    if keys.is_empty() {
        return Ok(Some(Found::default()));
    }
    let Some(rows) = patiently(shared, || shared.store.get(keys.clone())).await? else {
        return Ok(None);
    };
    let found = found(rows);
    match fold.overtaken(&found) {
        Some(key) => Err(overtaken(format!("read {key}"))),
        None => Ok(Some(found)),
    }
}

fn overtaken(attempted: String) -> Stopped {
    let reason = "it is ahead of what was folded here: another consumer writes the same partition; \
                  run one consumer over a directory, or all of them in one group";
    Stopped::Overtaken(PortError::never(attempted, reason))
}

/// The filter over the rows of a cell that events ask for.
enum Filter {
    Whole(Seen),
    /// It takes more than a page of a table: events need not wait for it.
    Large,
}

/// The filter of a cell whose rows are few. The rows beside a cell are in the store before the cell
/// is, so they are read after it.
async fn small_filter(shared: &Shared, key: &CellKey) -> Result<Option<Filter>, Stopped> {
    let mut seen = Seen::new(shared.config.filter_items_max);
    for table in ASKED {
        let mut rows = 0;
        let first = pages(shared, table, key, |page| {
            page.iter().for_each(|row| seen.insert(&row.key));
            rows = page.len();
            false
        });
        if first.await?.is_none() {
            return Ok(None);
        }
        // A filter that has let go of everything needs to hear no more.
        if seen.is_cold() {
            break;
        }
        if rows >= page_rows(shared) {
            return Ok(Some(Filter::Large));
        }
    }
    Ok(Some(Filter::Whole(seen)))
}

/// The filter of any cell. `None` when told to stop before the store answered.
pub(crate) async fn read_filter(shared: &Shared, key: &CellKey) -> Result<Option<Seen>, Stopped> {
    let mut seen = Seen::new(shared.config.filter_items_max);
    for table in ASKED {
        let all = pages(shared, table, key, |page| {
            page.iter().for_each(|row| seen.insert(&row.key));
            !seen.is_cold()
        });
        if all.await?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(seen))
}

fn page_rows(shared: &Shared) -> usize {
    shared.config.load_rows_max.max(1)
}

/// A cell's own rows as they stood together: read again when the cell moved meanwhile, since
/// somebody who has lost the partition may still write.
async fn load_own(shared: &Shared, key: &CellKey) -> Result<Option<Vec<Row>>, Stopped> {
    for _ in 0..LOADS_MAX {
        let mut own = Vec::new();
        for table in [Table::Heads, Table::Entrants, Table::Servers, Table::Tallies] {
            let all = pages(shared, table, key, |page| {
                own.extend(page);
                true
            });
            if all.await?.is_none() {
                return Ok(None);
            }
        }
        let head = vec![RowKey::Head(key.clone())];
        let Some(after) = patiently(shared, || shared.store.get(head.clone())).await? else {
            return Ok(None);
        };
        if stand_together(&own, after.first().and_then(Option::as_ref)) {
            return Ok(Some(own));
        }
        tracing::info!(cell = %key, "the cell moved while it was loaded; it is read again");
    }
    Err(overtaken(format!("load {key}")))
}

/// Whether these rows are of one flush: the head is the same before and after they were read, and
/// none of them is newer.
fn stand_together(own: &[Row], head_after: Option<&Row>) -> bool {
    let is_head = |row: &&Row| matches!(row.key, RowKey::Head(_));
    let head = own.iter().find(is_head);
    let applied = match head.map(|row| &row.value) {
        Some(Value::Head(head)) => Some(head.applied),
        _ => None,
    };
    let ver = |row: &Row| match &row.value {
        Value::Rating(rating) => Some(rating.ver),
        Value::Score(score) => Some(score.ver),
        Value::Tally(tally) => Some(tally.ver),
        _ => None,
    };
    head == head_after && own.iter().all(|row| ver(row) <= applied)
}

/// Hands over the rows of a cell in a table page by page, until `take` says that it has enough.
/// None of them is in a flush of this worker under way: a cell leaves memory when everything of it
/// is stored.
async fn pages(
    shared: &Shared,
    table: Table,
    key: &CellKey,
    mut take: impl FnMut(Vec<Row>) -> bool,
) -> Result<Option<()>, Stopped> {
    let mut after = None;
    loop {
        let scan = Scan {
            prefix: Prefix::Cell(table, key.clone()),
            after: after.take(),
            order: Order::Rising,
            limit: page_rows(shared),
        };
        let Some(page) = patiently(shared, || shared.store.scan(scan.clone())).await? else {
            return Ok(None);
        };
        // A store that answers at once must not keep others from their turn on this thread.
        tokio::task::yield_now().await;
        let is_last = page.len() < page_rows(shared);
        after = page.last().map(|row| row.key.clone());
        if !take(page) || is_last {
            return Ok(Some(()));
        }
    }
}

/// Tries until the store answers; `None` when told to stop first.
async fn patiently<T, F>(shared: &Shared, mut ask: impl FnMut() -> F) -> Result<Option<T>, Stopped>
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
