//! A process may end at any of the named points: each is passed, and whoever comes next makes of
//! log and store what the unbroken fold makes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agon_consumer::{CRASH_POINTS, ConsumerConfig, CrashHook};
use agon_memory::MemoryGroup;

use crate::cells::CellStore;
use crate::events::{PARTITIONS, stream};
use crate::member::{Member, stored_through};
use crate::oracle::{self, check_same};
use crate::world::{World, ends, runtime, tiny, until};

fn hooked(hook: impl Fn(&'static str) + Send + Sync + 'static) -> ConsumerConfig {
    ConsumerConfig { crash: Some(CrashHook::new(hook)), ..tiny() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn every_point_is_passed_alone_and_in_a_group() {
    let passed = Arc::new(Mutex::new(BTreeSet::new()));
    let config = || {
        let passed = Arc::clone(&passed);
        hooked(move |name| {
            passed.lock().unwrap().insert(name);
        })
    };
    let taken = || std::mem::take(&mut *passed.lock().unwrap());
    let every = BTreeSet::from(CRASH_POINTS);
    assert_eq!(every.len(), CRASH_POINTS.len());
    let appends = stream(31, 300);

    let world = World::with(&appends).await;
    let life = world.start(config()).await;
    life.wait_for(&appends, appends.len()).await;
    life.consumer.stop(crate::member::STOP).await.unwrap();
    let only_in_groups = |name: &&str| name.starts_with("commit.") || name.starts_with("revoke.");
    let alone: BTreeSet<_> = every.iter().copied().filter(|name| !only_in_groups(name)).collect();
    assert_eq!(taken(), alone);

    let world = World::with(&appends).await;
    let group = MemoryGroup::new(PARTITIONS);
    let member = Member::start(&world, &group, config(), Arc::new(world.store.clone()));
    stored_through(&world.store, &ends(&appends)).await;
    passed.lock().unwrap().remove("assign.after_resume");
    group.rebalance();
    // It has let go of its share and has it again.
    until(|| passed.lock().unwrap().contains("assign.after_resume")).await;
    until(|| member.consumer.standing().is_ready()).await;
    member.stop().await;
    assert_eq!(taken(), every);
}

/// One life that ends when it passes a point for the `count`th time, if it does. In a group of its
/// own, which is told to stop or to let go once in a while.
async fn life(world: &World, store: &CellStore, point: &'static str, count: u64) -> bool {
    let passed = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&passed);
    let config = hooked(move |name| {
        if name == point && counted.fetch_add(1, Ordering::SeqCst) + 1 >= count {
            // Nothing of this life goes on past the point.
            std::panic::resume_unwind(Box::new("the end of a life"));
        }
    });
    let group = MemoryGroup::new(PARTITIONS);
    let member = Member::start(world, &group, config, Arc::new(store.clone()));
    let has_passed = || passed.load(Ordering::SeqCst) >= count;
    let is_shutdown = point.starts_with("shutdown");
    // The first passage must come, however slowly all goes.
    let turns = if count == 1 && !is_shutdown { 20_000 } else { 40 };
    for turn in 0..turns {
        tokio::time::sleep(Duration::from_millis(3)).await;
        if has_passed() {
            return true;
        }
        // Rarely at last, so that something can happen in between.
        if turn % 10 == 9 && (turn < 40 || turn % 1_000 == 999) && !is_shutdown {
            group.rebalance();
        }
    }
    if is_shutdown {
        until(|| member.consumer.standing().is_ready()).await;
        let stopping = tokio::spawn(member.end());
        until(has_passed).await;
        return stopping.await.is_err_and(|e| e.is_panic()) || has_passed();
    }
    has_passed()
}

#[test]
fn a_life_that_ends_at_any_point_loses_and_doubles_nothing() {
    let appends = stream(32, 500);
    let expected = oracle::fold(&appends);
    for (seed, point) in CRASH_POINTS.into_iter().enumerate() {
        let world = runtime().block_on(World::with(&appends));
        let store = CellStore::new(world.store.clone(), seed as u64, 100);
        let is_once = point.starts_with("shutdown");
        for count in [1, 2, 7, 30] {
            let lost = runtime();
            let count = if is_once { 1 } else { count };
            let has_passed = lost.block_on(life(&world, &store, point, count));
            drop(lost);
            assert!(has_passed || count > 1, "{point} was not passed");
        }
        let last = runtime();
        last.block_on(async {
            let life = world.start_over(tiny(), world.log.clone(), store.clone()).await.unwrap();
            life.wait_for(&appends, appends.len()).await;
        });
        drop(last);
        store.check();
        check_same(point, &expected, &runtime().block_on(world.rows()));
    }
}
