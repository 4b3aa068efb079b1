//! The state of one partition: its cells, what they changed since the last flush, and how far it
//! is folded. Pure: it asks for rows and is given them, and hands out flushes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use agon_ports::LogRecord;
use agon_projections::fold::{rejected_rows, wanted};
use agon_projections::row::{Counts, Progress, Value};
use agon_projections::{Applied, Cell, CellKey, Flush, Reason, Rejection, Row, RowKey};
use agon_schema::{Record, Topic, TopicPartition};

use crate::decoded::Decoded;
use crate::live::{Folded, Live, Past};
use crate::overlay::Found;
use crate::seen::Seen;

/// What became of one record, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It took effect.
    Counted,
    /// It said what had been said.
    Duplicate,
    /// It became a dead letter.
    Rejected(Reason),
    /// The stored cell held already what became of it.
    Replayed,
}

/// The fold of one partition.
pub struct PartitionFold {
    source: TopicPartition,
    filter_items_max: usize,
    /// How far the last flush handed out reaches.
    flushed: Applied,
    flushed_appended_at_ms: i64,
    applied: Applied,
    /// The newest folded record. Only a flush needs its hash.
    last: Option<Record>,
    counts: Counts,
    // Only looked up, or walked where the order does not matter.
    cells: HashMap<CellKey, Live, foldhash::fast::RandomState>,
    /// Cells that a record came to since the last flush.
    visited: Vec<CellKey>,
    in_flight: Vec<CellKey>,
    weight: usize,
    loads: u64,
    /// Dead letters and refusals. The same bytes refused again move their mark.
    dead: BTreeMap<RowKey, Value>,
    dirty_rows: usize,
    dirty_records: usize,
}

impl PartitionFold {
    /// A partition that is folded as far as `progress` says.
    pub fn new(
        source: TopicPartition,
        progress: Option<Progress>,
        filter_items_max: usize,
    ) -> PartitionFold {
        let applied = progress.as_ref().map(|progress| progress.applied);
        PartitionFold {
            source,
            filter_items_max,
            flushed: applied,
            flushed_appended_at_ms: 0,
            applied,
            last: None,
            counts: progress.map_or_else(Counts::default, |progress| progress.counts),
            cells: HashMap::default(),
            visited: Vec::new(),
            in_flight: Vec::new(),
            weight: 0,
            loads: 0,
            dead: BTreeMap::new(),
            dirty_rows: 0,
            dirty_records: 0,
        }
    }

    /// Which partition it is.
    pub fn source(&self) -> TopicPartition {
        self.source
    }

    /// How far it is folded in memory.
    pub fn applied(&self) -> Applied {
        self.applied
    }

    /// Rows that wait for a flush.
    pub fn dirty_rows(&self) -> usize {
        self.dirty_rows
    }

    /// The cell that a record changes: an event's own, or the stream cell that counts rejections.
    fn cell_of(&self, decoded: &Decoded) -> Option<CellKey> {
        match &decoded.event {
            Ok(told) => Some(told.cell.clone()),
            Err(_) => self.counting_cell(),
        }
    }

    fn counting_cell(&self) -> Option<CellKey> {
        let counts = self.source.topic == Topic::RecentChange;
        counts.then_some(CellKey::Stream(self.source.partition))
    }

    /// The cells that these records need and that are not in memory.
    pub fn missing_cells(&self, batch: &[Decoded]) -> BTreeSet<CellKey> {
        let is_missing = |decoded: &&Decoded| match &decoded.event {
            Ok(told) => !self.cells.contains_key(&told.cell),
            Err(_) => self.counting_cell().is_some_and(|key| !self.cells.contains_key(&key)),
        };
        batch.iter().filter(is_missing).filter_map(|decoded| self.cell_of(decoded)).collect()
    }

    /// Takes in a cell as the store has it: its own rows, and a filter that holds the keys of its
    /// first-seen, user and submission rows, or one that waits for them. Answers the number of this
    /// load.
    pub fn load(&mut self, key: CellKey, own: Vec<Row>, seen: Seen) -> u64 {
        let mut live = Live::new(Cell::from_rows(key.clone(), own), seen);
        self.loads += 1;
        live.load = self.loads;
        self.weight += live.weigh().0;
        self.cells.insert(key, live);
        self.loads
    }

