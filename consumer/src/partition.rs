//! The state of one partition: its cells, what they changed since the last flush, and how far it
//! is folded. Pure: it asks for rows and is given them, and hands out flushes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agon_ports::LogRecord;
use agon_projections::fold::{read, rejected_rows, wanted};
use agon_projections::row::{Counts, Progress, Value};
use agon_projections::{
    Applied, Cell, CellFlush, CellKey, Flush, Outcome, Reason, Rejection, Row, RowKey,
};
use agon_schema::record::RecordHash;
use agon_schema::{Event, Topic, TopicPartition};

use crate::overlay::{Found, Layers, Overlay};
use crate::seen::Seen;

/// A record with the event in it, or why there is none.
pub struct Decoded {
    /// As read.
    pub record: LogRecord,
    /// What it says.
    pub event: Result<Event, Rejection>,
}

/// Decodes a record of this partition.
pub fn decode(record: LogRecord, partitions: u32) -> Decoded {
    let event = read(&record.record, record.position.source, partitions);
    Decoded { record, event }
}

/// One cell in memory.
struct Live {
    cell: Cell,
    /// Its `applied` at the last flush handed out.
    flushed: Applied,
    seen: Seen,
    touched: BTreeSet<u32>,
    side: Vec<Row>,
    dirty: Overlay,
    in_flight: Overlay,
}

/// What became of one record, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It took effect in a cell of this kind.
    Counted(&'static str),
    /// It said what had been said.
    Duplicate,
    /// It became a dead letter.
    Rejected(Reason),
}

