//! What agents know of a game beyond its rules: which moves tend to be good, and who seems ahead.

use crate::games::tic_tac_toe::LINES;
use crate::games::{ConnectFour, Game, Move, Side, TicTacToe};

/// A game with a player's experience of it.
pub trait Insight: Game {
    /// How deep the best agent searches, in plies: as deep as a few milliseconds a game allow.
    const SEARCH_PLIES: u32;

    /// All moves, the most promising first.
    const ORDER: &'static [Move];

    /// Through how many lines the cell or column passes, at its best: more is better.
    fn weight(mv: Move) -> i32;

    /// How much better the side to move stands, without looking ahead; between -1000 and 1000,
    /// and the negative of what the other side would see.
    fn estimate(&self) -> i32;
}

impl Insight for TicTacToe {
    // The whole game: play is perfect.
    const SEARCH_PLIES: u32 = 9;
    const ORDER: &'static [Move] = &[4, 0, 2, 6, 8, 1, 3, 5, 7];

    fn weight(mv: Move) -> i32 {
        LINES.iter().filter(|&&line| line >> mv & 1 == 1).count() as i32
    }

    fn estimate(&self) -> i32 {
        let (own, other) = (self.cells(self.to_move()), self.cells(self.to_move().other()));
        let open = |cells: u16| LINES.iter().filter(|&&line| line & cells == 0).count() as i32;
        // Lines that the other side has not touched can still become ours.
        open(other) - open(own)
    }
}

/// The cells of column 0; other columns are shifts of it.
const COLUMN: u64 = 0b11_1111;

impl Insight for ConnectFour {
    const SEARCH_PLIES: u32 = 7;
    const ORDER: &'static [Move] = &[3, 2, 4, 1, 5, 0, 6];

    fn weight(mv: Move) -> i32 {
        const WEIGHTS: [i32; 7] = [3, 4, 5, 7, 5, 4, 3];
        WEIGHTS.get(usize::from(mv)).copied().unwrap_or(0)
    }

    fn estimate(&self) -> i32 {
        let worth = |side: Side| {
            let stones = self.stones(side);
            let within = |columns: u64| (stones & columns).count_ones() as i32;
            let centre = within(COLUMN << 21);
            let beside = within(COLUMN << 14 | COLUMN << 28);
            let outer = within(COLUMN << 7 | COLUMN << 35);
            // A cell that completes a line outweighs a few stones near the centre.
            let ends = self.open_ends(side).count_ones() as i32;
            12 * ends + 4 * centre + 2 * beside + outer
        };
        worth(self.to_move()) - worth(self.to_move().other())
    }
}
