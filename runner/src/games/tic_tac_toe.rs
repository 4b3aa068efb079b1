//! Tic-tac-toe: three in a line on three by three cells, numbered by rows from 0 to 8.

use super::{Game, IllegalMove, Move, Moves, Outcome, Side};

/// All nine cells.
const BOARD: u16 = 0b111_111_111;

/// Rows, columns, diagonals, as sets of cells.
pub(crate) const LINES: [u16; 8] = [
    0b000_000_111,
    0b000_111_000,
    0b111_000_000,
    0b001_001_001,
    0b010_010_010,
    0b100_100_100,
    0b100_010_001,
    0b001_010_100,
];

/// A position: one set of cells for each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TicTacToe {
    // Invariant: disjoint, and first has as many cells as second, or one more.
    first: u16,
    second: u16,
}

impl TicTacToe {
    /// The cells that a side holds, one bit a cell.
    pub fn cells(&self, side: Side) -> u16 {
        match side {
            Side::First => self.first,
            Side::Second => self.second,
        }
    }

    fn free(&self) -> u16 {
        BOARD & !(self.first | self.second)
    }
}

fn has_line(cells: u16) -> bool {
    LINES.iter().any(|line| cells & line == *line)
}

impl Game for TicTacToe {
    const ID: &'static str = "tic-tac-toe";

    fn start() -> Self {
        Self { first: 0, second: 0 }
    }

    fn plies(&self) -> u32 {
        (self.first | self.second).count_ones()
    }

    fn outcome(&self) -> Outcome {
        // Only the side that moved last can have completed a line.
        let last = self.to_move().other();
        if has_line(self.cells(last)) {
            Outcome::Won(last)
        } else if self.free() == 0 {
            Outcome::Draw
        } else {
            Outcome::Ongoing
        }
    }

    fn legal_moves(&self) -> Moves {
        match self.outcome() {
            Outcome::Ongoing => Moves::from_bits(self.free()),
            Outcome::Draw | Outcome::Won(_) => Moves::default(),
        }
    }

    fn play(&self, mv: Move) -> Result<Self, IllegalMove> {
        if !self.legal_moves().contains(mv) {
            return Err(IllegalMove { game: Self::ID, mv, ply: self.plies() });
        }
        let mut next = *self;
        match self.to_move() {
            Side::First => next.first |= 1 << mv,
            Side::Second => next.second |= 1 << mv,
        }
        Ok(next)
    }

    fn winning_moves(&self, side: Side) -> Moves {
        let cells = self.cells(side);
        self.legal_moves().into_iter().filter(|mv| has_line(cells | 1 << mv)).collect()
    }
}
