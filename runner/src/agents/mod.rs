//! The built-in agents, from one that knows nothing to one that searches: every one plays every
//! game, and does the same again when it is given the same dice.

pub mod insight;
mod rollouts;
mod rules_of_thumb;
pub mod search;

pub use insight::Insight;

use crate::dice::Dice;
use crate::games::Move;

/// What an agent decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The move to make.
    pub mv: Move,
    /// How many positions the agent looked at beyond the one it stands in.
    pub nodes: u64,
}

/// How an agent chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Any legal move, each as likely.
    Random,
    /// Wins when one move wins, else random.
    Greedy,
    /// Wins, else blocks a win of the opponent, else random.
    Blocker,
    /// Wins, else blocks, else takes the cell through which most lines pass.
    Centre,
    /// Plays so many random games to the end after each move and takes the move that did best.
    Rollouts {
        /// Random games for each legal move.
        games_per_move: u32,
    },
    /// Alpha-beta to a fixed depth, in plies.
    Lookahead {
        /// Depth in plies, at least 1.
        plies: u32,
    },
    /// Alpha-beta as deep as the game deserves ([`Insight::SEARCH_PLIES`]).
    Searcher,
}

/// A competitor: a name under which it stands on boards, and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The agent's id.
    pub name: &'static str,
    /// How it chooses its moves.
    pub strategy: Strategy,
}

/// All built-in agents, roughly from weak to strong.
pub const ROSTER: [Agent; 8] = [
    Agent { name: "random", strategy: Strategy::Random },
    Agent { name: "greedy", strategy: Strategy::Greedy },
    Agent { name: "blocker", strategy: Strategy::Blocker },
    Agent { name: "centre", strategy: Strategy::Centre },
    Agent { name: "rollouts-10", strategy: Strategy::Rollouts { games_per_move: 10 } },
    Agent { name: "rollouts-50", strategy: Strategy::Rollouts { games_per_move: 50 } },
    Agent { name: "lookahead-2", strategy: Strategy::Lookahead { plies: 2 } },
    Agent { name: "searcher", strategy: Strategy::Searcher },
];

impl Agent {
    /// The agent's move, or `None` after the end of the game.
    pub fn choose<G: Insight>(&self, game: &G, dice: &mut Dice) -> Option<Choice> {
        match self.strategy {
            Strategy::Random => rules_of_thumb::random(game, dice),
            Strategy::Greedy => rules_of_thumb::greedy(game, dice),
            Strategy::Blocker => rules_of_thumb::blocker(game, dice),
            Strategy::Centre => rules_of_thumb::centre(game, dice),
            Strategy::Rollouts { games_per_move } => rollouts::choose(game, games_per_move, dice),
            Strategy::Lookahead { plies } => search::choose(game, plies, dice),
            Strategy::Searcher => search::choose(game, G::SEARCH_PLIES, dice),
        }
    }
}
