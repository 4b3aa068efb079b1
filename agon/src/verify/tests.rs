//! Stores as crashes and live consumers leave them: cells ahead of their partition's progress,
//! refusals of a flush that did not complete, rows that move while they are compared. All of that
//! is right; damage beside it is still named.

mod live;
mod world;

use agon_projections::row::{HistoryRow, Value};
use agon_projections::{CellKey, RowKey};
use agon_schema::{AgentId, TopicPartition};

use super::{Difference, Report, verify};
use world::{CHANGES, MATCHES, Reach, Rows, World, environment, store_of};

async fn check(world: &World, rows: &Rows) -> Report {
    verify(&world.log, &store_of(rows), &|_| {}).await.unwrap()
}

fn of(differences: &[Difference]) -> Vec<(&'static str, String)> {
    differences.iter().map(|difference| (difference.kind, difference.row.clone())).collect()
}

/// The rows with one of them in another way: exactly that is found.
async fn must_name(world: &World, rows: &Rows, kind: &'static str, key: &RowKey) {
    let report = check(world, rows).await;
    assert_eq!(of(&report.named), [(kind, key.to_string())]);
    assert_eq!(report.differences, 1);
}

/// The value with the smallest change in one field.
fn changed(value: &Value) -> Value {
    let mut value = value.clone();
    match &mut value {
        Value::Head(head) => head.counted += 1,
        Value::Rating(rating) => rating.rating_micros += 1,
        Value::Score(score) => score.sum = score.sum.next_up(),
        Value::Server(number) | Value::Since(number) => *number += 1,
        Value::FirstSeen(first) => first.content.0[15] ^= 1,
        Value::Match(row) => row.players[1].rating_after_micros -= 1,
        Value::Submission(row) => row.occurred.filled_in ^= true,
        Value::History(HistoryRow::Match { rating_before_micros, .. }) => {
            *rating_before_micros += 1;
        }
        Value::History(HistoryRow::Run { score_after, .. }) => *score_after = score_after.next_up(),
        Value::DeadLetter(letter) => letter.event_type.push('s'),
        Value::Progress(progress) => progress.counts.duplicates += 1,
        Value::Tally(tally) => tally.ver += 1,
    }
    value
}

/// In the middle of a log of three rounds, with every kind of cell ahead.
fn middle(world: &World) -> Reach {
    let mut reach = world.whole();
    reach.progress.values_mut().for_each(|applied| *applied /= 2);
    let progress = |source: TopicPartition| reach.progress[&source];
    reach.ahead = [
        (environment("go"), progress(MATCHES) + 7),
        (environment("chess"), progress(MATCHES) + 3),
        (CellKey::Stream(0), progress(CHANGES) + 4),
    ]
    .into();
    reach
}

#[tokio::test]
async fn a_whole_store_is_right_and_its_hash_is_of_the_fold() {
    let world = World::new(3).await;
    let rows = world.rows(&world.whole());
    let report = check(&world, &rows).await;
    assert_eq!((report.differences, report.rows), (0, rows.len() as u64), "{:?}", report.named);
    assert_eq!(report.cells, 4);
    let other = World::new(4).await;
    assert_ne!(check(&other, &other.rows(&other.whole())).await.hash, report.hash);
}

#[tokio::test]
async fn cells_ahead_of_their_progress_are_right() {
    let world = World::new(3).await;
    let (end, changes) = (world.end(MATCHES), world.end(CHANGES));
    for progress in (0..end).map(Some).chain([None]) {
        let next = progress.map_or(0, |progress| progress + 1);
        for (go, chess) in [(0, 0), (1, 0), (0, 4), (6, 2), (end, 1), (end, end)] {
            let to = |more: u64| (next + more).clamp(1, end) - 1;
            let mut reach = Reach::default();
            reach.progress.extend(progress.map(|progress| (MATCHES, progress)));
            reach.progress.extend(progress.map(|p| (CHANGES, p.min(changes - 1) / 2)));
            reach.ahead.insert(environment("go"), to(go));
            reach.ahead.insert(environment("chess"), to(chess));
            reach.ahead.insert(CellKey::Stream(0), to(go).min(changes - 1));
            let rows = world.rows(&reach);
            let report = check(&world, &rows).await;
            assert_eq!(of(&report.named), [], "{reach:?}");
            assert_eq!(report.rows, rows.len() as u64, "{reach:?}");
        }
    }
}

#[tokio::test]
async fn every_damaged_or_lost_row_beside_cells_ahead_is_named() {
    let world = World::new(3).await;
    let rows = world.rows(&middle(&world));
    for (key, value) in &rows {
        let mut damaged = rows.clone();
        damaged.insert(key.clone(), changed(value));
        must_name(&world, &damaged, "unequal", key).await;
        // Without it nobody knows how far the cell is, or the partition: more is named then.
        if !matches!(key, RowKey::Head(_) | RowKey::Progress(_)) {
            damaged.remove(key);
            must_name(&world, &damaged, "missing", key).await;
        }
    }
}

