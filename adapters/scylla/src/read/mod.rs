//! Reading rows by keys and by prefixes.
//!
//! A cell's own rows and its `applied` are written as one mutation. Every other row is written
//! before the `applied` or the progress that vouches for it, so a reader takes that one first and
//! then shows no row with an offset above it: such a row is left from a flush that did not end.

mod bind;
mod chunks;
mod get;
mod marked;
mod names;
mod own;
mod statements;
mod tree;

use agon_ports::Order;
use agon_projections::row::{Progress, Value};
use agon_projections::row_bytes::{key_bytes, row_of_bytes};
use agon_projections::{Applied, CellKey, Row, RowKey};
use agon_schema::{AgentId, Topic, TopicPartition};

use self::bind::{Bind, Start, of_agent, of_source};
use self::statements::Reads;
use crate::error::RequestError;
use crate::flush::{FOLDED_BY, LIVE, bucket_of_offset};
use crate::link::Link;

/// Values that one `IN` names at most; servers limit it.
const IN_MAX: usize = 100;

/// Reads rows.
pub(crate) struct Reader {
    link: Link,
    reads: Reads,
}

/// Where a page starts, which way it goes and how long it is.
#[derive(Clone, Copy, Debug)]
struct Page<'a> {
    after: Option<&'a RowKey>,
    order: Order,
    limit: usize,
}

fn damaged(key: &RowKey) -> RequestError {
    RequestError::damaged(format!("{key} is damaged, or was written by another version"))
}

impl Reader {
    /// Prepares the statements that read.
    pub(crate) async fn new(link: Link, keyspace: &str) -> Result<Reader, RequestError> {
        let reads = Reads::prepare(link.session(), keyspace).await?;
        Ok(Reader { link, reads })
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// How far a partition is folded.
    pub(crate) async fn progress(
        &self,
        source: TopicPartition,
    ) -> Result<Option<Progress>, RequestError> {
        let rows = self.link.rows::<(Vec<u8>,)>(&self.reads.progress, of_source(source)).await?;
        let row = rows.into_iter().next();
        row.map(|(value,)| progress_row(source, &value).map(|(_, progress)| progress)).transpose()
    }

    /// The progress of every partition that has one, in the order of the partitions. A small table:
    /// it is read whole.
    async fn all_progress(&self) -> Result<Vec<Row>, RequestError> {
        type Stored = (i8, i32, i32, i32, Vec<u8>);
        let stored = self.link.rows::<Stored>(&self.reads.all_progress, ()).await?;
        let mut rows = Vec::new();
        for (topic, partition, generation, fold_version, value) in stored {
            if (generation, fold_version) != (LIVE, FOLDED_BY) {
                continue;
            }
            let topic = Topic::from_code(topic as u8).ok_or_else(|| {
                RequestError::damaged(format!("there is progress of a topic {topic}"))
            })?;
            let source = TopicPartition { topic, partition: partition as u32 };
            rows.push(progress_row(source, &value)?.0);
        }
        rows.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(rows)
    }

    /// The rows of a bucket's dead letters that are not above `through`.
    async fn dead_letters_in(
        &self,
        source: TopicPartition,
        offsets: &[u64],
        through: u64,
    ) -> Result<Vec<Row>, RequestError> {
        let Some(first) = offsets.first() else { return Ok(vec![]) };
        let mut values = of_source(source);
        values.push(Bind::Big(bucket_of_offset(*first)));
        values.push(Bind::Bigs(offsets.iter().map(|offset| *offset as i64).collect()));
        let rows = self.link.rows(&self.reads.dead_letters_in, values).await?;
        letters(source, rows, through)
    }

    /// A page of dead letters that are not above `through`.
    async fn dead_letters(
        &self,
        source: TopicPartition,
        through: u64,
        page: Page<'_>,
    ) -> Result<Vec<Row>, RequestError> {
        let after = match page.after {
            Some(RowKey::DeadLetter(_, offset)) => Some(*offset),
            _ => None,
        };
        let last = bucket_of_offset(through);
        let start = after.map(bucket_of_offset);
        let mut buckets: Box<dyn Iterator<Item = i64> + Send> = match page.order {
            Order::Rising => Box::new(start.unwrap_or(0)..=last),
            Order::Falling => Box::new((0..=start.unwrap_or(last).min(last)).rev()),
        };
        let mut rows = Vec::new();
        while let Some(bucket) = buckets.next().filter(|_| rows.len() < page.limit) {
            let mut values = of_source(source);
            values.push(Bind::Big(bucket));
            // What a flush left that did not end lies above `through`; it is passed over.
            let above = i64::try_from(through).unwrap_or(i64::MAX).saturating_add(1);
            let after = match (page.order, after) {
                (Order::Rising, after) => after.map(|offset| offset as i64),
                (Order::Falling, after) => Some(after.map_or(above, |at| above.min(at as i64))),
            };
            let limit = page.limit - rows.len();
            let start = Start { after: after.map(Bind::Big), order: page.order, limit };
            let found = self.reads.dead_letters.rows(&self.link, values, start).await?;
            rows.extend(letters(source, found, through)?);
        }
        Ok(rows)
    }

    /// The boards of an agent, after a cell.
    async fn agent_cells(&self, agent: &AgentId, page: Page<'_>) -> Result<Vec<Row>, RequestError> {
        let mut after = match page.after {
            Some(RowKey::AgentCell(_, cell)) => Some(cell.clone()),
            _ => None,
        };
        let mut rows = Vec::new();
        while rows.len() < page.limit {
            let limit = page.limit - rows.len();
            let partition = of_agent(agent);
            let names = &self.reads.agent_cells;
            let found = names
                .rows::<(i8, String, i64)>(&self.link, partition, after.as_ref(), page.order, limit)
                .await?;
            let cells: Vec<CellKey> = found.iter().map(|(cell, _)| cell.clone()).collect();
            // These rows were read before `applied`: one more may be shown, none that is not true.
            let applied = self.applied_of(cells).await?;
            let is_last = found.len() < limit;
            after = found.last().map(|(cell, _)| cell.clone());
            for (cell, (_, _, since)) in found {
                let since = since as u64;
                if applied.get(&cell).is_some_and(|applied| is_shown(*applied, since)) {
                    let key = RowKey::AgentCell(agent.clone(), cell);
                    rows.push(Row { key, value: Value::Since(since) });
                }
            }
            if is_last {
                break;
            }
        }
        Ok(rows)
    }
}

/// Whether a row of this offset is vouched for.
fn is_shown(applied: Applied, offset: u64) -> bool {
    applied.is_some_and(|applied| offset <= applied)
}

fn progress_row(source: TopicPartition, value: &[u8]) -> Result<(Row, Progress), RequestError> {
    let key = RowKey::Progress(source);
    let row = row_of_bytes(&key_bytes(&key), value).ok_or_else(|| damaged(&key))?;
    match &row.value {
        Value::Progress(progress) => {
            let progress = progress.clone();
            Ok((row, progress))
        }
        _ => Err(damaged(&key)),
    }
}

fn letters(
    source: TopicPartition,
    rows: Vec<(i64, Vec<u8>)>,
    through: u64,
) -> Result<Vec<Row>, RequestError> {
    let row = |(offset, value): (i64, Vec<u8>)| {
        let key = RowKey::DeadLetter(source, offset as u64);
        row_of_bytes(&key_bytes(&key), &value).ok_or_else(|| damaged(&key))
    };
    rows.into_iter().filter(|(offset, _)| *offset as u64 <= through).map(row).collect()
}
