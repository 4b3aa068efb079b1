//! Rows of one partition, as the bytes that a store of plain keys and values would hold.

use std::collections::{BTreeMap, HashMap};

use agon_projections::row::{FirstSeen, Value};
use agon_projections::row_bytes::{key_bytes, value_bytes};
use agon_projections::{CellKey, RowKey, Table};
use agon_schema::{ContentHash, TopicPartition};
use scylla::value::{CqlValue, Row};

use super::ask::Asker;
use super::chunk::{self, WINDOW};
use super::place::{Place, definition};
use crate::cell_name::CellName;
use crate::error::RequestError;

/// Rows that one question is answered with, at most.
const ROWS_MAX: usize = 4_096;
/// Chunks that one question is answered with, at most.
const CHUNKS_MAX: usize = 64;

/// A key and its value.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

/// How far cells and partitions are true; what lies above is not shown.
#[derive(Default)]
pub(super) struct Visible {
    pub(super) cells: HashMap<CellKey, u64>,
    pub(super) sources: HashMap<TopicPartition, u64>,
}

impl Visible {
    fn shows(&self, place: &Place, offset: u64) -> bool {
        let through = match place {
            Place::HashBucket(cell, _) | Place::OffsetBucket(cell, _) | Place::Player(cell, _) => {
                self.cells.get(cell)
            }
            Place::SourceOffsetBucket(source, _) => self.sources.get(source),
            _ => return true,
        };
        through.is_some_and(|through| offset <= *through)
    }
}

/// Which columns hold a row, and by which it is found in its partition.
struct Shape {
    select: &'static str,
    by: &'static str,
    tbl: Option<Table>,
}

fn shape(table: Table) -> Option<Shape> {
    let (select, by, tbl) = match table {
        Table::Entrants | Table::Servers | Table::Submissions | Table::Tallies => {
            ("id, value", " AND tbl = ? AND id", Some(table))
        }
        Table::Users => ("user, since", " AND user", None),
        Table::FirstSeen => ("identity, offset, content", " AND identity", None),
        Table::Refusals => ("mark, since", " AND mark", None),
        Table::DeadLetters => ("offset, value", " AND offset", None),
        _ => return None,
    };
    Some(Shape { select, by, tbl })
}

impl Shape {
    fn values(&self, place: &Place, by: CqlValue) -> Vec<CqlValue> {
        let tbl = self.tbl.map(|table| CqlValue::TinyInt(table as i8));
        place.values().into_iter().chain(tbl).chain([by]).collect()
    }
}

/// What tells a row of a shape apart from the others of its partition.
pub(super) fn mark_of(key: &RowKey) -> Option<CqlValue> {
    Some(match key {
        RowKey::Entrant(_, agent) => CqlValue::Blob(agent.as_str().as_bytes().to_vec()),
        RowKey::Server(_, name) => CqlValue::Blob(name.as_bytes().to_vec()),
        RowKey::Tally(_, key) => CqlValue::Blob(key.bytes().to_vec()),
        RowKey::Submission(_, id) => CqlValue::Blob(id.as_str().as_bytes().to_vec()),
        RowKey::User(_, user) => CqlValue::Blob(user.0.to_vec()),
        RowKey::FirstSeen(_, identity) => CqlValue::Blob(identity.0.to_vec()),
        RowKey::Refusal(_, mark) => CqlValue::Blob(mark.0.to_vec()),
        RowKey::DeadLetter(_, offset) => CqlValue::BigInt(*offset as i64),
        _ => return None,
    })
}

/// The least mark after this one.
fn after_mark(mark: CqlValue) -> CqlValue {
    match mark {
        CqlValue::Blob(bytes) => CqlValue::Blob([&bytes[..], &[0]].concat()),
        CqlValue::BigInt(number) => CqlValue::BigInt(number.saturating_add(1)),
        mark => mark,
    }
}

/// A row as it was read: its mark, the offset that may hide it, and its value.
struct Read {
    mark: CqlValue,
    offset: Option<u64>,
    value: Vec<u8>,
}

