//! What a member does with its share: takes it over, shows it, lets go of it, and gives up only
//! for a reason.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agon_consumer::{ConsumerConfig, ConsumerError, Phase};
use agon_memory::{FaultRates, Faults, Faulty, LogSettings, MemoryGroup, MemoryLog};
use agon_ports::{EventLog, PortError, ProjectionStore, Scan};
use agon_projections::{Flush, Row, RowKey};
use agon_schema::TopicPartition;
use async_trait::async_trait;

use crate::events::{PARTITIONS, stream};
use crate::member::{Member, stored_through};
use crate::oracle::{self, check_same};
use crate::world::{Gate, World, ends, tiny, until};

type Sources = BTreeSet<TopicPartition>;

fn all() -> Sources {
    TopicPartition::all(PARTITIONS).collect()
}

/// What a member works on, once it does.
fn works_on(member: &Member) -> Option<Sources> {
    let standing = member.consumer.standing();
    standing.is_ready().then_some(standing.partitions)
}

/// The partitions whose lag a member shows.
fn shown(member: &Member) -> Sources {
    let metrics = member.metrics();
    let is_shown = |source: &TopicPartition| {
        let TopicPartition { topic, partition } = source;
        let records = format!("lag_records{{partition=\"{partition}\",topic=\"{topic}\"}}");
        let seconds = format!("lag_seconds{{partition=\"{partition}\",topic=\"{topic}\"}}");
        metrics.contains(&records) && metrics.contains(&seconds)
    };
    all().into_iter().filter(is_shown).collect()
}

fn started(world: &World, group: &MemoryGroup) -> Member {
    Member::start(world, group, tiny(), Arc::new(world.store.clone()))
}

