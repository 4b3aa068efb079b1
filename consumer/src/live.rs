//! One cell in memory: its state, what it changed since the last flush, and what a flush under way
//! carries.

use std::collections::BTreeSet;

use agon_projections::{Applied, Cell, CellFlush, CellKey, Outcome, Rejection, Row, RowKey};

use crate::decoded::Told;
use crate::overlay::{Found, Layers, Overlay};
use crate::seen::Seen;

/// Bytes that count as one slot of memory: an entrant with its place in the map.
const SLOT_BYTES: usize = 128;
/// What a cell costs beside its entrants and its filter, in slots.
const CELL_SLOTS: usize = 8;

/// A cell in memory.
pub(crate) struct Live {
    pub(crate) cell: Cell,
    /// Its `applied` at the last flush handed out.
    flushed: Applied,
    seen: Seen,
    touched: BTreeSet<u32>,
    side: Vec<Row>,
    dirty: Overlay,
    in_flight: Overlay,
    /// Whether a record came to it since the last flush.
    pub(crate) is_visited: bool,
    /// What it weighed when it was last asked.
    weighed: usize,
}

/// What became of one event in its cell.
pub(crate) enum Folded {
    /// It took effect and left so many rows to flush.
    Counted(usize),
    /// It said what had been said.
    Duplicate,
    /// It does not count.
    Rejected(Rejection),
}

impl Live {
    /// A cell as it is stored; `seen` knows every row of it that events ask for.
    pub(crate) fn new(cell: Cell, seen: Seen) -> Live {
        Live {
            flushed: cell.applied(),
            cell,
            seen,
            touched: BTreeSet::new(),
            side: Vec::new(),
            dirty: Overlay::default(),
            in_flight: Overlay::default(),
            is_visited: false,
            weighed: 0,
        }
    }

    /// Whether this row may be in the store and is nowhere in memory.
    pub(crate) fn lacks(&self, key: &RowKey) -> bool {
        self.seen.may_contain(key) && !self.dirty.holds(key) && !self.in_flight.holds(key)
    }

    /// Folds one event.
    pub(crate) fn step(&mut self, offset: u64, told: &Told, found: &Found) -> Folded {
        let near = [&self.dirty, &self.in_flight];
        let known = Layers { cell: &told.cell, near, found };
        match self.cell.step_marked(offset, &told.event, &told.marks, &known) {
            Outcome::Counted(effects) => {
                let mut rows = 0;
                for row in effects.rows {
                    rows += usize::from(!self.dirty.holds(&row.key));
                    self.dirty.remember(&row);
                    self.seen.insert(&row.key);
                    // Only its newest state is flushed, out of the overlay.
                    if !matches!(row.key, RowKey::Submission(..)) {
                        self.side.push(row);
                    }
                }
                for slot in effects.touched {
                    rows += usize::from(self.touched.insert(slot));
                }
                Folded::Counted(rows)
            }
            Outcome::Duplicate(_) => Folded::Duplicate,
            Outcome::Rejected(rejection) => Folded::Rejected(rejection),
        }
    }

    /// What changed since the last flush, if anything did; it is in flight from now on.
    pub(crate) fn take(&mut self, key: &CellKey) -> Option<CellFlush> {
        self.is_visited = false;
        let from = self.flushed;
        let to = self.cell.applied().filter(|_| !self.is_clean())?;
        let touched = std::mem::take(&mut self.touched);
        let entrants = touched.into_iter().map(|slot| self.cell.row(slot));
        let own = self.cell.head_row().into_iter().chain(entrants).collect();
        let mut side = std::mem::take(&mut self.side);
        side.extend(self.dirty.submissions(key));
        self.in_flight = std::mem::take(&mut self.dirty);
        self.flushed = Some(to);
        Some(CellFlush { key: key.clone(), from, to, own, side })
    }

    /// What was in flight is stored.
    pub(crate) fn landed(&mut self) {
        self.in_flight = Overlay::default();
    }

    /// Whether every change was handed out.
    pub(crate) fn is_clean(&self) -> bool {
        self.flushed == self.cell.applied()
    }

    /// What it holds in memory, in slots, and what it held when last asked.
    pub(crate) fn weigh(&mut self) -> (usize, usize) {
        let filter = self.seen.size_bytes() / SLOT_BYTES;
        let now = CELL_SLOTS + self.cell.slots() as usize + filter;
        (now, std::mem::replace(&mut self.weighed, now))
    }
}
