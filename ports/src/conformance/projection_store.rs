//! The suite of [`ProjectionStore`]: flushing. Reading follows in
//! [`super::projection_store_reading`].

use std::sync::Arc;

use agon_projections::row_bytes::Prefix;
use agon_projections::{RowKey, Table, span_fits};
use agon_schema::{Topic, TopicPartition};
use async_trait::async_trait;

use super::projection_store_rows::{Chance, Model, entrants, environment, flush, keys, matches};
use super::{abandon_after, assert_refused};
use crate::{ProjectionStore, scan_all};

/// Gives the suite one store, which is empty at first.
#[async_trait]
pub trait ProjectionStoreFixture: Send {
    /// Opens the store: new and empty at the first call, the same one again at later calls.
    /// Nothing that an earlier call answered is in use any more.
    async fn open(&mut self) -> Arc<dyn ProjectionStore>;

    /// Closes the store, as the end of the process does, and opens it again.
    async fn reopen(&mut self, store: Arc<dyn ProjectionStore>) -> Arc<dyn ProjectionStore> {
        drop(store);
        self.open().await
    }

    /// Whether a flush is whole or not at all over all of its cells and the progress, as in a store
    /// with transactions; otherwise each cell is, and the progress comes last.
    fn is_atomic_over_cells(&self) -> bool {
        true
    }

    /// Opens the store as it stands when the process dies at this moment, without closing.
    async fn crash(&mut self, store: Arc<dyn ProjectionStore>) -> Arc<dyn ProjectionStore> {
        self.reopen(store).await
    }
}

/// Makes the tests that every [`ProjectionStore`] passes:
/// `projection_store_conformance!(make_fixture);`, where the function answers a
/// [`ProjectionStoreFixture`](crate::conformance::projection_store::ProjectionStoreFixture).
#[macro_export]
macro_rules! projection_store_conformance {
    ($make:expr $(, skipped_when: $is_absent:expr)?) => {
        $crate::conformance_cases! {
            projection_store_conformance,
            $make $(, skipped_when: $is_absent)?;
            projection_store::a_new_store_has_nothing,
            projection_store::a_flush_is_there_at_once_and_whole,
            projection_store::the_same_flush_again_changes_nothing,
            projection_store::a_stale_flush_changes_nothing_whatever_its_rows,
            projection_store::a_gap_is_refused_and_nothing_written,
            projection_store::an_overlap_is_refused_and_nothing_written,
            projection_store::a_row_replaces_the_one_under_its_key,
            projection_store::a_flush_without_rows_moves_the_progress_alone,
            projection_store::a_flush_of_ten_thousand_rows_is_whole,
            projection_store::partitions_do_not_disturb_each_other,
            projection_store::flushes_at_the_same_time_all_land,
            projection_store::of_equal_flushes_at_the_same_time_one_counts,
            projection_store::flushes_are_kept_over_reopen,
            projection_store::abandoned_flushes_are_whole_or_nothing,
            projection_store::flushes_before_a_crash_are_kept,
            projection_store::random_flushes_equal_a_model,
            projection_store_reading::get_answers_in_the_order_asked,
            projection_store_reading::a_prefix_has_its_rows_and_no_others,
            projection_store_reading::scans_rise_and_fall,
            projection_store_reading::pages_join_to_the_whole,
            projection_store_reading::a_page_may_start_after_a_key_without_a_row,
            projection_store_reading::offsets_are_ordered_as_numbers,
            projection_store_reading::the_longest_ids_survive,
        }
    };
}

/// Nothing is there before the first flush, and not after opening again either.
pub async fn a_new_store_has_nothing(mut fixture: impl ProjectionStoreFixture) {
    let mut store = fixture.open().await;
    for _ in 0..2 {
        Model::default().check(&*store).await;
        let asked = keys(&environment("go"), "a", matches(0), 1);
        let rows = store.get(asked.clone()).await.expect("get answers");
        assert_eq!(rows, vec![None; asked.len()]);
        store = fixture.reopen(store).await;
    }
}

/// Rows of every table and the progress are read right after the flush was answered.
pub async fn a_flush_is_there_at_once_and_whole(mut fixture: impl ProjectionStoreFixture) {
    let store = fixture.open().await;
    let mut model = Model::default();
    for n in 1..20 {
        let keys = keys(&environment("go"), &format!("a{}", n % 7), matches(3), n * 10);
        model.flush(&*store, matches(3), n * 10, keys).await;
        model.check(&*store).await;
    }
}

