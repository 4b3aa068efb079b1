//! GET /agents/{id}/ratings and /agents/{id}/history.

use agon_edge::{Code, PathParameters, Problem, QueryString};
use agon_ports::{Order, Scan};
use agon_projections::CellKey;
use agon_projections::board::ranked::Ties;
use agon_projections::board::{Board, Entry};
use agon_projections::row::{HistoryRow, RowKey, Value};
use agon_projections::row_bytes::Prefix;
use agon_schema::{AgentId, BenchmarkId, EnvironmentId};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tokio::time::Instant;

use super::read;
use crate::api::{Api, HeldError};
use crate::body::entry::{Fields, write_entry};
use crate::body::leaderboard::{Name, as_of};
use crate::body::rows::History;
use crate::body::{List, id_of, to_json};
use crate::config::AsOf;
use crate::cursor::{self, BadCursor};
use crate::held::slot::LoadError;
use crate::held::view::View;

/// Boards of one answer at most: each may have to be loaded.
const BOARDS_MAX: u64 = 100;
const BOARDS_DEFAULT: u64 = 50;

fn agent_of(id: &str) -> Result<AgentId, Problem> {
    let unknown = |error| Problem::new(Code::UnknownAgent, format!("the id {id:?} {error}"));
    AgentId::new(id).map_err(unknown)
}

fn unknown(agent: &AgentId, place: &str) -> Problem {
    Problem::new(Code::UnknownAgent, format!("no event of agent {agent:?} counted{place}"))
}

/// The agent's line on one board, with the board's name.
struct Standing<'a> {
    name: Name<'a>,
    entry: Entry<'a>,
    as_of: AsOf,
}

impl Serialize for Standing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("board", &self.name)?;
        write_entry(&mut map, &self.entry, Fields::ALL)?;
        map.serialize_entry("as_of", &self.as_of)?;
        map.end()
    }
}

pub(crate) async fn ratings(
    State(api): State<Api>,
    PathParameters(id): PathParameters<String>,
    query: QueryString,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let agent = agent_of(&id)?;
    let query = query.only(&["limit", "cursor", read::MIN_POSITION])?;
    let limit = query.number("limit", 1..=BOARDS_MAX)?.unwrap_or(BOARDS_DEFAULT) as usize;
    let list = format!("ratings {agent}");
    let after = query.read("cursor", |text| cell_of_cursor(&list, text))?;
    let is_first = after.is_none();
    let deadline = read::reach(&api, &query).await?;
    let scan = Scan {
        prefix: Prefix::AgentCells(agent.clone()),
        after: after.map(|cell| RowKey::AgentCell(agent.clone(), cell)),
        order: Order::Rising,
        limit: limit + 1,
    };
    let rows = api.inner().store.scan(scan).await.map_err(|e| read::problem_of_store(&e))?;
    let mut cells: Vec<CellKey> = Vec::with_capacity(rows.len());
    cells.extend(rows.into_iter().filter_map(|row| match row.key {
        RowKey::AgentCell(_, cell) => Some(cell),
        _ => None,
    }));
    if cells.is_empty() && is_first {
        return Err(unknown(&agent, " anywhere"));
    }
    let has_more = cells.len() > limit;
    cells.truncate(limit);
    let last = cells.last().filter(|_| has_more);
    let next_cursor = last.map(|cell| cursor::encode(&list, &place_of_cell(cell)));
    let mut items = Vec::with_capacity(cells.len());
    for cell in &cells {
        items.extend(standing(&api, cell, &agent, deadline).await?);
    }
    Ok(read::answer(&headers, &List { items, next_cursor }))
}

/// The agent's line on a board as JSON, if it stands there.
async fn standing(
    api: &Api,
    cell: &CellKey,
    agent: &AgentId,
    deadline: Option<Instant>,
) -> Result<Option<Box<serde_json::value::RawValue>>, Problem> {
    let slot = match api.held(cell, deadline).await {
        Ok(slot) => slot,
        // The row that names the board is there before the board is.
        Err(HeldError::Load(LoadError::Unknown)) => return Ok(None),
        Err(error) => return Err(read::problem_of_held(api, cell, error)),
    };
    let line = slot.read(|view| match view {
        View::Board(board) => line(api, cell, board, agent),
        View::Stream(_) => None,
    });
    let raw = |json: Vec<u8>| {
        let text = String::from_utf8(json).map_err(Problem::internal)?;
        serde_json::value::RawValue::from_string(text).map_err(Problem::internal)
    };
    line.flatten().map(raw).transpose()
}

