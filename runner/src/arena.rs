//! One game between two agents: pure, and the same again for the same seed.

use crate::agents::{Agent, Insight};
use crate::dice::dice;
use crate::games::{IllegalMove, Move, Outcome, Side};

/// A game that was played to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// Who won, or nobody.
    pub winner: Option<Side>,
    /// Every move, in order; the first side's come first, third, …
    pub moves: Vec<Move>,
}

/// Plays one game. Each side has dice of its own, so that what one draws does not change the
/// other's.
///
/// # Errors
/// [`IllegalMove`] when an agent makes one; no built-in agent does.
pub fn play_game<G: Insight>(
    first: &Agent,
    second: &Agent,
    seed: u64,
) -> Result<Played, IllegalMove> {
    let mut first_dice = dice(seed, 1);
    let mut second_dice = dice(seed, 2);
    let (mut game, mut moves) = (G::start(), Vec::new());
    loop {
        let choice = match game.to_move() {
            Side::First => first.choose(&game, &mut first_dice),
            Side::Second => second.choose(&game, &mut second_dice),
        };
        // An agent answers nothing exactly when there is no legal move.
        let Some(choice) = choice else { break };
        game = game.play(choice.mv)?;
        moves.push(choice.mv);
    }
    let winner = match game.outcome() {
        Outcome::Won(side) => Some(side),
        Outcome::Draw | Outcome::Ongoing => None,
    };
    Ok(Played { winner, moves })
}
