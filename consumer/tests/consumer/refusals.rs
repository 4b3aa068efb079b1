//! Log and store that do not belong together are refused before anything is written, and a store
//! that refuses for good stops its worker with the reason.

use std::sync::Arc;
use std::time::Duration;

use agon_consumer::{Consumer, ConsumerConfig, ConsumerError};
use agon_memory::{FaultRates, Faults, Faulty, LogSettings, MemoryLog, MemoryStore};
use agon_ports::{Append, Assignment, EventLog, LogReader, PortError, ProjectionStore, Retry};
use agon_projections::Flush;
use agon_projections::row::{Counts, Progress};
use agon_schema::record::RecordHash;
use agon_schema::{LogId, Position, TopicPartition};
use async_trait::async_trait;
use prometheus::Registry;

use crate::events::{PARTITIONS, stream};
use crate::oracle::{self, check_same};
use crate::world::{Gate, World, tiny, until};

const STOP: Duration = Duration::from_secs(60);

/// A world whose store is folded through the end of these.
async fn folded(appends: &[Append]) -> World {
    let world = World::with(appends).await;
    let life = world.start(tiny()).await;
    life.wait_for(appends, appends.len()).await;
    life.consumer.stop(STOP).await.unwrap();
    world
}

/// Starts over the store of this world and a log of other records; what the store holds stays.
async fn refusal(world: &World, appends: &[Append]) -> ConsumerError {
    let before = world.rows().await;
    let log = MemoryLog::new(LogSettings { partitions: PARTITIONS, ..LogSettings::default() });
    log.append(appends.to_vec()).await.unwrap();
    let started = world.start_over(tiny(), log, world.store.clone()).await;
    let error = started.map(|_| ()).expect_err("a worker was let loose on the store");
    check_same("refused", &before, &world.rows().await);
    error
}