    /// Takes in the filter that the load of this number waits for, if the cell is still that one.
    pub fn warm(&mut self, key: &CellKey, load: u64, before: Seen) {
        if let Some(live) = self.cells.get_mut(key).filter(|live| live.load == load) {
            live.warm(before);
            let (now, weighed) = live.weigh();
            self.weight = self.weight - weighed + now;
        }
    }

    /// The rows that the store must be asked for before these records are folded.
    pub fn missing_rows(&self, batch: &[Decoded]) -> BTreeSet<RowKey> {
        let mut keys = BTreeSet::new();
        for decoded in batch {
            let Ok(told) = &decoded.event else { continue };
            let Some(live) = self.cells.get(&told.cell) else { continue };
            let wanted = wanted(&told.cell, &told.event, &told.marks).into_iter().flatten();
            // What became of one that the cell holds is told by its identity alone.
            let count = if live.holds(decoded.record.position.offset) { 1 } else { usize::MAX };
            keys.extend(wanted.take(count).filter(|key| live.lacks(key)));
        }
        keys
    }

    /// The first row among these that is ahead of what was folded here: somebody else stored it,
    /// and what is in memory is no longer what the store holds.
    pub fn overtaken<'a>(&self, found: &'a Found) -> Option<&'a RowKey> {
        let is_ahead = |(key, value): &(&RowKey, &Value)| match (key, value) {
            (RowKey::Submission(cell, _), Value::Submission(submission)) => {
                self.cells.get(cell).is_some_and(|live| live.is_overtaken(submission))
            }
            _ => false,
        };
        found.iter().find(is_ahead).map(|(key, _)| key)
    }

    /// Folds one record. All cells and rows it needs were loaded.
    pub fn fold(&mut self, decoded: Decoded, found: &Found) -> Verdict {
        let Decoded { record, event } = decoded;
        let offset = record.position.offset;
        debug_assert!(self.is_next(offset));
        let folded = match event {
            Ok(told) => self.visit(&told.cell).step(offset, &told, found),
            Err(rejection) => match self.counting_cell() {
                Some(key) if !self.visit(&key).reject_unread(offset) => {
                    Folded::Replayed(Past::Rejected(Some(rejection)))
                }
                _ => Folded::Rejected(rejection),
            },
        };
        let verdict = match folded {
            Folded::Counted(rows) => {
                self.dirty_rows += rows;
                self.counts.counted += 1;
                Verdict::Counted
            }
            Folded::Duplicate => {
                self.counts.duplicates += 1;
                Verdict::Duplicate
            }
            Folded::Rejected(rejection) => {
                self.bury(&record, &rejection);
                Verdict::Rejected(rejection.reason)
            }
            Folded::Replayed(past) => {
                self.count_past(&record, past);
                Verdict::Replayed
            }
        };
        self.applied = Some(offset);
        self.last = Some(record.record);
        self.dirty_records += 1;
        verdict
    }

    /// Whether nothing lies between what is folded and this offset.
    fn is_next(&self, offset: u64) -> bool {
        #[cfg(feature = "controls")]
        if crate::controls::is_broken("resume_from_broker") {
            return true;
        }
        self.applied.map_or(0, |applied| applied + 1) == offset
    }

    /// Counts what became of a record before; progress tells of every record once.
    fn count_past(&mut self, record: &LogRecord, past: Past) {
        match past {
            Past::Counted => self.counts.counted += 1,
            Past::Duplicate => self.counts.duplicates += 1,
            // The same dead letter again, at the same place.
            Past::Rejected(Some(rejection)) => self.bury(record, &rejection),
            Past::Rejected(None) => self.counts.rejected += 1,
        }
    }

    fn visit(&mut self, key: &CellKey) -> &mut Live {
        if !self.cells.contains_key(key) {
            let seen = Seen::new(self.filter_items_max);
            self.cells.insert(key.clone(), Live::new(Cell::new(key.clone()), seen));
        }
        match self.cells.get_mut(key) {
            Some(live) => {
                if !std::mem::replace(&mut live.is_visited, true) {
                    self.visited.push(key.clone());
                }
                live
            }
            None => unreachable!("the cell was put there above"),
        }
    }

    fn bury(&mut self, record: &LogRecord, rejection: &Rejection) {
        let offset = record.position.offset;
        let rows = rejected_rows(&record.record, self.source, offset, rejection);
        for row in rows {
            self.dirty_rows += usize::from(self.dead.insert(row.key, row.value).is_none());
        }
        self.counts.rejected += 1;
    }

    /// Everything since the last flush as the next one, each key once; `None` when no record was
    /// folded since.
    /// One may be under way at a time: [`PartitionFold::landed`] ends it.
    pub fn take_flush(&mut self) -> Option<Arc<Flush>> {
        let applied = self.applied.filter(|_| self.dirty_records > 0)?;
        let last = self.last.as_ref()?;
        let (record_hash, appended_at_ms) = (last.hash(), last.appended_at_ms);
        let mut visited = std::mem::take(&mut self.visited);
        visited.sort_unstable();
        let mut cells = Vec::with_capacity(visited.len());
        for key in visited {
            let Some(live) = self.cells.get_mut(&key) else { continue };
            let (now, before) = live.weigh();
            self.weight = self.weight - before + now;
            if let Some(flush) = live.take(&key) {
                cells.push(flush);
                self.in_flight.push(key);
            } else if live.cell.applied().is_none() {
                // Nobody defined it; it only made events into dead letters.
                self.weight -= now;
                self.cells.remove(&key);
            }
        }
        let progress = Progress { applied, record_hash, counts: self.counts };
        let dead = std::mem::take(&mut self.dead);
        let rows = dead.into_iter().map(|(key, value)| Row { key, value }).collect();
        let flush = Flush { source: self.source, from: self.flushed, progress, cells, rows };
        self.flushed = Some(applied);
        self.flushed_appended_at_ms = appended_at_ms;
        self.dirty_rows = 0;
        self.dirty_records = 0;
        Some(Arc::new(flush))
    }

    /// The flush under way is in the store: what it carried can be read there. Answers when its
    /// newest record was appended, in milliseconds since the epoch.
    pub fn landed(&mut self) -> i64 {
        for key in std::mem::take(&mut self.in_flight) {
            if let Some(live) = self.cells.get_mut(&key) {
                live.landed();
            }
        }
        self.flushed_appended_at_ms
    }

    /// What its cells hold in memory, in slots: entrants and servers, with cells and filters
    /// counted by their size.
    pub fn slots(&self) -> usize {
        self.weight
    }

    /// Lets go of cells whose every change is in the store. Call right after
    /// [`PartitionFold::landed`], before anything else is folded.
    pub fn drop_clean_cells(&mut self) {
        self.cells.retain(|_, live| !live.is_clean());
        self.weight = self.cells.values_mut().map(|live| live.weigh().0).sum();
        self.visited.retain(|key| self.cells.contains_key(key));
    }
}

