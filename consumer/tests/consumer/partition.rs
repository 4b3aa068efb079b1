//! The pure state of one partition: however records are grouped, flushed, lost and loaded again,
//! the rows are those of the sequential fold.

use std::collections::BTreeSet;
use std::sync::Arc;

use agon_consumer::decoded::decode;
use agon_consumer::partition::{PartitionFold, Verdict, progress};
use agon_consumer::seen::Seen;
use agon_ports::LogRecord;
use agon_projections::row_bytes::{Prefix, key_bytes, prefix_bytes};
use agon_projections::{CellKey, Flush, Row, RowKey, Table, span_fits};
use agon_schema::TopicPartition;
use proptest::prelude::*;

use crate::cells::is_beside;
use crate::events::{PARTITIONS, stream};
use crate::oracle::{self, Rows, check_same};

/// What happens between two batches.
#[derive(Clone, Copy, Debug)]
enum Then {
    Nothing,
    Flush,
    Land,
    LandAndDrop,
    CrashBeforeTheStore,
    CrashAfterTheStore,
    /// Of the flush under way the store has the rows beside cells, the cells of these bits, and no
    /// progress; then a crash.
    CrashAmongTheCells(u64),
}

/// A store that is a map, and one fold over it.
struct Play {
    source: TopicPartition,
    filter_items_max: usize,
    stored: Rows,
    fold: PartitionFold,
    in_flight: Option<Arc<Flush>>,
    replayed: usize,
}

impl Play {
    fn new(source: TopicPartition, filter_items_max: usize) -> Play {
        let fold = PartitionFold::new(source, None, filter_items_max);
        let stored = Rows::new();
        Play { source, filter_items_max, stored, fold, in_flight: None, replayed: 0 }
    }

    /// The first offset that is not folded.
    fn next(&self) -> usize {
        self.fold.applied().map_or(0, |applied| applied as usize + 1)
    }

    fn row(&self, key: &RowKey) -> Option<Row> {
        let value = self.stored.get(key)?.clone();
        Some(Row { key: key.clone(), value })
    }

    fn rows_of<const N: usize>(&self, key: &CellKey, tables: [Table; N]) -> Vec<Row> {
        let prefixes = tables.map(|table| prefix_bytes(&Prefix::Cell(table, key.clone())));
        let is_of = |key: &RowKey| prefixes.iter().any(|p| key_bytes(key).starts_with(p));
        self.stored.keys().filter(|key| is_of(key)).filter_map(|key| self.row(key)).collect()
    }

    fn fold(&mut self, batch: &[LogRecord]) {
        let batch: Vec<_> = batch.iter().map(|r| decode(r.clone(), PARTITIONS)).collect();
        for key in self.fold.missing_cells(&batch) {
            let own = [Table::Heads, Table::Entrants, Table::Servers, Table::Tallies];
            let own = self.rows_of(&key, own);
            let mut seen = Seen::new(self.filter_items_max);
            let asked = [Table::FirstSeen, Table::Users, Table::Submissions];
            self.rows_of(&key, asked).iter().for_each(|row| seen.insert(&row.key));
            self.fold.load(key, own, seen);
        }
        let rows = self.fold.missing_rows(&batch).iter().map(|key| self.row(key)).collect();
        let found = agon_consumer::partition::found(rows);
        for decoded in batch {
            self.replayed += usize::from(self.fold.fold(decoded, &found) == Verdict::Replayed);
        }
    }

    fn flush(&mut self) {
        if self.in_flight.is_none() {
            self.in_flight = self.fold.take_flush();
        }
    }

    /// What a store does with the flush under way.
    fn store(&mut self) {
        let Some(flush) = self.in_flight.take() else { return };
        let stored = progress(self.row(&RowKey::Progress(self.source)));
        let applied = stored.map(|progress| progress.applied);
        assert_eq!(span_fits(applied, flush.from, flush.progress.applied), Ok(true));
        let mut keys = BTreeSet::new();
        for row in flush.rows() {
            assert!(keys.insert(row.key.clone()), "{} stands twice in one flush", row.key);
            self.stored.insert(row.key.clone(), row.value.clone());
        }
        let progress = agon_projections::row::Value::Progress(flush.progress.clone());
        self.stored.insert(RowKey::Progress(self.source), progress);
    }

