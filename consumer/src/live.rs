//! One cell in memory: its state, what it changed since the last flush, and what a flush under way
//! carries.

use std::collections::BTreeSet;

use agon_projections::row::SubmissionRow;
use agon_projections::{
    Applied, Cell, CellFlush, CellKey, Known, Outcome, Reason, Rejection, Row, RowKey,
};

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
    /// Which load of the partition brought it.
    pub(crate) load: u64,
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
    /// The cell holds what became of it already.
    Replayed(Past),
}

/// What became of an event when the cell was at it, as far as the rows beside the cell tell.
pub(crate) enum Past {
    /// It took effect.
    Counted,
    /// It said what had been said.
    Duplicate,
    /// It did not count. Its dead letter is stored; for a conflict it can be told again.
    Rejected(Option<Rejection>),
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
            load: 0,
            weighed: 0,
        }
    }

    /// Takes in the filter over what was stored when it was loaded.
    pub(crate) fn warm(&mut self, before: Seen) {
        self.seen.warm(before);
    }

    /// Whether this row may be in the store and is nowhere in memory.
    pub(crate) fn lacks(&self, key: &RowKey) -> bool {
        let is_asked = self.cell.asks_for(key) && self.seen.may_contain(key);
        is_asked && !self.dirty.holds(key) && !self.in_flight.holds(key)
    }

    /// Whether the cell holds what became of this record already. A store that keeps cell and
    /// progress apart may hold a cell that is ahead.
    pub(crate) fn holds(&self, offset: u64) -> bool {
        #[cfg(feature = "controls")]
        if crate::controls::is_broken("no_replay_skip") {
            return false;
        }
        self.cell.applied().is_some_and(|applied| offset <= applied)
    }

    /// Counts a record that could not even be read, where the cell counts such. Whether it did.
    pub(crate) fn reject_unread(&mut self, offset: u64) -> bool {
        let is_new = !self.holds(offset);
        if is_new {
            self.cell.reject_unread(offset);
        }
        is_new
    }

    /// Folds one event, or says what became of it when the cell was at it.
    pub(crate) fn step(&mut self, offset: u64, told: &Told, found: &Found) -> Folded {
        let near = [&self.dirty, &self.in_flight];
        let known = Layers { cell: &told.cell, near, found };
        if self.holds(offset) {
            return Folded::Replayed(past(offset, told, &known));
        }
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

    /// Whether a stored submission is ahead of this cell, which holds every change to it that was
    /// not in memory: then somebody else stored it.
    pub(crate) fn is_overtaken(&self, submission: &SubmissionRow) -> bool {
        Some(submission.ver) > self.cell.applied()
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

/// Where an identity took effect tells what became of an event that carries it.
fn past(offset: u64, told: &Told, known: &dyn Known) -> Past {
    let Some(first) = known.first_seen(told.marks.identity).filter(|first| first.offset <= offset)
    else {
        return Past::Rejected(None);
    };
    if first.offset == offset {
        return Past::Counted;
    }
    if first.content == told.marks.content {
        return Past::Duplicate;
    }
    Past::Rejected(Some(conflict(first.offset)))
}

/// As the fold says it.
fn conflict(first: u64) -> Rejection {
    let detail = format!("offset {first} says otherwise under the same identity");
    Rejection::new(Reason::ConflictingDuplicate, detail)
}