/// A row of a shape. What its columns do not hold becomes an empty value, which no row has.
fn read(table: Table, row: Row) -> Result<Read, RequestError> {
    let mut columns = row.columns.into_iter();
    let mut next = || columns.next().flatten();
    let mark = next().ok_or_else(|| RequestError::damaged("a row without its key"))?;
    let (offset, value) = match (table, next(), next()) {
        (Table::FirstSeen, Some(CqlValue::BigInt(offset)), Some(CqlValue::Blob(content))) => {
            let offset = offset as u64;
            let content = <[u8; 16]>::try_from(content).ok().map(ContentHash);
            let value = content.map(|content| Value::FirstSeen(FirstSeen { offset, content }));
            (Some(offset), value.as_ref().map(value_bytes).unwrap_or_default())
        }
        (Table::Users | Table::Refusals, Some(CqlValue::BigInt(since)), _) => {
            (Some(since as u64), value_bytes(&Value::Since(since as u64)))
        }
        (_, Some(CqlValue::Blob(value)), _) => (None, value),
        _ => (None, Vec::new()),
    };
    let offset = match (table, &mark) {
        (Table::DeadLetters, CqlValue::BigInt(offset)) => Some(*offset as u64),
        _ => offset,
    };
    Ok(Read { mark, offset, value })
}

/// The bytes of the key of a row with this mark.
fn entry_key(table: Table, place: &Place, mark: &CqlValue) -> Vec<u8> {
    let (mut key, _) = place.rank(table);
    match mark {
        CqlValue::Blob(bytes) => key.extend_from_slice(bytes),
        CqlValue::BigInt(number) => key.extend_from_slice(&number.to_be_bytes()),
        _ => {}
    }
    if matches!(table, Table::Entrants | Table::Submissions) {
        key.push(0);
    }
    key
}

/// The value of one row with a mark of its own.
pub(super) async fn marked(
    asker: &Asker,
    key: &RowKey,
    mark: CqlValue,
) -> Result<Option<Vec<u8>>, RequestError> {
    let (table, place) = (key.table(), Place::of(key));
    let Some(shape) = shape(table) else { return Ok(None) };
    let more = format!("{} = ?", shape.by);
    let values = shape.values(&place, mark);
    let rows = asker.partition::<Row>(shape.select, definition(table), &more, values).await?;
    let row = rows.into_iter().next();
    row.map(|row| read(table, row).map(|read| read.value)).transpose()
}

/// The value of a row that is alone in its partition, or that belongs to all of it.
pub(super) async fn single(
    asker: &Asker,
    table: Table,
    place: &Place,
) -> Result<Option<Vec<u8>>, RequestError> {
    let column = if table == Table::Heads { "head" } else { "value" };
    let rows: Vec<(Option<Vec<u8>>,)> =
        asker.partition(column, definition(table), " LIMIT 1", place.values()).await?;
    Ok(match rows.into_iter().next() {
        // A partition may have rows and no head.
        Some((None,)) if table == Table::Heads => None,
        row => row.map(|(value,)| value.unwrap_or_default()),
    })
}

/// The cells of an agent, in the order of their keys.
pub(super) async fn agent_cells(
    asker: &Asker,
    place: &Place,
) -> Result<BTreeMap<CellKey, (Vec<u8>, Option<u64>)>, RequestError> {
    let select = "cell_kind, cell_id, since";
    let rows: Vec<(i8, String, Option<i64>)> = asker
        .partition(select, definition(Table::AgentCells), place.within(), place.values())
        .await?;
    let mut cells = BTreeMap::new();
    for (kind, id, since) in rows {
        let since = since.map(|since| since as u64);
        let value = since.map(|since| value_bytes(&Value::Since(since))).unwrap_or_default();
        if let Some(cell) = (CellName { kind, id }).key() {
            cells.insert(cell, (value, since));
        }
    }
    Ok(cells)
}

/// The rows of one window of chunks.
pub(super) async fn window(
    asker: &Asker,
    table: Table,
    place: &Place,
    window: u64,
) -> Result<BTreeMap<u64, Vec<u8>>, RequestError> {
    let mut values = place.values();
    values.extend([window, window + WINDOW].map(|offset| CqlValue::BigInt(offset as i64)));
    let more = format!("{} AND first >= ? AND first < ?", place.within());
    let chunks: Vec<(i64, Option<Vec<u8>>)> =
        asker.partition("first, chunk", definition(table), &more, values).await?;
    let mut rows = BTreeMap::new();
    for (first, chunk) in chunks {
        chunk::add(first, &chunk.unwrap_or_default(), &mut rows);
    }
    Ok(rows)
}