    /// What a store does with the flush under way that ends among the cells.
    fn store_cells(&mut self, bits: u64) {
        let Some(flush) = self.in_flight.take() else { return };
        let mut rows: Vec<Row> = flush.rows.clone();
        for (index, cell) in flush.cells.iter().enumerate() {
            let is_stored = bits >> (index % 64) & 1 == 1;
            rows.extend(cell.side.iter().filter(|row| is_stored || is_beside(row)).cloned());
            rows.extend(cell.own.iter().filter(|_| is_stored).cloned());
        }
        self.stored.extend(rows.into_iter().map(|row| (row.key, row.value)));
    }

    fn land(&mut self) {
        if self.in_flight.is_some() {
            self.store();
            self.fold.landed();
        }
    }

    fn then(&mut self, then: Then) {
        match then {
            Then::Nothing => {}
            Then::Flush => self.flush(),
            Then::Land => self.land(),
            Then::LandAndDrop => {
                self.land();
                if self.in_flight.is_none() {
                    self.fold.drop_clean_cells();
                }
            }
            Then::CrashBeforeTheStore => self.crash(),
            Then::CrashAfterTheStore => {
                self.store();
                self.crash();
            }
            Then::CrashAmongTheCells(bits) => {
                self.flush();
                self.store_cells(bits);
                self.crash();
            }
        }
    }

    fn crash(&mut self) {
        self.in_flight = None;
        let stored = progress(self.row(&RowKey::Progress(self.source)));
        self.fold = PartitionFold::new(self.source, stored, self.filter_items_max);
    }
}

fn thens() -> impl Strategy<Value = Then> {
    prop_oneof![
        4 => Just(Then::Nothing),
        4 => Just(Then::Flush),
        3 => Just(Then::Land),
        1 => Just(Then::LandAndDrop),
        1 => Just(Then::CrashBeforeTheStore),
        1 => Just(Then::CrashAfterTheStore),
        2 => any::<u64>().prop_map(Then::CrashAmongTheCells),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn grouping_flushing_dropping_and_crashing_change_nothing(
        seed in any::<u64>(),
        filter_items_max in prop_oneof![Just(0_usize), Just(20), Just(1_000)],
        turns in prop::collection::vec((1_usize..9, thens()), 1..20),
    ) {
        let appends = stream(seed, 500);
        let mut rows = Rows::new();
        for (source, records) in oracle::partitions(&appends) {
            let mut play = Play::new(source, filter_items_max);
            for (count, then) in turns.iter().cycle().take(2_000) {
                let next = play.next();
                if next == records.len() {
                    break;
                }
                play.fold(&records[next..records.len().min(next + count)]);
                play.then(*then);
            }
            // Whatever the turns left undone.
            let next = play.next();
            play.fold(&records[next..]);
            play.land();
            play.flush();
            play.land();
            prop_assert_eq!(play.fold.dirty_rows(), 0);
            rows.append(&mut play.stored);
        }
        check_same("regrouped", &oracle::fold(&appends), &rows);
    }
}

/// Cells that are stored ahead of the progress are not folded again, whatever the flushes before
/// and after were; all of them, none, and some.
#[test]
fn what_the_stored_cells_hold_is_counted_and_not_folded_again() {
    for (seed, bits) in [(1, u64::MAX), (2, 0), (3, 0x5555_5555_5555_5555), (4, 0xf0f0_cccc)] {
        let appends = stream(seed, 1_500);
        let (mut rows, mut replayed) = (Rows::new(), 0);
        for (source, records) in oracle::partitions(&appends) {
            let mut play = Play::new(source, 1_000);
            for (first, second) in [(0.2, 0.5), (0.5, 0.9), (0.6, 0.7)] {
                let at = |share: f64| (records.len() as f64 * share) as usize;
                let next = play.next();
                play.fold(&records[next..at(first).max(next)]);
                play.flush();
                play.land();
                let next = play.next();
                play.fold(&records[next..at(second).max(next)]);
                play.then(Then::CrashAmongTheCells(bits));
            }
            for batch in records[play.next()..].chunks(7) {
                play.fold(batch);
                play.flush();
                play.land();
            }
            rows.append(&mut play.stored);
            replayed += play.replayed;
        }
        assert_eq!(replayed > 100, bits != 0, "{replayed} records replayed with {bits:x}");
        check_same(&format!("{bits:x}"), &oracle::fold(&appends), &rows);
    }
}

#[test]
fn what_cells_weigh_leaves_memory_with_them() {
    let appends = stream(5, 2_000);
    let mut slots = 0;
    for (source, records) in oracle::partitions(&appends) {
        let mut play = Play::new(source, 1_000);
        play.fold(&records);
        play.flush();
        slots += play.fold.slots();
        play.land();
        play.fold.drop_clean_cells();
        assert_eq!(play.fold.slots(), 0, "{source}");
    }
    assert!(slots > 0);
}