async fn reloaded(member: &Member, share: &Sources) {
    let mut told = Sources::new();
    until(|| {
        told.extend(member.witness.reloads());
        told.is_superset(share)
    })
    .await;
    assert_eq!(&told, share, "only what is taken over is loaded anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_share_goes_to_who_joins_and_comes_back_from_who_leaves() {
    let appends = stream(21, 900);
    let world = World::with(&appends[..300]).await;
    let group = MemoryGroup::new(PARTITIONS);
    let one = started(&world, &group);
    until(|| works_on(&one) == Some(all())).await;
    reloaded(&one, &all()).await;
    stored_through(&world.store, &ends(&appends[..300])).await;

    let other = started(&world, &group);
    let halves = || Some((works_on(&one)?, works_on(&other)?));
    let are_shared = || halves().is_some_and(|(one, other)| one.len() == other.len());
    until(are_shared).await;
    let (of_one, of_other) = halves().unwrap();
    assert!(of_one.is_disjoint(&of_other));
    assert_eq!(&of_one | &of_other, all());
    reloaded(&one, &of_one).await;
    reloaded(&other, &of_other).await;
    assert_eq!((shown(&one), shown(&other)), (of_one.clone(), of_other.clone()));
    world.log.append(appends[300..600].to_vec()).await.unwrap();
    stored_through(&world.store, &ends(&appends[..600])).await;
    for (member, share) in [(&one, &of_one), (&other, &of_other)] {
        for status in member.consumer.status().await.unwrap() {
            let is_mine = share.contains(&status.source);
            assert_eq!((status.is_mine, status.applied.is_some()), (is_mine, is_mine));
        }
    }

    other.stop().await;
    until(|| works_on(&one) == Some(all())).await;
    reloaded(&one, &all()).await;
    world.log.append(appends[600..].to_vec()).await.unwrap();
    stored_through(&world.store, &ends(&appends)).await;
    assert!(one.consumer.reached().wait_for(&ends(&appends)).await);
    assert_eq!(shown(&one), all());
    // Told after it is stored, and of everything by now.
    until(|| group.committed() == ends(&appends)).await;
    one.stop().await;
    check_same("handed over", &oracle::fold(&appends), &world.rows().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn nothing_is_committed_before_it_is_stored() {
    let appends = stream(22, 400);
    let world = World::with(&appends).await;
    let gate = Gate::new(world.store.clone());
    gate.shut(true);
    let group = MemoryGroup::new(PARTITIONS);
    let member = Member::start(&world, &group, tiny(), Arc::new(gate.clone()));
    until(|| gate.refused() > 20).await;
    let told = group.committed();
    assert!(told.is_empty(), "told before it is stored: {told:?}");
    gate.shut(false);
    stored_through(&world.store, &ends(&appends)).await;
    until(|| group.committed() == ends(&appends)).await;
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_member_waits_for_a_store_that_is_away_and_stays_a_member() {
    let appends = stream(23, 300);
    let world = World::with(&appends).await;
    let faults = Faults::new(1, FaultRates::default());
    faults.crash();
    let store = Arc::new(Faulty::new(world.store.clone(), faults.clone()));
    let group = MemoryGroup::new(PARTITIONS);
    let member = Member::start(&world, &group, tiny(), store);
    let is_hindered = || {
        let standing = member.consumer.standing();
        let says_why = standing.hindrance.is_some_and(|why| why.contains("get 12 rows"));
        standing.phase == Phase::Resuming && standing.partitions == all() && says_why
    };
    until(is_hindered).await;
    // It goes along with the others meanwhile.
    group.rebalance();
    until(is_hindered).await;
    assert_eq!(group.members(), [0]);
    faults.heal();
    stored_through(&world.store, &ends(&appends)).await;
    assert_eq!(member.consumer.standing().hindrance, None);
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_store_that_is_away_holds_up_no_revocation_for_long() {
    let appends = stream(24, 400);
    let world = World::with(&appends).await;
    let gate = Gate::new(world.store.clone());
    gate.shut(true);
    let group = MemoryGroup::new(PARTITIONS);
    let config = ConsumerConfig { revoke_flush_ms_max: 20, ..tiny() };
    let member = Member::start(&world, &group, config, Arc::new(gate.clone()));
    until(|| gate.refused() > 20).await;
    assert_eq!(member.witness.reloads().len(), all().len());
    // It lets go of what it could not store, or this would wait for ten seconds and lose it.
    let other = started(&world, &group);
    until(|| works_on(&other).is_some_and(|share| share.len() == all().len() / 2)).await;
    gate.shut(false);
    stored_through(&world.store, &ends(&appends)).await;
    member.stop().await;
    other.stop().await;
    check_same("let go", &oracle::fold(&appends), &world.rows().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_member_that_is_refused_leaves_with_the_reason() {
    let appends = stream(25, 300);
    let world = World::with(&appends).await;
    let group = MemoryGroup::new(PARTITIONS);
    let member = started(&world, &group);
    stored_through(&world.store, &ends(&appends)).await;
    member.stop().await;
    let log = MemoryLog::new(LogSettings { partitions: PARTITIONS, ..LogSettings::default() });
    log.append(stream(26, 900)).await.unwrap();
    let (before, other) = (world.rows().await, World { log, ..world.clone() });
    let member = started(&other, &group);
    let reason = member.failure().await;
    assert!(reason.contains("of another log"), "{reason}");
    until(|| group.members().is_empty()).await;
    let standing = member.consumer.standing();
    assert_eq!((standing.phase, standing.hindrance), (Phase::Ended, Some(reason.clone())));
    match member.end().await {
        Err(error @ ConsumerError::AnotherLog { .. }) => assert_eq!(error.to_string(), reason),
        other => panic!("{other:?}"),
    }
    check_same("refused", &before, &world.rows().await);
}

/// A store that takes nothing for good.
struct Closed(agon_memory::MemoryStore, AtomicU64);

#[async_trait]
impl ProjectionStore for Closed {
    async fn flush(&self, _: Arc<Flush>) -> Result<(), PortError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Err(PortError::never("flush", "closed for good"))
    }

    async fn get(&self, keys: Vec<RowKey>) -> Result<Vec<Option<Row>>, PortError> {
        self.0.get(keys).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, PortError> {
        self.0.scan(scan).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_member_that_is_refused_after_each_fresh_start_gives_up() {
    let world = World::with(&stream(27, 300)).await;
    let group = MemoryGroup::new(PARTITIONS);
    let closed = Arc::new(Closed(world.store.clone(), AtomicU64::new(0)));
    let config = ConsumerConfig { workers: 1, ..tiny() };
    let member = Member::start(&world, &group, config, closed.clone());
    assert_eq!(member.failure().await, "flush: closed for good");
    assert!((2..20).contains(&closed.1.load(Ordering::SeqCst)), "it resumed, and not for ever");
    assert!(matches!(member.end().await, Err(ConsumerError::Port(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn progress_is_told_again_though_nothing_moves() {
    let appends = stream(28, 200);
    let world = World::with(&appends).await;
    let group = MemoryGroup::new(PARTITIONS);
    let member = started(&world, &group);
    assert!(stored_and_reached(&world, &member, &appends).await);
    let before = member.witness.beats();
    until(|| member.witness.beats() > before + 100).await;
    // One without a share has nothing to tell.
    let others: Vec<Member> = (0..4).map(|_| started(&world, &group)).collect();
    until(|| others.iter().all(|other| works_on(other).is_some())).await;
    let idle = |of: &Member| works_on(of).is_some_and(|share| share.is_empty());
    let idle = others.iter().chain([&member]).find(|of| idle(of)).unwrap();
    let before = idle.witness.beats();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(idle.witness.beats(), before);
    for member in others.into_iter().chain([member]) {
        member.stop().await;
    }
}

async fn stored_and_reached(
    world: &World,
    member: &Member,
    appends: &[agon_ports::Append],
) -> bool {
    stored_through(&world.store, &ends(appends)).await;
    member.consumer.reached().wait_for(&ends(appends)).await
}
