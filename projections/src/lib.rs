//! The folds: pure, total, the same bits everywhere. No clock, no chance, no I/O, no async, and no
//! result depends on the order of a map.
//!
//! Reading order: [`cell`] names what is folded in order, [`row`] what a fold leaves behind,
//! [`fold`] is the one step that everything goes through, with [`environment`], [`benchmark`] and
//! [`stream`] behind it; a stream's numbers of bounded size are [`sketch`] (distinct users),
//! [`frequent`] (top lists) and [`window`] (the last minute, hour, day), kept in rows by [`tally`].
//! [`flush`] is what is stored at once, [`checkpoint`] the algebra of how far it reaches,
//! [`invariants`] the laws, and [`board`] the leaderboards in memory.

pub mod benchmark;
pub mod board;
pub mod cell;
pub mod checkpoint;
pub mod elo;
pub mod environment;
pub mod flush;
pub mod fold;
pub mod frequent;
pub mod invariants;
pub mod rejection;
pub mod row;
pub mod row_bytes;
pub mod sketch;
mod slots;
pub mod stream;
pub mod sums;
pub mod tally;
pub mod window;

pub use cell::{CellKey, FOLD_VERSION, GENERATION};
pub use checkpoint::{Applied, SpanError, span_fits};
pub use flush::{CellFlush, Flush};
pub use fold::{Cell, Effects, Known, Outcome};
pub use rejection::{Reason, Rejection};
pub use row::{Row, RowKey, Table};