fn line(api: &Api, cell: &CellKey, board: &Board, agent: &AgentId) -> Option<Vec<u8>> {
    let head = board.head()?;
    let ordinal = board.ordinal_of(agent.as_str())?;
    let entry = board.page(ordinal, 1, Ties::Competition).pop()?;
    let as_of = as_of(api.inner().log, cell, head);
    Some(to_json(&Standing { name: Name::of(head)?, entry, as_of }))
}

/// A cell in a cursor: the letter of its kind, then its id.
fn place_of_cell(cell: &CellKey) -> Vec<u8> {
    let kind = &cell.kind().as_bytes()[..1];
    [kind, id_of(cell).as_bytes()].concat()
}

fn cell_of_cursor(list: &str, text: &str) -> Result<CellKey, BadCursor> {
    let place = cursor::decode(list, text)?;
    let (kind, id) = place.split_first().ok_or(BadCursor::Foreign)?;
    let id = std::str::from_utf8(id).map_err(|_| BadCursor::Foreign)?;
    let cell = match kind {
        b'e' => EnvironmentId::new(id).map(CellKey::Environment),
        b'b' => BenchmarkId::new(id).map(CellKey::Benchmark),
        _ => return Err(BadCursor::Foreign),
    };
    cell.map_err(|_| BadCursor::Foreign)
}

pub(crate) async fn history(
    State(api): State<Api>,
    PathParameters(id): PathParameters<String>,
    query: QueryString,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let agent = agent_of(&id)?;
    let query = query.only(&["environment", "benchmark", "limit", "cursor", read::MIN_POSITION])?;
    let cell = read::cell(&query)?;
    let limit = read::limit(&query)?;
    let list = format!("history {cell} {agent}");
    let before = read::before(&query, &list)?;
    read::reach(&api, &query).await?;
    let keys = [RowKey::Head(cell.clone()), RowKey::AgentCell(agent.clone(), cell.clone())];
    let [head, known] = read::rows(&api, keys).await?;
    let head = read::head_of(head).ok_or_else(|| read::unknown_cell(&cell))?;
    let known = known.and_then(|row| match row.value {
        Value::Since(offset) => Some(offset),
        _ => None,
    });
    if !known.is_some_and(|offset| read::is_shown(offset, Some(head.applied))) {
        return Err(unknown(&agent, &format!(" in {cell}")));
    }
    let before = before.unwrap_or(u64::MAX).min(head.applied.saturating_add(1));
    let mut rows = history_before(&api, &cell, &agent, before, limit + 1).await?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| has_more);
    let next_cursor = last.map(|(offset, _)| cursor::of_offset(&list, *offset));
    let log = api.inner().log;
    let source = cell.source(log.partitions);
    let position = |offset| log.token(source, Some(offset));
    let items = rows.iter().map(|(offset, row)| History::of(row, position(*offset))).collect();
    Ok(read::answer(&headers, &List { items, next_cursor }))
}

/// What happened to an agent in a cell below an offset, newest first.
pub(crate) async fn history_before(
    api: &Api,
    cell: &CellKey,
    agent: &AgentId,
    before: u64,
    limit: usize,
) -> Result<Vec<(u64, HistoryRow)>, Problem> {
    let scan = Scan {
        prefix: Prefix::History(cell.clone(), agent.clone()),
        after: Some(RowKey::History(cell.clone(), agent.clone(), before)),
        order: Order::Falling,
        limit,
    };
    let rows = api.inner().store.scan(scan).await.map_err(|e| read::problem_of_store(&e))?;
    let shown = |row: agon_projections::Row| match (row.key, row.value) {
        (RowKey::History(_, _, offset), Value::History(row)) => Some((offset, row)),
        _ => None,
    };
    Ok(rows.into_iter().filter_map(shown).collect())
}
