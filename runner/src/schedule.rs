//! Who meets whom, and the match that comes of it. A pure sequence: the seed of a run gives every
//! pairing, every game and every id, however often it is asked again.

use crate::agents::{Agent, ROSTER};
use crate::arena::{Played, play_game};
use crate::dice::{dice, mix};
use crate::games::{ConnectFour, Game, IllegalMove, Side, TicTacToe};
use rand::seq::SliceRandom;
use serde::Serialize;

/// The games of the league, each an environment of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Tic-tac-toe.
    TicTacToe,
    /// Connect-four.
    ConnectFour,
}

/// All games of the league.
pub const TABLES: [Table; 2] = [Table::TicTacToe, Table::ConnectFour];

impl Table {
    /// The id of the environment.
    pub fn environment(self) -> &'static str {
        match self {
            Self::TicTacToe => TicTacToe::ID,
            Self::ConnectFour => ConnectFour::ID,
        }
    }
}

/// The name under which one run of the league sends: its ids begin with it.
pub fn run_name(seed: u64) -> String {
    format!("demo-{seed:016x}")
}

/// A match that is to be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixture {
    /// The seed of the run.
    pub run_seed: u64,
    /// The number of the match in its run, from 0.
    pub number: u64,
    /// What is played.
    pub table: Table,
    /// Who opens.
    pub first: Agent,
    /// Who answers.
    pub second: Agent,
}

/// A match as `POST /matches` takes it. Moves go along, so that anybody can play it over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MatchBody {
    match_id: String,
    environment: &'static str,
    players: [Player; 2],
    context: Context,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Player {
    agent: &'static str,
    placement: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Context {
    first_to_move: &'static str,
    /// One digit a move.
    moves: String,
}

impl MatchBody {
    /// The id, the same at every attempt to deliver the match.
    pub fn match_id(&self) -> &str {
        &self.match_id
    }
}

impl Fixture {
    /// Plays the match. Takes up to tens of milliseconds; belongs on a blocking thread.
    ///
    /// # Errors
    /// [`IllegalMove`] when an agent makes one; no built-in agent does.
    pub fn play(&self) -> Result<MatchBody, IllegalMove> {
        let Self { first, second, .. } = self;
        let seed = mix(self.run_seed, self.number);
        let Played { winner, moves } = match self.table {
            Table::TicTacToe => play_game::<TicTacToe>(first, second, seed)?,
            Table::ConnectFour => play_game::<ConnectFour>(first, second, seed)?,
        };
        let placement = |side: Side| if winner.is_none_or(|winner| winner == side) { 1 } else { 2 };
        Ok(MatchBody {
            match_id: format!("{}-{:06}", run_name(self.run_seed), self.number),
            environment: self.table.environment(),
            players: [
                Player { agent: first.name, placement: placement(Side::First) },
                Player { agent: second.name, placement: placement(Side::Second) },
            ],
            context: Context {
                first_to_move: first.name,
                moves: moves.iter().map(ToString::to_string).collect(),
            },
        })
    }
}

/// An endless round-robin. A round has every pair once at every game, shuffled; from round to
/// round a pair changes sides.
#[derive(Clone, Debug)]
pub struct Schedule {
    seed: u64,
    rounds: u64,
    numbers: u64,
    // What is left of the round, last first; never more than one round.
    pending: Vec<(Table, Agent, Agent)>,
}

impl Schedule {
    /// The schedule of a run.
    pub fn new(seed: u64) -> Self {
        Self { seed, rounds: 0, numbers: 0, pending: Vec::new() }
    }

    /// How many fixtures were handed out.
    pub fn handed_out(&self) -> u64 {
        self.numbers
    }

    /// The next so many fixtures.
    pub fn next_batch(&mut self, count: u64) -> Vec<Fixture> {
        (0..count).filter_map(|_| self.next()).collect()
    }

    fn draw_round(&mut self) {
        for table in TABLES {
            for (i, a) in ROSTER.iter().enumerate() {
                for (j, b) in ROSTER.iter().enumerate().skip(i + 1) {
                    // Without i + j the weaker one of each pair would open the first round.
                    let is_swapped = (self.rounds + (i + j) as u64) % 2 == 1;
                    let (first, second) = if is_swapped { (b, a) } else { (a, b) };
                    self.pending.push((table, *first, *second));
                }
            }
        }
        self.pending.shuffle(&mut dice(self.seed, self.rounds));
        self.rounds += 1;
    }
}

impl Iterator for Schedule {
    type Item = Fixture;

    fn next(&mut self) -> Option<Fixture> {
        if self.pending.is_empty() {
            self.draw_round();
        }
        let (table, first, second) = self.pending.pop()?;
        let number = self.numbers;
        self.numbers += 1;
        Some(Fixture { run_seed: self.seed, number, table, first, second })
    }
}