/// A flush that is sent again is answered well and does nothing, also after later ones.
pub async fn the_same_flush_again_changes_nothing(mut fixture: impl ProjectionStoreFixture) {
    let mut store = fixture.open().await;
    let mut model = Model::default();
    let cell = environment("go");
    let first = flush(matches(0), None, 9, entrants(&cell, 20));
    let second = flush(matches(0), Some(9), 12, entrants(&cell, 5));
    for sent in [&first, &second] {
        model.note(sent);
        for _ in 0..3 {
            store.flush(Arc::clone(sent)).await.expect("flush answers");
            model.check(&*store).await;
        }
    }
    store = fixture.reopen(store).await;
    for late in [&first, &second] {
        store.flush(Arc::clone(late)).await.expect("flush answers");
        model.check(&*store).await;
    }
}

/// A span that ends at or before the stored position is a no-op, even with rows of its own.
pub async fn a_stale_flush_changes_nothing_whatever_its_rows(
    mut fixture: impl ProjectionStoreFixture,
) {
    let store = fixture.open().await;
    let mut model = Model::default();
    let (go, other) = (environment("go"), environment("other"));
    model.flush(&*store, matches(1), 100, entrants(&go, 10)).await;
    for (from, to) in [(None, 100), (Some(50), 100), (Some(3), 4), (None, 0), (Some(100), 99)] {
        let keys = entrants(&go, 30).into_iter().chain(keys(&other, "b", matches(1), 7));
        store.flush(flush(matches(1), from, to, keys)).await.expect("a stale flush is answered");
        model.check(&*store).await;
    }
}

/// A span that starts after the stored position would leave records out.
pub async fn a_gap_is_refused_and_nothing_written(mut fixture: impl ProjectionStoreFixture) {
    let mut store = fixture.open().await;
    let mut model = Model::default();
    let cell = environment("go");
    let refused = flush(matches(0), Some(0), 5, entrants(&cell, 3));
    assert_refused(store.flush(refused).await, "a gap in an empty store");
    model.check(&*store).await;
    model.flush(&*store, matches(0), 10, entrants(&cell, 2)).await;
    for (from, to) in [(Some(11), 12), (Some(400), 500)] {
        let refused = flush(matches(0), from, to, entrants(&cell, 3));
        assert_refused(store.flush(refused).await, "a gap");
        model.check(&*store).await;
    }
    store = fixture.reopen(store).await;
    model.check(&*store).await;
    model.flush(&*store, matches(0), 11, entrants(&cell, 3)).await;
    model.check(&*store).await;
}

/// A span that starts before the stored position and ends after it would apply records twice.
pub async fn an_overlap_is_refused_and_nothing_written(mut fixture: impl ProjectionStoreFixture) {
    let mut store = fixture.open().await;
    let mut model = Model::default();
    let cell = environment("go");
    model.flush(&*store, matches(0), 10, entrants(&cell, 2)).await;
    for (from, to) in [(None, 11), (Some(0), 11), (Some(9), 500)] {
        let refused = flush(matches(0), from, to, entrants(&cell, 3));
        assert_refused(store.flush(refused).await, "an overlap");
        model.check(&*store).await;
    }
    store = fixture.reopen(store).await;
    model.check(&*store).await;
}

/// Of many versions of a row the last one stands, in scans too.
pub async fn a_row_replaces_the_one_under_its_key(mut fixture: impl ProjectionStoreFixture) {
    let mut store = fixture.open().await;
    let mut model = Model::default();
    let cell = environment("go");
    for n in 1..=50 {
        let keys = entrants(&cell, (n % 5 + 1) as usize).into_iter();
        let keys = keys.chain([RowKey::Head(cell.clone())]);
        model.flush(&*store, matches(0), n * 3, keys).await;
    }
    model.check(&*store).await;
    store = fixture.reopen(store).await;
    model.check(&*store).await;
}

/// Records that change nothing still move the progress.
pub async fn a_flush_without_rows_moves_the_progress_alone(
    mut fixture: impl ProjectionStoreFixture,
) {
    let mut store = fixture.open().await;
    let mut model = Model::default();
    for to in [0, 1, 7, 1 << 22] {
        model.flush(&*store, matches(2), to, []).await;
        model.check(&*store).await;
        store = fixture.reopen(store).await;
    }
    model.check(&*store).await;
}

