//! What is asked of a board: which part of it, and how it is shown.

use std::fmt::Write;

use agon_projections::CellKey;
use agon_projections::board::ranked::Ties;
use agon_schema::AgentId;

use super::entry::{Fields, RATING_FIELDS, SCORE_FIELDS};
use super::id_of;
use crate::cursor::{self, BadCursor};

/// Entries of an answer when nothing is said.
pub const LIMIT_DEFAULT: usize = 50;
/// Entries of an answer over HTTP at most.
pub const LIMIT_MAX: usize = 1000;
/// Entries shown on each side of an agent when nothing is said.
pub const SPAN_DEFAULT: usize = 5;
/// Entries shown on each side at most: with the agent itself they stay within [`LIMIT_MAX`].
pub const SPAN_MAX: usize = (LIMIT_MAX - 1) / 2;

/// Which part of a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Window {
    /// From the first on.
    Top,
    /// From the first whose rank is this or a later one.
    FromRank(usize),
    /// From the first below this place.
    After {
        /// The sort key of the last entry that was seen.
        sort_key: u64,
        /// Its agent.
        agent: AgentId,
    },
    /// An agent and so many on each side of it.
    Around {
        /// Whom.
        agent: AgentId,
        /// How many.
        span: usize,
    },
    /// Just these, as far as they stand on the board.
    Agents(Vec<AgentId>),
}

/// What is asked of one board. [`BoardQuery::of`] asks for its top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardQuery {
    /// Which board: an environment or a benchmark.
    pub cell: CellKey,
    /// Which part.
    pub window: Window,
    /// Entries at most.
    pub limit: usize,
    /// How equal ones are numbered.
    pub ties: Ties,
    /// The rating system that the caller expects.
    pub system: Option<String>,
    pub(crate) fields: Fields,
}

impl BoardQuery {
    /// The top of a board, with all fields.
    pub fn of(cell: CellKey) -> BoardQuery {
        BoardQuery {
            cell,
            window: Window::Top,
            limit: LIMIT_DEFAULT,
            ties: Ties::Competition,
            system: None,
            fields: Fields::ALL,
        }
    }

    /// The fields that entries of this board can have.
    pub(crate) fn fields_known(&self) -> &'static [&'static str] {
        match self.cell {
            CellKey::Benchmark(_) => &SCORE_FIELDS,
            CellKey::Environment(_) | CellKey::Stream(_) => &RATING_FIELDS,
        }
    }

    /// One text for all ways of asking the same. It holds a line break, which no query as sent
    /// can, so it is never taken for one.
    pub(crate) fn canonical(&self) -> String {
        let mut text = format!("\n{} {}", self.cell.kind(), id_of(&self.cell));
        // Writing to a String cannot fail; ids hold no control characters.
        let _ = match &self.window {
            Window::Top => write!(text, "\ntop"),
            Window::FromRank(rank) => write!(text, "\nrank {rank}"),
            Window::After { sort_key, agent } => write!(text, "\nafter {sort_key} {agent}"),
            Window::Around { agent, span } => write!(text, "\naround {span} {agent}"),
            Window::Agents(agents) => {
                agents.iter().try_for_each(|agent| write!(text, "\nagent {agent}"))
            }
        };
        let ties = match self.ties {
            Ties::Competition => 'c',
            Ties::Dense => 'd',
            Ties::Ordinal => 'o',
        };
        let system = self.system.as_deref().unwrap_or_default();
        let _ = write!(text, "\n{} {ties} {} {system}", self.limit, self.fields.bits());
        text
    }
}

/// The name of a board's list in its cursors.
fn list(cell: &CellKey) -> String {
    format!("leaderboard {cell}")
}

/// The cursor after an entry.
pub(crate) fn cursor_after(cell: &CellKey, sort_key: u64, agent: &str) -> String {
    let mut place = sort_key.to_be_bytes().to_vec();
    place.extend_from_slice(agent.as_bytes());
    cursor::encode(&list(cell), &place)
}

impl Window {
    /// The part of a board that a cursor of an earlier answer leads to.
    ///
    /// # Errors
    /// A cursor of something else, or of an earlier generation.
    pub fn after_cursor(cell: &CellKey, cursor: &str) -> Result<Window, BadCursor> {
        let place = cursor::decode(&list(cell), cursor)?;
        let (key, agent) = place.split_first_chunk::<8>().ok_or(BadCursor::Foreign)?;
        let agent = std::str::from_utf8(agent).map_err(|_| BadCursor::Foreign)?;
        let agent = AgentId::new(agent).map_err(|_| BadCursor::Foreign)?;
        Ok(Window::After { sort_key: u64::from_be_bytes(*key), agent })
    }
}

#[cfg(test)]
mod tests {
    use agon_schema::{BenchmarkId, EnvironmentId};

    use super::*;

    fn cell(id: &str) -> CellKey {
        CellKey::Environment(EnvironmentId::new(id).unwrap())
    }

    #[test]
    fn a_cursor_leads_back_to_its_place() {
        let agent = AgentId::new("Côte d'Ivoire").unwrap();
        let cursor = cursor_after(&cell("a"), 42, agent.as_str());
        let window = Window::After { sort_key: 42, agent };
        assert_eq!(Window::after_cursor(&cell("a"), &cursor), Ok(window));
        let benchmark = CellKey::Benchmark(BenchmarkId::new("a").unwrap());
        for other in [cell("b"), benchmark] {
            assert_eq!(Window::after_cursor(&other, &cursor), Err(BadCursor::Foreign));
        }
        for place in [&b""[..], &[0; 7], &[0; 8], b"12345678\xff", b"12345678 a"] {
            let forged = cursor::encode(&list(&cell("a")), place);
            assert_eq!(Window::after_cursor(&cell("a"), &forged), Err(BadCursor::Foreign));
        }
    }

    #[test]
    fn different_questions_have_different_texts() {
        let agent = |id: &str| AgentId::new(id).unwrap();
        let top = BoardQuery::of(cell("a"));
        let windows = [
            Window::FromRank(1),
            Window::Around { agent: agent("x"), span: 5 },
            Window::Around { agent: agent("5 x"), span: 5 },
            Window::After { sort_key: 5, agent: agent("x") },
            Window::Agents(vec![agent("x")]),
            Window::Agents(vec![agent("x"), agent("y")]),
            Window::Agents(vec![agent("x agent y")]),
        ];
        let mut all: Vec<BoardQuery> =
            windows.into_iter().map(|window| BoardQuery { window, ..top.clone() }).collect();
        all.push(BoardQuery { limit: 51, ..top.clone() });
        all.push(BoardQuery { ties: Ties::Dense, ..top.clone() });
        all.push(BoardQuery {
            fields: Fields::of(["rank"].into_iter(), &["rank"]).unwrap(),
            ..top.clone()
        });
        all.push(BoardQuery { system: Some("elo".to_owned()), ..top.clone() });
        all.push(BoardQuery::of(cell("b")));
        all.push(BoardQuery::of(CellKey::Benchmark(BenchmarkId::new("a").unwrap())));
        all.push(top);
        let texts: std::collections::BTreeSet<String> =
            all.iter().map(BoardQuery::canonical).collect();
        assert_eq!(texts.len(), all.len());
        assert!(texts.iter().all(|text| text.contains('\n')));
    }
}
