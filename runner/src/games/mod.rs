//! What a game is: pure rules of two sides that move in turn, see everything and use no chance.
//! Agents, the arena and the benchmark know games only through [`Game`].

pub mod connect_four;
pub mod tic_tac_toe;

pub use connect_four::ConnectFour;
pub use tic_tac_toe::TicTacToe;

use std::fmt::Debug;

/// A move: the number of a cell (tic-tac-toe) or of a column (connect-four), from 0.
pub type Move = u8;

/// Who moves: the side that opened the game, or the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Moves at plies 1, 3, 5, …
    First,
    /// Moves at plies 2, 4, 6, …
    Second,
}

impl Side {
    /// The opponent.
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// The side that moves after so many plies.
    pub fn after(plies: u32) -> Self {
        if plies.is_multiple_of(2) { Self::First } else { Self::Second }
    }
}

/// How a game stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Somebody has to move.
    Ongoing,
    /// The board is full and nobody has a line.
    Draw,
    /// This side has a line.
    Won(Side),
}

/// A set of moves, in ascending order. Both games have fewer than 16 moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moves(u16);

impl Moves {
    /// The set whose members are the set bits.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// How many moves there are.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// No move at all.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `mv` is one of them; a number that no game uses is not.
    pub fn contains(self, mv: Move) -> bool {
        mv < 16 && self.0 & (1 << mv) != 0
    }

    /// The `n`-th move, from 0.
    pub fn nth(self, n: usize) -> Option<Move> {
        let mut left = self.0;
        for _ in 0..n.min(16) {
            left &= left.saturating_sub(1);
        }
        (left != 0).then(|| left.trailing_zeros() as Move)
    }
}

impl IntoIterator for Moves {
    type Item = Move;
    type IntoIter = MovesIter;

    fn into_iter(self) -> MovesIter {
        MovesIter(self.0)
    }
}

impl FromIterator<Move> for Moves {
    /// Collects moves; a number that no game uses is left out.
    fn from_iter<I: IntoIterator<Item = Move>>(moves: I) -> Self {
        Self(moves.into_iter().filter(|&mv| mv < 16).fold(0, |bits, mv| bits | (1 << mv)))
    }
}

/// Walks through [`Moves`].
#[derive(Clone, Debug)]
pub struct MovesIter(u16);

impl Iterator for MovesIter {
    type Item = Move;

    fn next(&mut self) -> Option<Move> {
        if self.0 == 0 {
            return None;
        }
        let mv = self.0.trailing_zeros() as Move;
        self.0 &= self.0 - 1;
        Some(mv)
    }
}

/// A move that the rules do not allow in a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("move {mv} of {game} is not legal at ply {ply}: choose one of the legal moves")]
pub struct IllegalMove {
    /// The id of the game.
    pub game: &'static str,
    /// What was tried.
    pub mv: Move,
    /// How many moves had been made before it.
    pub ply: u32,
}

/// A position with its rules. Playing gives a new position; nothing is ever changed in place.
///
/// Laws, held by tests for every game: sides alternate; `legal_moves` is empty exactly when
/// `outcome` is not `Ongoing`; `play` succeeds exactly on legal moves; a move of
/// `winning_moves(to_move)` wins at once and no other does; every game ends.
pub trait Game: Copy + Debug + Eq + Send + Sync + 'static {
    /// The id of the environment in which the game is played.
    const ID: &'static str;

    /// The position before the first move.
    fn start() -> Self;

    /// How many moves were made.
    fn plies(&self) -> u32;

    /// Whether and how the game ended.
    fn outcome(&self) -> Outcome;

    /// All moves of the side to move; none after the end.
    fn legal_moves(&self) -> Moves;

    /// The position after a move of the side to move.
    ///
    /// # Errors
    /// [`IllegalMove`] when `mv` is not one of [`Game::legal_moves`].
    fn play(&self, mv: Move) -> Result<Self, IllegalMove>;

    /// The legal moves that would complete a line for `side` if it could move now. For the side
    /// to move these win; for the other one these are the threats to be blocked.
    fn winning_moves(&self, side: Side) -> Moves;

    /// The side to move; after the end, the side that would be next.
    fn to_move(&self) -> Side {
        Side::after(self.plies())
    }

    /// Every legal move with the position it leads to.
    fn children(&self) -> impl Iterator<Item = (Move, Self)> {
        let game = *self;
        self.legal_moves().into_iter().filter_map(move |mv| Some((mv, game.play(mv).ok()?)))
    }
}
