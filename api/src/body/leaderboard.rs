//! The body of GET /leaderboard.

use agon_projections::CellKey;
use agon_projections::board::ranked::Ties;
use agon_projections::board::{Board, Entry};
use agon_projections::row::{Head, HeadDetail};
use agon_schema::event::Direction;
use agon_schema::{AgentId, BenchmarkId, EnvironmentId};
use serde::Serialize;
use thiserror::Error;

use super::entry::Line;
use super::query::{BoardQuery, Window, cursor_after};
use super::to_json;
use crate::config::{AsOf, LogIdentity};

/// Why a board cannot answer a query.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BoardError {
    /// Nothing defines it.
    #[error("{0} is not defined")]
    Undefined(CellKey),
    /// The agent that was asked for is not on it.
    #[error("agent {agent:?} is not on the board of {cell}")]
    UnknownAgent {
        /// Whose board.
        cell: CellKey,
        /// Who was asked for.
        agent: AgentId,
    },
    /// It is rated by another system than the caller expects.
    #[error("the board is ranked by {has}, not by {asked:?}")]
    OtherSystem {
        /// What it is ranked by.
        has: String,
        /// What was asked for.
        asked: String,
    },
}

#[derive(Serialize)]
struct Body<'a> {
    board: Name<'a>,
    total: usize,
    as_of: AsOf,
    entries: Vec<Line<'a>>,
    next_cursor: Option<String>,
}

/// Which board an answer is of.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Name<'a> {
    Environment { environment: &'a EnvironmentId, system: &'static str },
    Benchmark { benchmark: &'a BenchmarkId, metric: &'a str, direction: Direction },
}

impl Name<'_> {
    /// The name of a board with this head; none of a partition of the stream.
    pub fn of(head: &Head) -> Option<Name<'_>> {
        match &head.detail {
            HeadDetail::Environment(definition) => Some(Name::Environment {
                environment: &definition.id,
                system: definition.rating.name(),
            }),
            HeadDetail::Benchmark(definition) => Some(Name::Benchmark {
                benchmark: &definition.id,
                metric: definition.metric.as_str(),
                direction: definition.direction,
            }),
            HeadDetail::Stream(_) => None,
        }
    }
}

/// How far a board is true.
pub(crate) fn as_of(log: LogIdentity, cell: &CellKey, head: &Head) -> AsOf {
    AsOf::of(log, cell.source(log.partitions), head.applied, head.last)
}

/// The body of GET /leaderboard for this query.
///
/// # Errors
/// A board that nothing defines, an agent that is not on it, another rating system.
pub fn leaderboard_body(
    board: &Board,
    log: LogIdentity,
    query: &BoardQuery,
) -> Result<Vec<u8>, BoardError> {
    let undefined = || BoardError::Undefined(query.cell.clone());
    let head = board.head().ok_or_else(undefined)?;
    let name = Name::of(head).ok_or_else(undefined)?;
    check_system(&name, query)?;
    let (entries, next_cursor) = entries(board, query)?;
    let fields = query.fields;
    let lines = entries.into_iter().map(|entry| Line { entry, fields });
    Ok(to_json(&Body {
        board: name,
        total: board.len(),
        as_of: as_of(log, board.key(), head),
        entries: lines.collect(),
        next_cursor,
    }))
}

fn check_system(name: &Name<'_>, query: &BoardQuery) -> Result<(), BoardError> {
    let Some(asked) = &query.system else { return Ok(()) };
    let (has, fits) = match name {
        Name::Environment { system, .. } => (*system, system == asked),
        Name::Benchmark { .. } => ("the scores of a benchmark", false),
    };
    match fits {
        true => Ok(()),
        false => Err(BoardError::OtherSystem { has: has.to_owned(), asked: asked.clone() }),
    }
}

/// The entries of the window, and the cursor that goes on after them.
fn entries<'a>(
    board: &'a Board,
    query: &BoardQuery,
) -> Result<(Vec<Entry<'a>>, Option<String>), BoardError> {
    let ties = query.ties;
    let from = match &query.window {
        Window::Top => 0,
        Window::FromRank(rank) => board.ordinal_of_rank(*rank, ties),
        Window::After { sort_key, agent } => board.ordinal_after(*sort_key, agent.as_str()),
        Window::Around { agent, span } => {
            let unknown =
                || BoardError::UnknownAgent { cell: query.cell.clone(), agent: agent.clone() };
            let ordinal = board.ordinal_of(agent.as_str()).ok_or_else(unknown)?;
            let first = ordinal.saturating_sub(*span);
            let count = (ordinal - first).saturating_add(*span).saturating_add(1);
            return Ok((board.page(first, count, ties), None));
        }
        Window::Agents(agents) => return Ok((just(board, agents, ties), None)),
    };
    // One more than asked for tells whether there is more.
    let mut page = board.page(from, query.limit.saturating_add(1), ties);
    let has_more = page.len() > query.limit;
    page.truncate(query.limit);
    let last = page.last().filter(|_| has_more);
    let cursor = last.map(|entry| cursor_after(board.key(), entry.sort_key, entry.agent));
    Ok((page, cursor))
}

/// The entries of these agents in rank order, each once.
fn just<'a>(board: &'a Board, agents: &[AgentId], ties: Ties) -> Vec<Entry<'a>> {
    let mut ordinals: Vec<usize> =
        agents.iter().filter_map(|agent| board.ordinal_of(agent.as_str())).collect();
    ordinals.sort_unstable();
    ordinals.dedup();
    ordinals.into_iter().flat_map(|ordinal| board.page(ordinal, 1, ties)).collect()
}