/// Cells that a broken member keeps for later.
#[cfg(feature = "controls")]
pub(crate) type Kept = Arc<std::sync::Mutex<BTreeMap<CellKey, Live>>>;

#[cfg(feature = "controls")]
impl PartitionFold {
    /// Hands its cells over to be kept.
    pub(crate) fn keep(&mut self, kept: &Kept) {
        if let Ok(mut kept) = kept.lock() {
            kept.extend(self.cells.drain());
        }
    }

    /// Takes the kept cells of its partition for its own.
    pub(crate) fn with_kept(mut self, kept: &Kept, partitions: u32) -> PartitionFold {
        if let Ok(mut kept) = kept.lock() {
            let is_mine = |key: &&CellKey| key.source(partitions) == self.source;
            let mine: Vec<_> = kept.keys().filter(is_mine).cloned().collect();
            for (key, mut live) in mine.into_iter().filter_map(|key| kept.remove_entry(&key)) {
                self.weight += live.weigh().0;
                self.cells.insert(key, live);
            }
        }
        self
    }
}

/// The value of a stored row under its key, for [`Found`].
pub fn found(rows: Vec<Option<Row>>) -> Found {
    rows.into_iter().flatten().map(|row| (row.key, row.value)).collect::<Found>()
}

/// The progress in a stored row.
pub fn progress(row: Option<Row>) -> Option<Progress> {
    match row.map(|row| row.value) {
        Some(Value::Progress(progress)) => Some(progress),
        _ => None,
    }
}
