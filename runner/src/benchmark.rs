//! The benchmark `connect-four-tactics`: positions in which only some moves keep a forced win, or
//! avoid a forced loss. Positions come from seeded play and are solved by full search, so what is
//! right is proved and not an opinion. No clock is read: a score depends on agent and seed alone.

use crate::agents::Agent;
use crate::agents::search::{PROVEN, WIN, forced_values};
use crate::dice::{Dice, dice};
use crate::games::{ConnectFour, Game, Moves};
use rand::Rng;
use std::collections::BTreeMap;

/// The id of the benchmark.
pub const ID: &str = "connect-four-tactics";
/// The metric that ranks submissions: the share of positions solved, 0 to 1.
pub const METRIC: &str = "accuracy";

/// Forced wins and losses are looked for within so many plies.
const HORIZON_PLIES: u32 = 5;
/// Positions of each kind.
const POSITIONS_PER_KIND: usize = 12;
/// Random positions that are looked at, at most; a quarter of it is enough.
const CANDIDATES_MAX: u64 = 40_000;
/// The seed of the positions: changing it makes another benchmark, which needs another id.
const SEED: u64 = 0x0067_6f6e;

/// What a position asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Win by force, at best after so many plies (1, 3 or 5), the next move included.
    Win {
        /// Plies to the quickest win.
        plies: u32,
    },
    /// Avoid a loss that is forced within so many plies (2 or 4) after any wrong move.
    Block {
        /// Plies to the slowest such loss.
        plies: u32,
    },
}

/// All kinds of tasks; the benchmark has equally many of each.
pub const TASKS: [Task; 5] = [
    Task::Win { plies: 1 },
    Task::Win { plies: 3 },
    Task::Win { plies: 5 },
    Task::Block { plies: 2 },
    Task::Block { plies: 4 },
];

/// A position with its task and the moves that fulfil it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The position.
    pub game: ConnectFour,
    /// What is asked.
    pub task: Task,
    /// The moves that are right, one or two; at least two others are wrong.
    pub right: Moves,
}

/// The benchmark's positions, the same at every call.
pub fn positions() -> Vec<Position> {
    let mut positions = Vec::new();
    for candidate in 0..CANDIDATES_MAX {
        let mut dice = dice(SEED, candidate);
        let Some(position) = set_task(random_position(&mut dice)) else { continue };
        let alike = positions.iter().filter(|other: &&Position| other.task == position.task);
        if alike.count() < POSITIONS_PER_KIND {
            positions.push(position);
        }
        if positions.len() == POSITIONS_PER_KIND * TASKS.len() {
            break;
        }
    }
    positions.sort_by_key(|position| position.task);
    positions
}

/// A position after 8 to 23 random plies, or at the end of a game that was shorter.
fn random_position(dice: &mut Dice) -> ConnectFour {
    let plies = dice.random_range(8..24);
    let mut game = ConnectFour::start();
    while game.plies() < plies {
        let legal = game.legal_moves();
        let mv = legal.nth(dice.random_range(0..legal.len().max(1)));
        let Some(Ok(next)) = mv.map(|mv| game.play(mv)) else { break };
        game = next;
    }
    game
}

/// Solves a position; `None` when no task lies in it that tells good moves from bad ones.
fn set_task(game: ConnectFour) -> Option<Position> {
    let values = forced_values(&game, HORIZON_PLIES);
    // A search of this depth proves some longer lines as well; these do not count.
    let plies_to_end = |value: i32| {
        let plies = (WIN - value.abs()) as u32;
        (value.abs() > PROVEN && plies <= HORIZON_PLIES).then_some(plies)
    };
    let wins: Moves = values
        .iter()
        .filter(|(_, value)| *value > 0 && plies_to_end(*value).is_some())
        .map(|&(mv, _)| mv)
        .collect();
    let (task, right) = if wins.is_empty() {
        let losses = values.iter().filter(|(_, value)| *value < 0);
        let lost_after = losses.clone().filter_map(|(_, value)| plies_to_end(*value));
        let safe = values.iter().filter(|(_, value)| *value > 0 || plies_to_end(*value).is_none());
        let right = safe.map(|&(mv, _)| mv).collect();
        (Task::Block { plies: lost_after.max()? }, right)
    } else {
        let quickest = values.iter().map(|&(_, value)| value).max()?;
        (Task::Win { plies: plies_to_end(quickest)? }, wins)
    };
    let is_telling = (1..=2).contains(&right.len()) && values.len() >= right.len() + 2;
    is_telling.then_some(Position { game, task, right })
}

/// What an agent reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scorecard {
    /// Positions answered.
    pub positions: u32,
    /// Positions answered with a right move.
    pub solved: u32,
    /// Of these, forced wins.
    pub wins_solved: u32,
    /// Of these, blocks.
    pub blocks_solved: u32,
    /// Positions that the agent looked at, over all answers.
    pub nodes: u64,
}

impl Scorecard {
    /// The share of positions solved, 0 to 1; 0 when there was none.
    pub fn accuracy(&self) -> f64 {
        f64::from(self.solved) / f64::from(self.positions.max(1))
    }

    /// All metrics, as a submission carries them.
    pub fn metrics(&self) -> BTreeMap<&'static str, f64> {
        BTreeMap::from([
            (METRIC, self.accuracy()),
            ("positions", f64::from(self.positions)),
            ("solved", f64::from(self.solved)),
            ("wins_solved", f64::from(self.wins_solved)),
            ("blocks_solved", f64::from(self.blocks_solved)),
            ("nodes", self.nodes as f64),
        ])
    }
}

/// Asks the agent for one move in each position.
pub fn score(agent: &Agent, positions: &[Position], seed: u64) -> Scorecard {
    let mut card = Scorecard::default();
    for (number, position) in (0..).zip(positions) {
        card.positions += 1;
        let Some(choice) = agent.choose(&position.game, &mut dice(seed, number)) else { continue };
        card.nodes += choice.nodes;
        if position.right.contains(choice.mv) {
            card.solved += 1;
            match position.task {
                Task::Win { .. } => card.wins_solved += 1,
                Task::Block { .. } => card.blocks_solved += 1,
            }
        }
    }
    card
}
