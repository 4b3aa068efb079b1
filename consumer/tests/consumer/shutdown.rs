//! Stopping, waiting, and a store that is away for long.

use std::time::Duration;

use agon_consumer::{ConsumerConfig, ConsumerError};
use agon_ports::{Append, EventLog};
use agon_schema::event::EnvironmentDefined;
use agon_schema::rating::RatingSystem;
use agon_schema::{EnvironmentId, Event};

use crate::events::{Chance, append, match_finished, stream};
use crate::oracle::{self, check_same};
use crate::world::{Gate, World, ends, tiny, until};

const STOP: Duration = Duration::from_secs(60);

/// Nothing is due before it is told to stop.
fn patient() -> ConsumerConfig {
    ConsumerConfig {
        workers: 3,
        flush_rows_max: usize::MAX,
        flush_bytes_max: usize::MAX,
        flush_interval_ms: u64::MAX,
        ..ConsumerConfig::default()
    }
}

/// A definition in each of a few environments, then matches, none like another.
fn matches(count: usize) -> Vec<Append> {
    let environments = ["football", "chess", "go", "connect-four", "tic-tac-toe", "hex"];
    let mut chance = Chance(1);
    let definition = |id: &&str| {
        Event::EnvironmentDefined(EnvironmentDefined {
            id: EnvironmentId::new(*id).unwrap(),
            version: 1,
            rating: RatingSystem::default(),
        })
    };
    let defined: Vec<Event> = environments.iter().map(definition).collect();
    let played = (0..count).map(|number| {
        let environment = environments[number % environments.len()];
        match_finished(&mut chance, environment, &format!("m{number}"))
    });
    let at = |(number, event)| append(&event, 1_000_000 + number as i64);
    defined.into_iter().chain(played).enumerate().map(at).collect()
}

