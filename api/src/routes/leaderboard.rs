//! GET /leaderboard.

use std::sync::Arc;

use agon_edge::query::invalid;
use agon_edge::{Code, ETag, Parameters, Problem, QueryString};
use agon_projections::board::Board;
use agon_projections::board::ranked::Ties;
use agon_projections::{FOLD_VERSION, GENERATION};
use agon_schema::AgentId;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;

use super::read;
use crate::api::Api;
use crate::body::entry::Fields;
use crate::body::leaderboard::{BoardError, leaderboard_body};
use crate::body::query::{BoardQuery, LIMIT_DEFAULT, LIMIT_MAX, SPAN_DEFAULT, SPAN_MAX, Window};
use crate::held::slot::Slot;
use crate::held::view::View;
use crate::rendered::{JSON, Rendered};

/// The number of the bodies' form: it changes when the same board would give other bytes, so that
/// no client keeps a body of an earlier form.
pub(crate) const FORM: u32 = 1;

const NAMES: [&str; 12] = [
    "environment",
    "benchmark",
    "limit",
    "cursor",
    "rank_from",
    "around",
    "span",
    "agent",
    "ties",
    "system",
    "fields",
    read::MIN_POSITION,
];

/// The hot path first: a query as it was sent before, of a board that has not moved since.
pub(crate) async fn get(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let inner = api.inner();
    let as_sent = request.uri().query().unwrap_or_default();
    if let Some(body) = inner.rendered.get(as_sent, inner.boards.epoch()) {
        inner.metrics.rendered_hits.inc();
        return Ok(body.answer(request.headers()));
    }
    let (mut parts, _) = request.into_parts();
    let parameters = QueryString::from_request_parts(&mut parts, &()).await?.only(&NAMES)?;
    let query = read_query(&parameters)?;
    let deadline = read::reach(&api, &parameters).await?;
    let slot = api.held(&query.cell, deadline).await;
    let slot = slot.map_err(|error| read::problem_of_held(&api, &query.cell, error))?;
    let canonical = query.canonical();
    if let Some(body) = inner.rendered.get(&canonical, inner.boards.epoch()) {
        inner.metrics.rendered_hits.inc();
        return Ok(body.answer(&parts.headers));
    }
    inner.metrics.rendered_misses.inc();
    match render(&api, &slot, &query, &canonical, &parts.headers)? {
        Shown::Held(response) => Ok(response),
        Shown::Body(body) => {
            inner.rendered.put(&canonical, &body);
            if let (None, Some(as_sent)) = (deadline, parts.uri.query()) {
                inner.rendered.put(as_sent, &body);
            }
            Ok(body.answer(&parts.headers))
        }
    }
}

enum Shown {
    /// The client has it: 304.
    Held(Response),
    Body(Arc<Rendered>),
}

/// Renders the answer, unless the client names its tag: the tag follows from the board's version.
fn render(
    api: &Api,
    slot: &Slot,
    query: &BoardQuery,
    canonical: &str,
    headers: &HeaderMap,
) -> Result<Shown, Problem> {
    let pulse = slot.pulse();
    let version = pulse.version();
    let shown = slot.read(|view| {
        let View::Board(board) = view else { return Err(read::unknown_cell(slot.key())) };
        let tag = tag(api, board, canonical);
        if tag.is_named_by(headers) {
            return Ok(Shown::Held(tag.answer(headers, JSON, Bytes::new())));
        }
        let body = leaderboard_body(board, api.inner().log, query).map_err(problem_of_board)?;
        Ok(Shown::Body(Arc::new(Rendered::new(body, tag, Arc::clone(pulse), version))))
    });
    // It was readable when it was handed out; it went in between only if the store lost it.
    shown.unwrap_or_else(|| Err(read::unknown_cell(slot.key())))
}