/// A flush has no limit of rows below what a worker sends at most.
pub async fn a_flush_of_ten_thousand_rows_is_whole(mut fixture: impl ProjectionStoreFixture) {
    let mut store = fixture.open().await;
    let mut model = Model::default();
    model.flush(&*store, matches(0), 10_000, entrants(&environment("go"), 10_000)).await;
    model.check(&*store).await;
    model.flush(&*store, matches(0), 20_000, entrants(&environment("go"), 9_000)).await;
    store = fixture.reopen(store).await;
    model.check(&*store).await;
}

/// Each partition has a progress of its own; equal numbers in other topics are others.
pub async fn partitions_do_not_disturb_each_other(mut fixture: impl ProjectionStoreFixture) {
    let mut store = fixture.open().await;
    let mut model = Model::default();
    let other_topic = TopicPartition { topic: Topic::Submissions, partition: 0 };
    let sources = [matches(0), matches(1), other_topic, matches(256)];
    for round in 0..3 {
        for (number, source) in (1..).zip(sources) {
            let cell = environment(&format!("cell-{number}"));
            let to = round * 100 + number;
            model.flush(&*store, source, to, keys(&cell, "a", source, to)).await;
        }
        store = fixture.reopen(store).await;
        model.check(&*store).await;
    }
    let gap = flush(matches(2), Some(201), 300, []);
    assert_refused(store.flush(gap).await, "a gap in a partition that has nothing yet");
    model.check(&*store).await;
}

/// Workers flush their partitions without waiting for each other.
pub async fn flushes_at_the_same_time_all_land(mut fixture: impl ProjectionStoreFixture) {
    let store = fixture.open().await;
    let mut workers = Vec::new();
    for partition in 0..8 {
        let store = Arc::clone(&store);
        workers.push(tokio::spawn(async move {
            let cell = environment(&format!("cell-{partition}"));
            let mut own = Model::default();
            for n in 1..=10 {
                let mut written = entrants(&cell, 50);
                written.extend(keys(&cell, "b", matches(partition), n * 5));
                own.flush(&*store, matches(partition), n * 5, written).await;
                let prefix = Prefix::Cell(Table::Entrants, cell.clone());
                let stored = scan_all(&*store, prefix.clone()).await.expect("scan answers");
                assert!(stored == own.under(&prefix), "partition {partition} at {n}");
            }
            own
        }));
    }
    let mut model = Model::default();
    for worker in workers {
        model.join(worker.await.expect("worker ends"));
    }
    model.check(&*store).await;
    let store = fixture.reopen(store).await;
    model.check(&*store).await;
}

/// Two owners of a partition that send the same are both answered well.
pub async fn of_equal_flushes_at_the_same_time_one_counts(
    mut fixture: impl ProjectionStoreFixture,
) {
    let store = fixture.open().await;
    let mut model = Model::default();
    for round in 1..=10 {
        let from = model.applied(matches(0));
        let sent = flush(matches(0), from, round, entrants(&environment("go"), 100));
        let mut owners = Vec::new();
        for _ in 0..4 {
            let (store, sent) = (Arc::clone(&store), Arc::clone(&sent));
            owners.push(tokio::spawn(async move { store.flush(sent).await }));
        }
        for owner in owners {
            owner.await.expect("owner ends").expect("flush answers");
        }
        model.note(&sent);
        model.check(&*store).await;
    }
}

/// What was answered is there after the store was closed and opened, and flushing goes on.
pub async fn flushes_are_kept_over_reopen(mut fixture: impl ProjectionStoreFixture) {
    let mut store = fixture.open().await;
    let mut model = Model::default();
    for life in 1..=5 {
        let cell = environment(&format!("cell-{}", life % 2));
        for n in 0..10 {
            let (source, to) = (matches(life as u32 % 2), life * 100 + n);
            model.flush(&*store, source, to, keys(&cell, &format!("a{n}"), source, to)).await;
        }
        store = fixture.reopen(store).await;
        model.check(&*store).await;
    }
}

