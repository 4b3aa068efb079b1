//! Cells that are loaded while something else goes on: a filter that takes long, somebody who still
//! writes, flushes that are sent side by side.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use agon_consumer::ConsumerConfig;
use agon_memory::{MemoryGroup, MemoryStore};
use agon_ports::{Append, EventLog, PortError, ProjectionStore, Scan};
use agon_projections::row_bytes::Prefix;
use agon_projections::{Flush, Row, RowKey, Table};
use async_trait::async_trait;

use crate::cells::CellStore;
use crate::events::{Chance, PARTITIONS, append, match_finished, stream};
use crate::member::{Member, STOP, stored_through};
use crate::oracle::{self, check_same};
use crate::world::{Gate, World, ends, tiny, until};

/// A store in which only the first page of a table beside the cells is to be had, for as long as
/// that is wished, and which counts the identities that it is asked for.
#[derive(Clone)]
struct Slow {
    store: MemoryStore,
    is_held: Arc<AtomicBool>,
    held: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
}

#[async_trait]
impl ProjectionStore for Slow {
    async fn flush(&self, flush: Arc<Flush>) -> Result<(), PortError> {
        self.store.flush(flush).await
    }

    async fn get(&self, keys: Vec<RowKey>) -> Result<Vec<Option<Row>>, PortError> {
        let asked = keys.iter().filter(|key| matches!(key, RowKey::FirstSeen(..))).count();
        self.asked.fetch_add(asked as u64, Ordering::SeqCst);
        self.store.get(keys).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, PortError> {
        let is_later = matches!(scan.after, Some(RowKey::FirstSeen(..)));
        if is_later && self.is_held.load(Ordering::SeqCst) {
            self.held.fetch_add(1, Ordering::SeqCst);
            until(|| !self.is_held.load(Ordering::SeqCst)).await;
        }
        self.store.scan(scan).await
    }
}

/// Matches of one environment, none like another; the first record defines it.
fn matches(count: usize) -> Vec<Append> {
    let defined = stream(41, 400).into_iter().find(|append| {
        let is_definition = append.record.header("ce_type") == Some(b"agon.environment.defined.v1");
        is_definition && append.record.key == b"e1"
    });
    let mut chance = Chance(41);
    let played = (0..count).map(|number| {
        append(&match_finished(&mut chance, "e1", &format!("match {number}")), 1_000_000)
    });
    defined.into_iter().chain(played).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn events_do_not_wait_for_the_filter_of_a_large_cell() {
    let appends = matches(900);
    let world = World::with(&appends[..500]).await;
    let life = world.start(tiny()).await;
    life.wait_for(&appends, 500).await;
    life.consumer.stop(STOP).await.unwrap();
    assert!(oracle::fold(&appends[..500]).len() > 500, "they count");

    let (is_held, held) = (Arc::new(AtomicBool::new(true)), Arc::default());
    let slow = Slow { store: world.store.clone(), is_held, held, asked: Arc::default() };
    let config = ConsumerConfig { load_rows_max: 100, ..tiny() };
    let started = world.start_over(config, world.log.clone(), slow.clone()).await;
    let life = started.unwrap();
    let mut more = appends[500..700].to_vec();
    // Said before, which the store alone knows at present.
    more.extend_from_slice(&appends[100..120]);
    world.log.append(more.clone()).await.unwrap();
    let mut all = [&appends[..500], &more].concat();
    life.wait_for(&all, all.len()).await;
    until(|| slow.held.load(Ordering::SeqCst) > 0).await;
    let asked = slow.asked.load(Ordering::SeqCst);
    assert!(asked >= 200, "{asked} were looked up without a filter");
    check_same("without a filter", &oracle::fold(&all), &world.rows().await);

    slow.is_held.store(false, Ordering::SeqCst);
    // Each record is looked up until the filter is there, and then hardly any.
    let mut chance = Chance(42);
    until_answered(async || {
        let number = format!("later {}", all.len());
        let one = append(&match_finished(&mut chance, "e1", &number), 1_000_000);
        let before = slow.asked.load(Ordering::SeqCst);
        world.log.append(vec![one.clone()]).await.unwrap();
        all.push(one);
        life.wait_for(&all, all.len()).await;
        slow.asked.load(Ordering::SeqCst) == before
    })
    .await;
    let before = slow.asked.load(Ordering::SeqCst);
    // Said before, while the filter was read, and never.
    let last = [&appends[3..23], &appends[510..530], &appends[700..]].concat();
    world.log.append(last.clone()).await.unwrap();
    all.extend(last);
    life.wait_for(&all, all.len()).await;
    let asked = slow.asked.load(Ordering::SeqCst) - before;
    assert!((40..60).contains(&asked), "{asked} were looked up with a filter");
    check_same("with a filter", &oracle::fold(&all), &world.rows().await);
}

async fn until_answered(mut is_so: impl AsyncFnMut() -> bool) {
    let holds = async { while !is_so().await {} };
    tokio::time::timeout(STOP, holds).await.expect("what was waited for");
}

/// A store to which somebody else writes between a cell's head and its entrants.
struct Moving {
    store: CellStore,
    foreign: Mutex<Vec<Arc<Flush>>>,
    interrupted: AtomicU64,
}

#[async_trait]
impl ProjectionStore for Moving {
    async fn flush(&self, flush: Arc<Flush>) -> Result<(), PortError> {
        self.store.flush(flush).await
    }

    async fn get(&self, keys: Vec<RowKey>) -> Result<Vec<Option<Row>>, PortError> {
        self.store.get(keys).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, PortError> {
        if let Prefix::Cell(Table::Entrants | Table::Servers, cell) = &scan.prefix {
            let source = cell.source(PARTITIONS);
            let next: Vec<_> = {
                let mut foreign = self.foreign.lock().unwrap();
                let is_it = |flush: &Arc<Flush>| {
                    flush.source == source && flush.cells.iter().any(|of| of.key == *cell)
                };
                // In their order, as everybody writes a partition.
                let through = foreign.iter().position(is_it).map_or(0, |place| place + 1);
                let (now, later) = foreign
                    .drain(..)
                    .enumerate()
                    .partition(|(place, flush)| *place < through && flush.source == source);
                let unnumbered = |of: Vec<(usize, Arc<Flush>)>| {
                    of.into_iter().map(|(_, flush)| flush).collect::<Vec<_>>()
                };
                *foreign = unnumbered(later);
                unnumbered(now)
            };
            self.interrupted.fetch_add(u64::from(!next.is_empty()), Ordering::SeqCst);
            for flush in next {
                self.store.flush(flush).await?;
            }
        }
        self.store.scan(scan).await
    }
}

/// The one who still writes has folded everything; its flushes come one by one, whenever a cell is
/// being read.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_cell_that_moves_while_it_is_loaded_is_loaded_again() {
    let appends = stream(43, 1_500);
    let other = World::with(&appends).await;
    let gate = Gate::new(other.store.clone());
    let config = ConsumerConfig { flush_rows_max: 40, read_records_max: 40, ..tiny() };
    let life = other.start_over(config, other.log.clone(), gate.clone()).await.unwrap();
    life.wait_for(&appends, appends.len()).await;
    life.consumer.stop(STOP).await.unwrap();

    let world = World::with(&appends).await;
    let store = CellStore::new(world.store.clone(), 43, 0);
    let moving = Arc::new(Moving {
        store: store.clone(),
        foreign: Mutex::new(gate.flushes()),
        interrupted: AtomicU64::new(0),
    });
    let group = MemoryGroup::new(PARTITIONS);
    // Cells leave memory at every flush, so they are loaded again and again.
    let config = ConsumerConfig { slots_max: 0, ..tiny() };
    let member = Member::start(&world, &group, config, moving.clone());
    stored_through(&world.store, &ends(&appends)).await;
    member.stop().await;
    store.check();
    let interrupted = moving.interrupted.load(Ordering::SeqCst);
    assert!(interrupted > 20, "{interrupted} loads were interrupted");
    check_same("moving", &oracle::fold(&appends), &world.rows().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn flushes_of_different_partitions_are_sent_side_by_side_up_to_the_limit() {
    let appends = stream(44, 600);
    let world = World::with(&appends).await;
    let gate = Gate::new(world.store.clone());
    gate.hold(true);
    let config = ConsumerConfig { workers: 1, flushes_max: 3, flush_rows_max: 500, ..tiny() };
    let config = ConsumerConfig { read_records_max: 1_000, flush_interval_ms: 200, ..config };
    let life = world.start_over(config, world.log.clone(), gate.clone()).await.unwrap();
    until(|| gate.waiting() == 3).await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert_eq!(gate.waiting(), 3, "no more than the limit wait at a time");
    gate.hold(false);
    life.wait_for(&appends, appends.len()).await;
    life.ear.check();
    life.consumer.stop(STOP).await.unwrap();
    check_same("side by side", &oracle::fold(&appends), &world.rows().await);
}