const CONSUMED: &str = "agon_events_consumed_total{topic=\"agon.matches.v1\"}";

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn stopping_stores_what_was_folded() {
    let appends = matches(200);
    let world = World::with(&appends).await;
    let life = world.start(patient()).await;
    until(|| life.metric(CONSUMED) == appends.len() as f64).await;
    let status = life.consumer.status().await.unwrap();
    assert!(status.iter().all(|partition| partition.applied.is_none()), "{status:?}");
    life.consumer.stop(STOP).await.unwrap();
    check_same("stopped", &oracle::fold(&appends), &world.rows().await);
    assert!(life.ear.check() > 0, "the feed says what the last flush stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn with_the_store_away_stopping_ends_by_its_deadline_and_nothing_is_lost() {
    let appends = matches(200);
    let world = World::with(&appends).await;
    let gate = Gate::new(world.store.clone());
    gate.shut(true);
    let life = world.start_over(tiny(), world.log.clone(), gate.clone()).await.unwrap();
    until(|| gate.refused() > 3).await;
    match life.consumer.stop(Duration::from_millis(50)).await {
        Err(ConsumerError::Deadline { deadline_ms: 50 }) => {}
        other => panic!("{other:?}"),
    }
    assert!(world.rows().await.is_empty());
    // Nobody is left who would write once the store is back.
    until(|| gate.is_let_go()).await;
    assert!(gate.flushes().is_empty());
    let life = world.start(tiny()).await;
    life.wait_for(&appends, appends.len()).await;
    check_same("caught up", &oracle::fold(&appends), &world.rows().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_flush_that_nobody_waits_for_is_not_written_later() {
    let appends = matches(200);
    let world = World::with(&appends).await;
    let gate = Gate::new(world.store.clone());
    gate.hold(true);
    let life = world.start_over(tiny(), world.log.clone(), gate.clone()).await.unwrap();
    until(|| gate.waiting() > 0).await;
    match life.consumer.stop(Duration::from_millis(20)).await {
        Err(ConsumerError::Deadline { .. }) => {}
        other => panic!("{other:?}"),
    }
    until(|| gate.is_let_go()).await;
    assert!(world.rows().await.is_empty(), "somebody else may own the partition by now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_stop_waits_for_a_store_that_comes_back_in_time() {
    let appends = matches(200);
    let world = World::with(&appends).await;
    let gate = Gate::new(world.store.clone());
    gate.shut(true);
    let life = world.start_over(patient(), world.log.clone(), gate.clone()).await.unwrap();
    until(|| life.metric(CONSUMED) == appends.len() as f64).await;
    let stopping = tokio::spawn(life.consumer.stop(STOP));
    until(|| gate.refused() > 3).await;
    gate.shut(false);
    stopping.await.unwrap().unwrap();
    check_same("stopped", &oracle::fold(&appends), &world.rows().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn while_the_store_is_away_memory_holds_two_sets_and_no_more() {
    let appends = matches(2_000);
    let world = World::with(&appends).await;
    let gate = Gate::new(world.store.clone());
    gate.shut(true);
    let life = world.start_over(tiny(), world.log.clone(), gate.clone()).await.unwrap();
    until(|| gate.refused() > 100).await;
    // Each of these records leaves at least a row; two in a row are at most a read beyond 3. So a
    // worker holds one set that was sent and one that waits, of two records and a read each.
    let config = tiny();
    let set_max = config.flush_rows_max - 1 + config.read_records_max;
    let held = life.metric(CONSUMED);
    assert!(held <= (config.workers * 2 * set_max) as f64, "{held} records are held");
    gate.shut(false);
    life.wait_for(&appends, appends.len()).await;
    life.consumer.stop(STOP).await.unwrap();
    let records = |flush: &agon_projections::Flush| {
        flush.progress.applied + 1 - flush.from.map_or(0, |from| from + 1)
    };
    let largest = gate.flushes().iter().map(|flush| records(flush)).max().unwrap();
    assert!(largest <= set_max as u64, "a flush of {largest} records");
    check_same("caught up", &oracle::fold(&appends), &world.rows().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn records_that_leave_no_row_are_flushed_by_their_bytes() {
    let mut appends = matches(30);
    let copies = appends.clone();
    (0..50).for_each(|_| appends.extend_from_slice(&copies));
    let record_bytes_max = appends.iter().map(|a| a.record.size_bytes()).max().unwrap();
    let world = World::with(&appends).await;
    let gate = Gate::new(world.store.clone());
    let config = ConsumerConfig { flush_bytes_max: 10_000, read_bytes_max: 2_000, ..patient() };
    let life = world.start_over(config, world.log.clone(), gate.clone()).await.unwrap();
    // Patient as it is, it comes within a set of the end by bytes alone.
    until(|| gate.flushes().len() > 20).await;
    life.consumer.stop(STOP).await.unwrap();
    let partitions = oracle::partitions(&appends);
    for flush in gate.flushes() {
        let from = flush.from.map_or(0, |from| from as usize + 1);
        let records = &partitions[&flush.source][from..=flush.progress.applied as usize];
        let bytes: usize = records.iter().map(|read| read.record.size_bytes()).sum();
        assert!(bytes <= 10_000 + 2_000 + record_bytes_max, "a flush of {bytes} bytes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn waiting_ends_when_the_records_are_stored_or_the_consumer_has_ended() {
    let appends = stream(6, 400);
    let world = World::with(&appends[..300]).await;
    let life = world.start(tiny()).await;
    let mut reached = life.consumer.reached();
    assert!(reached.wait_for(&agon_ports::Assignment::new()).await, "nothing is there at once");
    let unread: agon_ports::Assignment =
        world.log.ends().await.unwrap().into_keys().map(|source| (source, 0)).collect();
    assert!(reached.wait_for(&unread).await, "an end of 0 is there at once");
    assert!(reached.wait_for(&ends(&appends[..300])).await);
    assert_eq!(reached.records(), 300);
    let expected = oracle::fold(&appends[..300]);
    check_same("reached means stored", &expected, &world.rows().await);

    let all = ends(&appends);
    let mut other = reached.clone();
    let waiting = tokio::spawn(async move { other.wait_for(&all).await });
    world.log.append(appends[300..].to_vec()).await.unwrap();
    assert!(waiting.await.unwrap());
    let mut beyond = ends(&appends);
    beyond.values_mut().for_each(|end| *end += 1);
    let waiting = tokio::spawn(async move { reached.wait_for(&beyond).await });
    life.consumer.stop(STOP).await.unwrap();
    assert!(!waiting.await.unwrap(), "nobody will fold what is not there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_status_is_that_of_the_store() {
    let appends = stream(6, 300);
    let world = World::with(&appends).await;
    let life = world.start(tiny()).await;
    life.wait_for(&appends, appends.len()).await;
    let ends = ends(&appends);
    for partition in life.consumer.status().await.unwrap() {
        let end = ends.get(&partition.source).copied().unwrap_or(0);
        assert_eq!((partition.end, partition.applied), (end, end.checked_sub(1)));
    }
}