/// The last record of each partition, by its place in the list.
fn lasts(appends: &[Append]) -> Vec<usize> {
    let place = |target: &TopicPartition| appends.iter().rposition(|a| a.target == *target);
    crate::world::ends(appends).keys().filter_map(place).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_store_of_another_log_is_refused_whichever_partition_differs() {
    let appends = stream(3, 500);
    let world = folded(&appends).await;
    for index in lasts(&appends) {
        // Longer everywhere, and other in the one record that one partition stands at.
        let mut other = appends.clone();
        other[index].record.key.push(b'!');
        other.extend_from_slice(&stream(4, 300));
        let source = other[index].target;
        let end = crate::world::ends(&appends)[&source];
        match refusal(&world, &other).await {
            ConsumerError::AnotherLog { position, stored } => {
                assert_eq!((position.source, position.offset, stored), (source, end - 1, end - 1));
            }
            error => panic!("{source}: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_log_that_is_shorter_than_the_store_is_refused_whichever_partition_it_is() {
    let appends = stream(3, 500);
    let world = folded(&appends).await;
    for index in lasts(&appends) {
        let mut shorter = appends.clone();
        let source = shorter.remove(index).target;
        let error = refusal(&world, &shorter).await;
        let end = crate::world::ends(&shorter).get(&source).copied().unwrap_or(0);
        assert_eq!(
            error.to_string(),
            format!(
                "the store is folded through offset {end} of {source}, but the log ends at {end}: \
                 records are missing; restore the log, or run `agon rebuild`"
            )
        );
        assert!(matches!(error, ConsumerError::LogTooShort { .. }));
    }
}

/// A log whose first records are gone.
struct Shortened(MemoryLog, Assignment);

#[async_trait]
impl EventLog for Shortened {
    fn id(&self) -> LogId {
        self.0.id()
    }

    fn partitions(&self) -> u32 {
        self.0.partitions()
    }

    async fn append(&self, records: Vec<Append>) -> Result<Vec<Position>, PortError> {
        self.0.append(records).await
    }

    async fn ends(&self) -> Result<Assignment, PortError> {
        self.0.ends().await
    }

    async fn starts(&self) -> Result<Assignment, PortError> {
        Ok(self.1.clone())
    }

    async fn read(&self, from: Assignment) -> Result<Box<dyn LogReader>, PortError> {
        self.0.read(from).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_log_that_begins_after_what_is_needed_next_is_refused() {
    let appends = stream(3, 500);
    let world = folded(&appends).await;
    let (source, end) = crate::world::ends(&appends).into_iter().next().unwrap();
    world.log.append(stream(4, 500)).await.unwrap();
    let untouched = world.rows().await;
    // The record at the stored position is needed, by which the log is recognised.
    for (start, is_refused) in [(0, false), (end - 1, false), (end, true), (end + 1, true)] {
        let log = Shortened(world.log.clone(), [(source, start)].into());
        let config = ConsumerConfig { flush_interval_ms: u64::MAX, ..tiny() };
        // Whatever it reads stays in memory: what is asked is whether it begins.
        let gate = Gate::new(world.store.clone());
        gate.shut(true);
        match world.start_over(config, log, gate).await.map(drop) {
            Ok(()) => assert!(!is_refused, "began at {start}"),
            Err(error) => {
                assert!(is_refused, "{error}");
                assert_eq!(
                    error.to_string(),
                    format!(
                        "the log of {source} is needed from offset {} on, but begins at {start}: \
                         retention passed over records; set the topic's retention to unlimited \
                         and restore the log, or run `agon rebuild`",
                        end - 1
                    )
                );
            }
        }
        check_same("refused", &untouched, &world.rows().await);
    }
    // Nothing is stored of it, and its first records are gone already.
    let empty = World { store: MemoryStore::default(), ..world.clone() };
    let log = Shortened(world.log.clone(), [(source, 1)].into());
    let error = empty.start_over(tiny(), log, empty.store.clone()).await.map(drop).unwrap_err();
    assert!(matches!(error, ConsumerError::LogStartsLater { needed: 0, start: 1, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_start_that_failed_may_be_tried_again() {
    let appends = stream(3, 300);
    let world = World::with(&appends).await;
    let registry = Registry::new();
    let faults = Faults::new(1, FaultRates::default());
    let start = || {
        let log = Arc::new(Faulty::new(world.log.clone(), faults.clone()));
        let store = Arc::new(Faulty::new(world.store.clone(), faults.clone()));
        let (feed, clock) = (agon_memory::MemoryFeed::with_publisher(1).1, world.clock.clone());
        Consumer::start(tiny(), log, store, Arc::new(feed), Arc::new(clock), &registry)
    };
    faults.crash();
    match start().await.map(|_| ()) {
        Err(ConsumerError::Port(PortError { retry: Retry::Later, .. })) => {}
        other => panic!("{other:?}"),
    }
    faults.heal();
    let consumer = start().await.unwrap();
    assert!(consumer.reached().wait_for(&crate::world::ends(&appends)).await);
    let twice = start().await.map(|_| ()).unwrap_err();
    assert!(matches!(twice, ConsumerError::Metrics(_)), "{twice}");
    consumer.stop(STOP).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_flush_refused_for_good_stops_its_worker_alone() {
    let appends = stream(3, 500);
    let world = World::with(&appends).await;
    let gate = Gate::new(world.store.clone());
    gate.shut(true);
    let life = world.start_over(tiny(), world.log.clone(), gate.clone()).await.unwrap();
    until(|| gate.refused() > 0).await;
    // Somebody else writes beside it, as far as no flush of its own can reach.
    let (source, end) = crate::world::ends(&appends).into_iter().next().unwrap();
    let record_hash = RecordHash([7; 16]);
    let progress = Progress { applied: end + 9, record_hash, counts: Counts::default() };
    let foreign = |applied| Flush {
        source,
        from: None,
        progress: Progress { applied, ..progress.clone() },
        cells: vec![],
        rows: vec![],
    };
    world.store.flush(Arc::new(foreign(0))).await.unwrap();
    gate.shut(false);
    let reason = life.consumer.failure().await;
    assert!(reason.starts_with(&format!("flush {source} through ")), "{reason}");
    let is_other =
        |flush: &Arc<Flush>| flush.source.topic != source.topic && !flush.rows.is_empty();
    until(|| gate.flushes().iter().any(is_other)).await;
    match life.consumer.stop(STOP).await {
        Err(ConsumerError::Port(error)) => assert_eq!(error.to_string(), reason),
        other => panic!("{other:?}"),
    }
    // What the others folded is stored and right.
    let (expected, stored) = (oracle::fold(&appends), world.rows().await);
    let other_topic = |key: &agon_projections::RowKey| match key {
        agon_projections::RowKey::DeadLetter(of, _) => of.topic != source.topic,
        _ => false,
    };
    assert!(stored.keys().any(other_topic));
    for (key, value) in stored.iter().filter(|(key, _)| other_topic(key)) {
        assert_eq!(expected.get(key), Some(value), "{key}");
    }
}
