//! Connect-four: four in a line on seven columns of six rows, stones fall to the lowest free row.
//!
//! Bitboards: cell (column, row) is bit `column * 7 + row`. Row 6 of each column is never set, so
//! a shift by 1, 6, 7 or 8 bits walks along a line and cannot wrap into the next column.

use super::{Game, IllegalMove, Move, Moves, Outcome, Side};

/// Columns of the board.
pub const COLUMNS: u8 = 7;
/// Rows of the board.
pub const ROWS: u8 = 6;

/// The lowest cell of each column.
const BOTTOM: u64 = 0x0000_0408_1020_4081;
/// All cells of the board: the lowest row, six times.
const BOARD: u64 = BOTTOM * 0b11_1111;
/// The steps from a cell to its neighbour on a rising, a level and a falling line.
const SLANTS: [u32; 3] = [8, 7, 6];

/// A position: one set of cells for each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectFour {
    // Invariant: disjoint, without gaps in a column, and first has as many stones as second, or
    // one more.
    first: u64,
    second: u64,
}

impl ConnectFour {
    /// The stones of a side, one bit a cell: bit `column * 7 + row`.
    pub fn stones(&self, side: Side) -> u64 {
        match side {
            Side::First => self.first,
            Side::Second => self.second,
        }
    }

    /// The free cells, reachable now or later, at which `side` would complete a line.
    pub fn open_ends(&self, side: Side) -> u64 {
        let own = self.stones(side);
        let mut ends = own << 1 & own << 2 & own << 3;
        for step in SLANTS {
            let (two, three) = (2 * step, 3 * step);
            let above = own << step & own << two;
            let below = own >> step & own >> two;
            ends |= above & (own << three | own >> step);
            ends |= below & (own << step | own >> three);
        }
        ends & BOARD & !self.occupied()
    }

    fn occupied(&self) -> u64 {
        self.first | self.second
    }

    /// The cell in which the next stone of each column lands; none for a full column.
    fn landings(&self) -> u64 {
        (self.occupied() + BOTTOM) & BOARD
    }
}

/// The columns in which at least one of the cells lies. A plain loop: it is the innermost of all
/// that the agents do, and tests run it without optimisation.
fn columns_of(cells: u64) -> Moves {
    let (mut columns, mut column) = (0, 0);
    while column < COLUMNS {
        if cells >> (column * 7) & 0b11_1111 != 0 {
            columns |= 1 << column;
        }
        column += 1;
    }
    Moves::from_bits(columns)
}

fn has_line(stones: u64) -> bool {
    [1, 6, 7, 8].into_iter().any(|step| {
        let pairs = stones & stones >> step;
        pairs & pairs >> (2 * step) != 0
    })
}

impl Game for ConnectFour {
    const ID: &'static str = "connect-four";

    fn start() -> Self {
        Self { first: 0, second: 0 }
    }

    fn plies(&self) -> u32 {
        self.occupied().count_ones()
    }

    fn outcome(&self) -> Outcome {
        // Only the side that moved last can have completed a line.
        let last = self.to_move().other();
        if has_line(self.stones(last)) {
            Outcome::Won(last)
        } else if self.occupied() == BOARD {
            Outcome::Draw
        } else {
            Outcome::Ongoing
        }
    }

    fn legal_moves(&self) -> Moves {
        match self.outcome() {
            Outcome::Ongoing => columns_of(self.landings()),
            Outcome::Draw | Outcome::Won(_) => Moves::default(),
        }
    }

    fn play(&self, mv: Move) -> Result<Self, IllegalMove> {
        let column = if mv < COLUMNS { 0b11_1111 << (mv * 7) } else { 0 };
        let stone = self.landings() & column;
        if stone == 0 || self.outcome() != Outcome::Ongoing {
            return Err(IllegalMove { game: Self::ID, mv, ply: self.plies() });
        }
        let mut next = *self;
        match self.to_move() {
            Side::First => next.first |= stone,
            Side::Second => next.second |= stone,
        }
        Ok(next)
    }

    fn winning_moves(&self, side: Side) -> Moves {
        match self.outcome() {
            Outcome::Ongoing => columns_of(self.open_ends(side) & self.landings()),
            Outcome::Draw | Outcome::Won(_) => Moves::default(),
        }
    }
}
