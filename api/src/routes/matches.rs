//! GET /matches, one match, one submission.

use agon_edge::query::invalid;
use agon_edge::{Code, PathParameters, Problem, QueryString};
use agon_ports::{Order, Scan};
use agon_projections::row::{FirstSeen, MatchRow, Row, RowKey, Value};
use agon_projections::row_bytes::Prefix;
use agon_projections::{CellKey, Table};
use agon_schema::ids::BadId;
use agon_schema::{AgentId, EnvironmentId, Identity, NaturalId};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::read;
use crate::api::Api;
use crate::body::rows::{Match, Submission};
use crate::body::{List, id_of};
use crate::cursor;

/// The kind of a match in its identity.
const MATCH_KIND: &str = "agon.match.finished.v1";

pub(crate) async fn get(
    State(api): State<Api>,
    PathParameters((id, match_id)): PathParameters<(String, String)>,
    query: QueryString,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let cell = read::environment(&id)?;
    read::reach(&api, &query.only(&[read::MIN_POSITION])?).await?;
    let unknown = || {
        let detail = format!("no match {match_id:?} counted in environment {id}");
        Problem::new(Code::UnknownMatch, detail)
    };
    let identity = Identity::of(MATCH_KIND, &id, &match_id);
    let keys = [RowKey::Head(cell.clone()), RowKey::FirstSeen(cell.clone(), identity)];
    let [head, first] = read::rows(&api, keys).await?;
    let head = read::head_of(head).ok_or_else(|| read::unknown_cell(&cell))?;
    let Some(Value::FirstSeen(FirstSeen { offset, .. })) = first.map(|row| row.value) else {
        return Err(unknown());
    };
    if !read::is_shown(offset, Some(head.applied)) {
        return Err(unknown());
    }
    let [row] = read::rows(&api, [RowKey::Match(cell.clone(), offset)]).await?;
    let Some(Value::Match(row)) = row.map(|row| row.value) else { return Err(unknown()) };
    Ok(read::answer(&headers, &shown(&api, &cell, offset, &row)))
}

fn shown<'a>(api: &Api, cell: &'a CellKey, offset: u64, row: &'a MatchRow) -> Match<'a> {
    let log = api.inner().log;
    Match::of(id_of(cell), row, log.token(cell.source(log.partitions), Some(offset)))
}

pub(crate) async fn list(
    State(api): State<Api>,
    query: QueryString,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&["environment", "agent", "limit", "cursor", read::MIN_POSITION])?;
    let environment = query.read("environment", |id| EnvironmentId::new(id))?;
    let environment = environment.ok_or_else(|| invalid("environment", "must be given"))?;
    let agent = query.read("agent", |id| AgentId::new(id))?;
    let cell = CellKey::Environment(environment);
    let limit = read::limit(&query)?;
    let list = match &agent {
        Some(agent) => format!("matches {cell} {agent}"),
        None => format!("matches {cell}"),
    };
    let before = read::before(&query, &list)?;
    read::reach(&api, &query).await?;
    let [head] = read::rows(&api, [RowKey::Head(cell.clone())]).await?;
    let head = read::head_of(head).ok_or_else(|| read::unknown_cell(&cell))?;
    let before = before.unwrap_or(u64::MAX).min(head.applied.saturating_add(1));
    let mut matches = match &agent {
        None => all_before(&api, &cell, before, limit + 1).await?,
        Some(agent) => of_agent_before(&api, &cell, agent, before, limit + 1).await?,
    };
    let has_more = matches.len() > limit;
    matches.truncate(limit);
    let last = matches.last().filter(|_| has_more);
    let next_cursor = last.map(|(offset, _)| cursor::of_offset(&list, *offset));
    let items = matches.iter().map(|(offset, row)| shown(&api, &cell, *offset, row)).collect();
    Ok(read::answer(&headers, &List { items, next_cursor }))
}

/// The latest matches below an offset, newest first.
async fn all_before(
    api: &Api,
    cell: &CellKey,
    before: u64,
    limit: usize,
) -> Result<Vec<(u64, MatchRow)>, Problem> {
    let scan = Scan {
        prefix: Prefix::Cell(Table::Matches, cell.clone()),
        after: Some(RowKey::Match(cell.clone(), before)),
        order: Order::Falling,
        limit,
    };
    let rows = api.inner().store.scan(scan).await.map_err(|e| read::problem_of_store(&e))?;
    Ok(rows.into_iter().filter_map(match_of).collect())
}

fn match_of(row: Row) -> Option<(u64, MatchRow)> {
    match (row.key, row.value) {
        (RowKey::Match(_, offset), Value::Match(row)) => Some((offset, row)),
        _ => None,
    }
}

/// The same of one agent: its history names the offsets.
async fn of_agent_before(
    api: &Api,
    cell: &CellKey,
    agent: &AgentId,
    before: u64,
    limit: usize,
) -> Result<Vec<(u64, MatchRow)>, Problem> {
    let history = super::agents::history_before(api, cell, agent, before, limit).await?;
    let keys = history.iter().map(|(offset, _)| RowKey::Match(cell.clone(), *offset)).collect();
    let rows = api.inner().store.get(keys).await.map_err(|e| read::problem_of_store(&e))?;
    Ok(rows.into_iter().flatten().filter_map(match_of).collect())
}

pub(crate) async fn get_submission(
    State(api): State<Api>,
    PathParameters((id, submission_id)): PathParameters<(String, String)>,
    query: QueryString,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let cell = read::benchmark(&id)?;
    read::reach(&api, &query.only(&[read::MIN_POSITION])?).await?;
    let unknown = |what: &str| {
        let detail = format!("no submission {submission_id:?} counted on benchmark {id}{what}");
        Problem::new(Code::UnknownSubmission, detail)
    };
    let natural = NaturalId::new(submission_id.as_str())
        .map_err(|error: BadId| unknown(&format!(": the id {error}")))?;
    let keys = [RowKey::Submission(cell.clone(), natural.clone()), RowKey::Head(cell.clone())];
    let [row, head] = read::rows(&api, keys).await?;
    let head = read::head_of(head).ok_or_else(|| read::unknown_cell(&cell))?;
    let Some(Value::Submission(row)) = row.map(|row| row.value) else { return Err(unknown("")) };
    if !read::is_shown(row.ver, Some(head.applied)) {
        let detail = "the submission is being written; ask again";
        return Err(Problem::new(Code::StoreUnavailable, detail));
    }
    let log = api.inner().log;
    let position = log.token(cell.source(log.partitions), Some(row.ver));
    Ok(read::answer(&headers, &Submission::of(&id, &natural, &row, position)))
}