#[tokio::test]
async fn a_row_beyond_its_limit_is_named() {
    let world = World::new(3).await;
    let reach = middle(&world);
    let (rows, whole) = (world.rows(&reach), world.rows(&world.whole()));
    let mut beyond = 0;
    for (key, value) in whole.iter().filter(|(key, _)| !rows.contains_key(*key)) {
        let mut more = rows.clone();
        more.insert(key.clone(), value.clone());
        if !matches!(key, RowKey::Head(_) | RowKey::Refusal(..)) {
            must_name(&world, &more, "unexpected", key).await;
            beyond += 1;
        }
    }
    assert!(beyond > 20, "{beyond} rows");
    // A row of the cell itself from beyond its head: the flush was torn.
    for (key, value) in rows.iter().filter(|(key, _)| matches!(key, RowKey::Entrant(..))) {
        let newer = &whole[key];
        if newer != value {
            let mut torn = rows.clone();
            torn.insert(key.clone(), newer.clone());
            must_name(&world, &torn, "unequal", key).await;
        }
    }
}

#[tokio::test]
async fn a_refusal_of_a_flush_that_did_not_complete_is_right() {
    let world = World::new(3).await;
    let whole = world.rows(&world.whole());
    for applied in 0..world.end(MATCHES) {
        let mut reach = world.whole();
        reach.progress.insert(MATCHES, applied);
        let mut rows = world.rows(&reach);
        let later = whole.iter().filter(|(key, _)| matches!(key, RowKey::Refusal(..)));
        rows.extend(later.map(|(key, value)| (key.clone(), value.clone())));
        let report = check(&world, &rows).await;
        assert_eq!(of(&report.named), [], "through {applied}");
    }
    let mut reach = world.whole();
    reach.progress.insert(MATCHES, 5);
    let rows = world.rows(&reach);
    let expected = rows.keys().find(|key| matches!(key, RowKey::Refusal(MATCHES, _))).unwrap();
    let absent = whole
        .keys()
        .find(|key| matches!(key, RowKey::Refusal(MATCHES, _)) && !rows.contains_key(*key));
    // Offsets of other records, of none, and one that was passed.
    for offset in [0, 3, 8, 1_000, u64::MAX] {
        for (kind, key) in [("unequal", expected), ("unexpected", absent.unwrap())] {
            let mut damaged = rows.clone();
            damaged.insert(key.clone(), Value::Since(offset));
            must_name(&world, &damaged, kind, key).await;
        }
    }
}

#[tokio::test]
async fn a_head_is_believed_in_no_part() {
    let world = World::new(3).await;
    let rows = world.rows(&middle(&world));
    for (key, value) in rows.iter().filter(|(key, _)| matches!(key, RowKey::Head(_))) {
        let Value::Head(head) = value else { unreachable!("a head has a head's value") };
        for applied in [0, head.applied + 1, world.end(MATCHES), u64::MAX] {
            let mut damaged = rows.clone();
            let mut head = head.clone();
            head.applied = applied;
            damaged.insert(key.clone(), Value::Head(head));
            let report = check(&world, &damaged).await;
            let named = ("unequal", key.to_string());
            assert!(of(&report.named).contains(&named), "{applied}: {:?}", report.named);
        }
    }
    let mut alone = rows.clone();
    let key = RowKey::Head(environment("elsewhere"));
    alone.insert(key.clone(), rows[&RowKey::Head(environment("go"))].clone());
    must_name(&world, &alone, "unexpected", &key).await;
}

#[tokio::test]
async fn a_store_that_moves_is_right_and_its_damage_is_named() {
    let world = World::new(30).await;
    for step in [1, 2, 5, 9] {
        let store = live::Live::new(&world, step, Rows::new());
        let report = verify(&world.log, &store, &|_| {}).await.unwrap();
        assert_eq!(of(&report.named), [], "{step} records a call");
        assert!(store.calls() > 10 && report.rows > 0, "it moved");
    }
    let whole = world.rows(&world.whole());
    let ana = RowKey::Entrant(environment("go"), AgentId::new("ana").unwrap());
    let alike = |wanted: &RowKey| whole.keys().find(|key| key.table() == wanted.table()).unwrap();
    let at = |offset| RowKey::Match(environment("go"), offset);
    for key in [&ana, alike(&at(0)), alike(&RowKey::DeadLetter(MATCHES, 0))] {
        let damage: Rows = [(key.clone(), changed(&whole[key]))].into();
        let store = live::Live::new(&world, 3, damage);
        let report = verify(&world.log, &store, &|_| {}).await.unwrap();
        assert_eq!(of(&report.named), [("unequal", key.to_string())]);
    }
    let key = at(1_000);
    let store = live::Live::new(&world, 3, [(key.clone(), Value::Since(1))].into());
    let report = verify(&world.log, &store, &|_| {}).await.unwrap();
    assert_eq!(of(&report.named), [("unexpected", key.to_string())]);
}