/// Everything that the bytes depend on, so equal tags mean equal bytes.
fn tag(api: &Api, board: &Board, canonical: &str) -> ETag {
    let log = api.inner().log;
    let applied = board.head().map(|head| head.applied);
    let position = log.token(board.key().source(log.partitions), applied);
    let version = format!("{FORM}.{GENERATION}.{FOLD_VERSION}.{position}.{}{canonical}", log.id);
    ETag::of_bytes(version.as_bytes())
}

fn problem_of_board(error: BoardError) -> Problem {
    match &error {
        BoardError::Undefined(cell) => read::unknown_cell(cell),
        BoardError::UnknownAgent { .. } => Problem::new(Code::UnknownAgent, error.to_string()),
        BoardError::OtherSystem { .. } => invalid("system", &format!("does not fit: {error}")),
    }
}

fn read_query(parameters: &Parameters) -> Result<BoardQuery, Problem> {
    let mut query = BoardQuery::of(read::cell(parameters)?);
    query.window = read_window(parameters, &query)?;
    let limit = parameters.number("limit", 1..=LIMIT_MAX as u64)?.map(|limit| limit as usize);
    check_limit(limit, &query.window)?;
    query.limit = limit.unwrap_or(LIMIT_DEFAULT);
    query.ties = parameters.read("ties", read_ties)?.unwrap_or_default();
    query.system = parameters.one("system")?.map(str::to_owned);
    if query.system.as_ref().is_some_and(|system| system.bytes().any(|b| b.is_ascii_control())) {
        return Err(invalid("system", "is no name of a rating system"));
    }
    let known = query.fields_known();
    let fields = parameters.read("fields", |names| Fields::of(names.split(','), known))?;
    query.fields = fields.unwrap_or(Fields::ALL);
    Ok(query)
}

fn read_ties(text: &str) -> Result<Ties, &'static str> {
    match text {
        "competition" => Ok(Ties::Competition),
        "dense" => Ok(Ties::Dense),
        "ordinal" => Ok(Ties::Ordinal),
        _ => Err("must be competition, dense or ordinal"),
    }
}

/// At most one of the ways to say where.
fn read_window(parameters: &Parameters, query: &BoardQuery) -> Result<Window, Problem> {
    let given = ["cursor", "rank_from", "around", "agent"]
        .into_iter()
        .filter(|name| parameters.all(name).next().is_some());
    let given: Vec<&'static str> = given.collect();
    if let [first, second, ..] = given.as_slice() {
        return Err(invalid(second, &format!("cannot stand beside `{first}`")));
    }
    let span = parameters.number("span", 0..=SPAN_MAX as u64)?;
    if span.is_some() && given != ["around"] {
        return Err(invalid("span", "needs `around`"));
    }
    let cell = &query.cell;
    if let Some(window) = parameters.read("cursor", |cursor| Window::after_cursor(cell, cursor))? {
        return Ok(window);
    }
    if let Some(rank) = parameters.number("rank_from", 1..=u64::from(u32::MAX))? {
        return Ok(Window::FromRank(rank as usize));
    }
    if let Some(agent) = parameters.read("around", |id| AgentId::new(id))? {
        let span = span.map_or(SPAN_DEFAULT, |span| span as usize);
        return Ok(Window::Around { agent, span });
    }
    let agents = parameters
        .all("agent")
        .map(|id| AgentId::new(id).map_err(|error| invalid("agent", &format!("{id:?} {error}"))));
    let agents: Vec<AgentId> = agents.collect::<Result<_, _>>()?;
    Ok(if agents.is_empty() { Window::Top } else { Window::Agents(agents) })
}

/// A limit that would cut what was named is a mistake.
fn check_limit(limit: Option<usize>, window: &Window) -> Result<(), Problem> {
    let (needed, name) = match window {
        Window::Around { span, .. } => (2 * span + 1, "span"),
        Window::Agents(agents) => (agents.len(), "agent"),
        _ => return Ok(()),
    };
    match limit {
        Some(limit) if limit < needed => {
            let what = format!("is less than the {needed} entries that `{name}` asks for");
            Err(invalid("limit", &what))
        }
        _ => Ok(()),
    }
}
