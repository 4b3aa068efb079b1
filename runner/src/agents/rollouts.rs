//! Flat Monte Carlo: a move is as good as the random games that begin with it.

use super::rules_of_thumb::{any_of, random};
use super::{Choice, Insight};
use crate::dice::Dice;
use crate::games::{Game, Move, Outcome, Side};

/// The move with the best result of `games_per_move` random games; equal ones are as likely.
pub(super) fn choose<G: Insight>(game: &G, games_per_move: u32, dice: &mut Dice) -> Option<Choice> {
    let mut nodes = 0;
    let mut scored: Vec<(Move, i64)> = Vec::new();
    for (mv, next) in game.children() {
        let score =
            (0..games_per_move).map(|_| rollout(next, game.to_move(), dice, &mut nodes)).sum();
        scored.push((mv, score));
    }
    let best = scored.iter().map(|&(_, score)| score).max()?;
    let ties = scored.into_iter().filter(|&(_, score)| score == best).map(|(mv, _)| mv).collect();
    Some(Choice { nodes, ..any_of(ties, dice)? })
}

/// Plays to the end at random: 1 when `side` wins, -1 when it loses, 0 for a draw.
fn rollout<G: Game>(mut game: G, side: Side, dice: &mut Dice, nodes: &mut u64) -> i64 {
    *nodes += 1;
    while let Some(Ok(next)) = random(&game, dice).map(|choice| game.play(choice.mv)) {
        *nodes += 1;
        game = next;
    }
    match game.outcome() {
        Outcome::Won(winner) if winner == side => 1,
        Outcome::Won(_) => -1,
        Outcome::Draw | Outcome::Ongoing => 0,
    }
}