/// Rows out of chunks from an offset on: at least `limit`, or all there are.
async fn chunked(
    asker: &Asker,
    table: Table,
    place: &Place,
    from: u64,
    limit: usize,
) -> Result<BTreeMap<u64, Vec<u8>>, RequestError> {
    let mut rows = BTreeMap::new();
    let mut start = from - from % WINDOW;
    loop {
        let mut values = place.values();
        values.extend([CqlValue::BigInt(start as i64), CqlValue::Int(CHUNKS_MAX as i32)]);
        let more = format!("{} AND first >= ? LIMIT ?", place.within());
        let mut chunks: Vec<(i64, Option<Vec<u8>>)> =
            asker.partition("first, chunk", definition(table), &more, values).await?;
        let is_last = chunks.len() < CHUNKS_MAX;
        let windows = |first: i64| first as u64 - first as u64 % WINDOW;
        // The last window may go on: its chunks are read together with the others of it.
        if let (false, Some((first, _)), Some((last, _))) = (is_last, chunks.first(), chunks.last())
        {
            let (first, last) = (windows(*first), windows(*last));
            start = last;
            if first == last {
                rows.extend(window(asker, table, place, last).await?);
                start = last + WINDOW;
                chunks.clear();
            }
            chunks.retain(|(first, _)| windows(*first) < last);
        }
        for (first, chunk) in chunks {
            chunk::add(first, &chunk.unwrap_or_default(), &mut rows);
        }
        rows = rows.split_off(&from);
        if is_last || rows.len() >= limit {
            return Ok(rows);
        }
    }
}

/// At most `limit` entries of a partition that lie after a key of it, rising.
pub(super) async fn entries(
    asker: &Asker,
    table: Table,
    place: &Place,
    after: Option<&RowKey>,
    limit: usize,
    visible: &Visible,
) -> Result<Vec<Entry>, RequestError> {
    let (prefix, _) = place.rank(table);
    let shows = |offset: u64| visible.shows(place, offset);
    match (table, place) {
        (Table::Heads | Table::Progress, _) => {
            let value = single(asker, table, place).await?;
            Ok(value.filter(|_| after.is_none()).map(|value| (prefix, value)).into_iter().collect())
        }
        (Table::AgentCells, Place::Agent(agent)) => {
            let cells = agent_cells(asker, place).await?.into_iter();
            let is_shown = |cell: &CellKey, since: &Option<u64>| {
                since.is_none() || *since <= visible.cells.get(cell).copied()
            };
            let shown = cells.filter(|(cell, (_, since))| is_shown(cell, since));
            let keyed = shown.map(|(cell, (value, _))| {
                (key_bytes(&RowKey::AgentCell(agent.clone(), cell)), value)
            });
            let after = after.map(key_bytes);
            Ok(keyed.filter(|(key, _)| Some(key) > after.as_ref()).take(limit).collect())
        }
        (Table::Matches | Table::History, _) => {
            let from = match after {
                Some(RowKey::Match(_, offset) | RowKey::History(.., offset)) => offset + 1,
                _ => 0,
            };
            let floor = match place {
                Place::OffsetBucket(_, bucket) => (*bucket as u64) << 18,
                _ => 0,
            };
            let rows = chunked(asker, table, place, from.max(floor), limit).await?;
            let shown = rows.into_iter().filter(|(offset, _)| shows(*offset)).take(limit);
            Ok(shown.map(|(o, value)| ([&prefix[..], &o.to_be_bytes()].concat(), value)).collect())
        }
        _ => shaped(asker, table, place, after, limit, shows).await,
    }
}

async fn shaped(
    asker: &Asker,
    table: Table,
    place: &Place,
    after: Option<&RowKey>,
    limit: usize,
    shows: impl Fn(u64) -> bool,
) -> Result<Vec<Entry>, RequestError> {
    let Some(shape) = shape(table) else { return Ok(Vec::new()) };
    let more = format!("{} >= ? LIMIT ?", shape.by);
    let first = match table {
        Table::DeadLetters => CqlValue::BigInt(0),
        _ => CqlValue::Blob(Vec::new()),
    };
    let mut from = after.and_then(mark_of).map_or(first, after_mark);
    let mut entries = Vec::new();
    while entries.len() < limit {
        let asked = (limit - entries.len()).min(ROWS_MAX);
        let mut values = shape.values(place, from.clone());
        values.push(CqlValue::Int(asked as i32));
        let rows: Vec<Row> =
            asker.partition(shape.select, definition(table), &more, values).await?;
        let is_last = rows.len() < asked;
        for row in rows {
            let Read { mark, offset, value } = read(table, row)?;
            if offset.is_none_or(&shows) {
                entries.push((entry_key(table, place, &mark), value));
            }
            from = after_mark(mark);
        }
        if is_last {
            break;
        }
    }
    Ok(entries)
}