/// A caller that goes away in the middle leaves of each cell all or nothing, now and after the
/// process has died, and never the progress before what it vouches for; sending it again ends well.
pub async fn abandoned_flushes_are_whole_or_nothing(mut fixture: impl ProjectionStoreFixture) {
    let mut store = fixture.open().await;
    let mut model = Model::default();
    let cells = ["go", "other"].map(environment);
    for round in 1..=20_usize {
        let to = round as u64 * 10;
        let mut written = cells.each_ref().map(|cell| entrants(cell, 150)).concat();
        written.extend(keys(&cells[0], "side", matches(0), to));
        let sent = model.span(matches(0), model.applied(matches(0)), to, written);
        abandon_after(round % 5, store.flush(Arc::clone(&sent))).await;
        let crashed = round % 2 == 0;
        if crashed {
            store = fixture.crash(store).await;
        }
        let mut after = model.clone();
        after.note(&sent);
        // Without a crash the flush may go on without its caller, and land between the scans. What
        // must be there later is scanned later.
        let progress = Prefix::Table(Table::Progress);
        let stored = scan_all(&*store, progress.clone()).await.expect("scan answers");
        let is_known = stored == after.under(&progress);
        assert!(is_known || stored == model.under(&progress), "round {round}");
        for cell in &cells {
            let rows = Prefix::Cell(Table::Entrants, cell.clone());
            let stored = scan_all(&*store, rows.clone()).await.expect("scan answers");
            let is_whole = stored == after.under(&rows);
            assert!(is_whole || stored == model.under(&rows), "half of {cell} in {round}");
            assert!(is_whole || !is_known, "progress of {round} before {cell}");
            let is_cut = crashed && fixture.is_atomic_over_cells() && is_whole != is_known;
            assert!(!is_cut, "{cell} of {round} without the progress");
            for table in [Table::Submissions, Table::FirstSeen, Table::Matches, Table::History] {
                let beside = Prefix::Cell(table, cell.clone());
                let stored = scan_all(&*store, beside.clone()).await.expect("scan answers");
                let is_there = stored == after.under(&beside);
                assert!(is_there || !is_whole, "{} without {} of {round}", cell, table.name());
                assert!(is_there || stored == model.under(&beside), "half of {}", table.name());
            }
        }
        store.flush(Arc::clone(&sent)).await.expect("sending it again ends well");
        model = after;
        model.check(&*store).await;
    }
}

/// What was answered before the process died is there, with and without anything in flight.
pub async fn flushes_before_a_crash_are_kept(mut fixture: impl ProjectionStoreFixture) {
    let mut store = fixture.open().await;
    let mut model = Model::default();
    for life in 1..=5_u64 {
        for n in 1..=life {
            let to = life * 100 + n;
            let keys = keys(&environment("go"), &format!("a{n}"), matches(0), to);
            model.flush(&*store, matches(0), to, keys).await;
        }
        store = fixture.crash(store).await;
        model.check(&*store).await;
    }
}

/// Any sequence of flushes, right and wrong ones, leaves what a sorted map would hold.
pub async fn random_flushes_equal_a_model(mut fixture: impl ProjectionStoreFixture) {
    let mut store = fixture.open().await;
    let mut model = Model::default();
    let mut chance = Chance::new(20_261_121);
    let cells = ["go", "go-9", "g"].map(environment);
    let mut taken = [0; 3];
    for _ in 0..400 {
        let source = matches(chance.below(3) as u32);
        let applied = model.applied(source);
        // Mostly the next span; now and then one that starts or ends elsewhere.
        let from = match chance.below(6) {
            0 => applied.map(|applied| (applied + chance.below(7)).saturating_sub(3)),
            1 => chance.pick(&[None, Some(0), Some(40)]),
            _ => applied,
        };
        let to = from.map_or(0, |from| from + 1) + chance.below(5);
        let cell = &cells[source.partition as usize];
        let mut written = Vec::new();
        for _ in 0..chance.below(4) {
            let id = chance.pick(&["a", "ab", "b", "é"]);
            let first = from.map_or(0, |from| from + 1);
            written.extend(keys(cell, id, source, first + chance.below(to - first + 1)));
        }
        written.sort();
        written.dedup();
        let sent = model.span(source, from, to, written);
        let answer = store.flush(Arc::clone(&sent)).await;
        match span_fits(applied, from, to) {
            Ok(true) => {
                answer.expect("the next span is accepted");
                model.note(&sent);
                taken[0] += 1;
            }
            Ok(false) => {
                answer.expect("a stale flush is answered");
                taken[1] += 1;
            }
            Err(_) => {
                assert_refused(answer, "a gap or an overlap");
                taken[2] += 1;
            }
        }
        match chance.below(40) {
            0 => store = fixture.reopen(store).await,
            1 => store = fixture.crash(store).await,
            _ => {}
        }
        if chance.below(10) == 0 {
            model.check(&*store).await;
        }
    }
    model.check(&*store).await;
    assert!(taken.iter().all(|count| *count > 10), "{taken:?}");
}
