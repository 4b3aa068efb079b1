//! Agents that look no further than the board before them. Each adds one idea to the one before.

use super::{Choice, Insight};
use crate::dice::Dice;
use crate::games::{Game, Moves};
use rand::Rng;

/// Any of the moves, each as likely.
pub(super) fn any_of(moves: Moves, dice: &mut Dice) -> Option<Choice> {
    if moves.is_empty() {
        return None;
    }
    let mv = moves.nth(dice.random_range(0..moves.len()))?;
    Some(Choice { mv, nodes: 0 })
}

/// Any legal move.
pub(super) fn random<G: Game>(game: &G, dice: &mut Dice) -> Option<Choice> {
    any_of(game.legal_moves(), dice)
}

/// A winning move, else any.
pub(super) fn greedy<G: Game>(game: &G, dice: &mut Dice) -> Option<Choice> {
    any_of(game.winning_moves(game.to_move()), dice).or_else(|| random(game, dice))
}

/// A winning move, else one that blocks, else any.
pub(super) fn blocker<G: Game>(game: &G, dice: &mut Dice) -> Option<Choice> {
    win_or_block(game, dice).or_else(|| random(game, dice))
}

/// A winning move, else one that blocks, else one of the greatest weight.
pub(super) fn centre<G: Insight>(game: &G, dice: &mut Dice) -> Option<Choice> {
    win_or_block(game, dice).or_else(|| {
        let legal = game.legal_moves();
        let heaviest = legal.into_iter().map(G::weight).max()?;
        any_of(legal.into_iter().filter(|&mv| G::weight(mv) == heaviest).collect(), dice)
    })
}

fn win_or_block<G: Game>(game: &G, dice: &mut Dice) -> Option<Choice> {
    let side = game.to_move();
    any_of(game.winning_moves(side), dice)
        .or_else(|| any_of(game.winning_moves(side.other()), dice))
}
