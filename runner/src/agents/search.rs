//! Alpha-beta search. Values are those of the side to move; a win is worth [`WIN`] less the plies
//! it takes, so that quick wins and slow losses are preferred, and a value beyond
//! [`PROVEN`] is certain: only who wins by force within the depth has it.

use super::rules_of_thumb::any_of;
use super::{Choice, Insight};
use crate::dice::Dice;
use crate::games::{Move, Outcome};

/// The value of a won position, before the plies to the win are taken off.
pub const WIN: i32 = 10_000;
/// Values above this, or below its negative, are forced wins or losses. Estimates stay far below.
pub const PROVEN: i32 = WIN - 100;

/// The best move by a search of so many plies; equal ones are as likely.
pub(super) fn choose<G: Insight>(game: &G, plies: u32, dice: &mut Dice) -> Option<Choice> {
    let mut search = Search { estimate: G::estimate, nodes: 0 };
    let mut best = -WIN;
    let mut scored: Vec<(Move, i32)> = Vec::new();
    for &mv in G::ORDER {
        let Ok(next) = game.play(mv) else { continue };
        // One less than the best, so that a move that equals it is told from one that is worse.
        let value = -search.value(&next, plies.saturating_sub(1), 1, -WIN, 1 - best);
        best = best.max(value);
        scored.push((mv, value));
    }
    let ties = scored.into_iter().filter(|&(_, value)| value == best).map(|(mv, _)| mv).collect();
    Some(Choice { nodes: search.nodes, ..any_of(ties, dice)? })
}

/// The exact value of every legal move where a win or a loss is forced within the depth; 0 where
/// none is. The value of a win after `n` plies, the move itself included, is `WIN - n`.
pub fn forced_values<G: Insight>(game: &G, plies: u32) -> Vec<(Move, i32)> {
    let mut search = Search { estimate: |_: &G| 0, nodes: 0 };
    let depth = plies.saturating_sub(1);
    game.children().map(|(mv, next)| (mv, -search.value(&next, depth, 1, -WIN, WIN))).collect()
}

struct Search<G> {
    estimate: fn(&G) -> i32,
    nodes: u64,
}

impl<G: Insight> Search<G> {
    /// The value of `game`, `ply` plies below the root, searched `depth` plies further: exact
    /// between `alpha` and `beta`, a bound outside. Recursion is as deep as `depth`.
    fn value(&mut self, game: &G, depth: u32, ply: i32, mut alpha: i32, beta: i32) -> i32 {
        self.nodes += 1;
        match game.outcome() {
            Outcome::Won(_) => return ply - WIN,
            Outcome::Draw => return 0,
            Outcome::Ongoing => {}
        }
        // Wins and threats on the board are free to see, so the search stops or narrows here.
        let side = game.to_move();
        if !game.winning_moves(side).is_empty() {
            return WIN - (ply + 1);
        }
        let threats = game.winning_moves(side.other());
        if threats.len() > 1 {
            return ply + 2 - WIN;
        }
        if depth == 0 {
            return (self.estimate)(game);
        }
        let moves = if threats.is_empty() { game.legal_moves() } else { threats };
        let mut best = -WIN;
        for &mv in G::ORDER.iter().filter(|&&mv| moves.contains(mv)) {
            let Ok(next) = game.play(mv) else { continue };
            best = best.max(-self.value(&next, depth - 1, ply + 1, -beta, -alpha));
            alpha = alpha.max(best);
            if alpha >= beta {
                break;
            }
        }
        best
    }
}