/// The fold of one partition.
pub struct PartitionFold {
    source: TopicPartition,
    filter_items_max: usize,
    flushed: Applied,
    applied: Applied,
    record_hash: RecordHash,
    appended_at_ms: i64,
    counts: Counts,
    cells: BTreeMap<CellKey, Live>,
    dead: Vec<Row>,
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
            applied,
            record_hash: progress.as_ref().map_or(RecordHash([0; 16]), |p| p.record_hash),
            appended_at_ms: 0,
            counts: progress.map_or_else(Counts::default, |progress| progress.counts),
            cells: BTreeMap::new(),
            dead: Vec::new(),
            dirty_rows: 0,
            dirty_records: 0,
        }
    }

    /// How far it is folded in memory.
    pub fn applied(&self) -> Applied {
        self.applied
    }

    /// Rows that wait for a flush.
    pub fn dirty_rows(&self) -> usize {
        self.dirty_rows
    }

    /// Records folded since the last flush.
    pub fn dirty_records(&self) -> usize {
        self.dirty_records
    }

    /// When the newest folded record was appended, in milliseconds since the epoch.
    pub fn appended_at_ms(&self) -> i64 {
        self.appended_at_ms
    }

    /// The cell that a record changes: an event's own, or the stream cell that counts rejections.
    fn cell_key(&self, decoded: &Decoded) -> Option<CellKey> {
        match &decoded.event {
            Ok(event) => Some(CellKey::of(event, self.source)),
            Err(_) if self.source.topic == Topic::RecentChange => {
                Some(CellKey::Stream(self.source.partition))
            }
            Err(_) => None,
        }
    }

    /// The cells that these records need and that are not in memory.
    pub fn missing_cells(&self, batch: &[Decoded]) -> BTreeSet<CellKey> {
        let keys = batch.iter().filter_map(|decoded| self.cell_key(decoded));
        keys.filter(|key| !self.cells.contains_key(key)).collect()
    }

    /// Takes in a cell as the store has it; `seen` are the keys of its rows that events ask for.
    /// `None` for `seen` means that they are too many, and every identity is looked up.
    pub fn load(&mut self, key: CellKey, own: Vec<Row>, seen: Option<&[RowKey]>) {
        let cell = Cell::from_rows(key.clone(), own);
        let mut filter = Seen::new(if seen.is_some() { self.filter_items_max } else { 0 });
        match seen {
            Some(keys) => keys.iter().for_each(|key| filter.insert(&Item::of(key))),
            // The first insertion over the limit of nothing makes the filter say "maybe" for ever.
            None => filter.insert(&Item::Other),
        }
        let live = Live {
            flushed: cell.applied(),
            cell,
            seen: filter,
            touched: BTreeSet::new(),
            side: Vec::new(),
            dirty: Overlay::default(),
            in_flight: Overlay::default(),
        };
        self.cells.insert(key, live);
    }

    /// The rows that the store must be asked for before these records are folded.
    pub fn missing_rows(&self, batch: &[Decoded]) -> BTreeSet<RowKey> {
        let mut keys = BTreeSet::new();
        for decoded in batch {
            let Ok(event) = &decoded.event else { continue };
            let cell = CellKey::of(event, self.source);
            let Some(live) = self.cells.get(&cell) else { continue };
            for key in wanted(&cell, event).into_iter().flatten() {
                let is_near = live.dirty.holds(&key) || live.in_flight.holds(&key);
                if !is_near && live.seen.may_contain(&Item::of(&key)) {
                    keys.insert(key);
                }
            }
        }
        keys
    }

    /// Folds one record. All cells and rows it needs were loaded.
    pub fn fold(&mut self, decoded: Decoded, found: &Found) -> Verdict {
        let offset = decoded.record.position.offset;
        debug_assert!(self.applied.is_none_or(|applied| applied + 1 == offset));
        let key = self.cell_key(&decoded);
        let verdict = match decoded.event {
            Ok(ref event) => self.fold_event(offset, event, &decoded.record, found),
            Err(ref rejection) => {
                if let Some(live) = key.and_then(|key| self.cells.get_mut(&key)) {
                    live.cell.reject_unread(offset);
                }
                self.bury(&decoded.record, rejection)
            }
        };
        self.applied = Some(offset);
        self.record_hash = decoded.record.record.hash();
        self.appended_at_ms = decoded.record.record.appended_at_ms;
        self.dirty_records += 1;
        verdict
    }

    fn fold_event(
        &mut self,
        offset: u64,
        event: &Event,
        record: &LogRecord,
        found: &Found,
    ) -> Verdict {
        let key = CellKey::of(event, self.source);
        let live = self.cells.entry(key.clone()).or_insert_with(|| Live {
            cell: Cell::new(key.clone()),
            flushed: None,
            seen: Seen::new(self.filter_items_max),
            touched: BTreeSet::new(),
            side: Vec::new(),
            dirty: Overlay::default(),
            in_flight: Overlay::default(),
        });
        let known = Layers { cell: &key, dirty: &live.dirty, in_flight: &live.in_flight, found };
        match live.cell.step(offset, event, &known) {
            Outcome::Counted(effects) => {
                for row in &effects.rows {
                    live.dirty.remember(row);
                    match Item::of(&row.key) {
                        Item::Other => {}
                        item => live.seen.insert(&item),
                    }
                }
                self.dirty_rows += effects.rows.len();
                live.side.extend(effects.rows);
                for slot in effects.touched {
                    self.dirty_rows += usize::from(live.touched.insert(slot));
                }
                self.counts.counted += 1;
                Verdict::Counted(key.kind())
            }
            Outcome::Duplicate(_) => {
                self.counts.duplicates += 1;
                Verdict::Duplicate
            }
            Outcome::Rejected(rejection) => self.bury(record, &rejection),
        }
    }

    fn bury(&mut self, record: &LogRecord, rejection: &Rejection) -> Verdict {
        let offset = record.position.offset;
        let rows = rejected_rows(&record.record, self.source, offset, rejection);
        self.dirty_rows += rows.len();
        self.dead.extend(rows);
        self.counts.rejected += 1;
        Verdict::Rejected(rejection.reason)
    }

    /// Everything since the last flush as the next one; `None` when no record was folded since.
    /// One may be under way at a time: [`PartitionFold::flushed`] ends it.
    pub fn take_flush(&mut self) -> Option<Arc<Flush>> {
        let applied = self.applied.filter(|_| self.dirty_records > 0)?;
        let mut cells = Vec::new();
        for (key, live) in &mut self.cells {
            let Some(to) = live.cell.applied().filter(|_| live.flushed != live.cell.applied())
            else {
                continue;
            };
            let touched = std::mem::take(&mut live.touched);
            let entrants = touched.into_iter().map(|slot| live.cell.row(slot));
            let own = live.cell.head_row().into_iter().chain(entrants).collect();
            let side = std::mem::take(&mut live.side);
            live.in_flight = std::mem::take(&mut live.dirty);
            cells.push(CellFlush { key: key.clone(), from: live.flushed, to, own, side });
            live.flushed = Some(to);
        }
        let progress = Progress { applied, record_hash: self.record_hash, counts: self.counts };
        let rows = std::mem::take(&mut self.dead);
        let flush = Flush { source: self.source, from: self.flushed, progress, cells, rows };
        self.flushed = Some(applied);
        self.dirty_rows = 0;
        self.dirty_records = 0;
        Some(Arc::new(flush))
    }

    /// The flush under way is in the store: what it carried can be read there.
    pub fn flushed(&mut self) {
        for live in self.cells.values_mut() {
            live.in_flight = Overlay::default();
        }
        // Nobody defined these; they only made events into dead letters.
        self.cells.retain(|_, live| live.cell.applied().is_some());
    }

    /// Entrants and servers in memory.
    pub fn slots(&self) -> usize {
        self.cells.values().map(|live| live.cell.slots() as usize).sum()
    }

    /// Lets go of cells whose every change is in the store. Call right after
    /// [`PartitionFold::flushed`], before anything else is folded.
    pub fn drop_clean_cells(&mut self) {
        self.cells.retain(|_, live| live.flushed != live.cell.applied());
    }
}

/// What the filter remembers of a key.
#[derive(Hash)]
enum Item {
    Identity([u8; 16]),
    User([u8; 16]),
    Submission(String),
    Other,
}

impl Item {
    fn of(key: &RowKey) -> Item {
        match key {
            RowKey::FirstSeen(_, identity) => Item::Identity(identity.0),
            RowKey::User(_, user) => Item::User(user.0),
            RowKey::Submission(_, id) => Item::Submission(id.to_string()),
            _ => Item::Other,
        }
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
