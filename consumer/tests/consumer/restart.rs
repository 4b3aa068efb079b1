//! Stops, crashes and faults: whatever ends a consumer, the next one goes on where the store
//! stands, and the rows are those of the unbroken fold.

use std::sync::Arc;
use std::time::Duration;

use agon_consumer::ConsumerConfig;
use agon_memory::{Fault, FaultRates, Faults, Faulty, MemoryGroup, MemoryLog, MemoryStore};
use agon_ports::{Append, EventLog, ProjectionStore};
use agon_projections::row::Value;
use agon_projections::row_bytes::{key_bytes, value_bytes};

use crate::cells::CellStore;
use crate::events::{PARTITIONS, stream};
use crate::member::{Member, stored_through};
use crate::oracle::{self, Rows, check_same};
use crate::world::{World, ends, runtime, tiny, until};

const STOP: Duration = Duration::from_secs(60);

#[test]
fn stopping_after_any_record_changes_nothing() {
    let appends = stream(7, 1_000);
    let expected = oracle::fold(&appends);
    for (round, step) in [1, 15, 333, 999].into_iter().enumerate() {
        let world = runtime().block_on(World::with(&appends));
        // Steps of one record are taken over a part of the log only: each is a start.
        let mut count = if step == 1 { appends.len() - 60 } else { 0 };
        while count < appends.len() {
            count = (count + step).min(appends.len());
            runtime().block_on(async {
                let life = world.start(tiny()).await;
                life.wait_for(&appends, count).await;
                life.consumer.stop(STOP).await.unwrap();
                life.ear.check();
            });
        }
        let rows = runtime().block_on(world.rows());
        check_same(&format!("round {round}, steps of {step}"), &expected, &rows);
    }
}

#[test]
fn crashing_after_any_record_changes_nothing() {
    let appends = stream(8, 1_000);
    let expected = oracle::fold(&appends);
    for (round, step) in [15, 50, 333].into_iter().enumerate() {
        let world = runtime().block_on(World::with(&appends));
        let mut count = 0;
        while count < appends.len() {
            count = (count + step).min(appends.len());
            let lost = runtime();
            let ear = lost.block_on(async {
                let config = ConsumerConfig { slots_max: 40 * round, ..tiny() };
                let life = world.start(config).await;
                life.wait_for(&appends, count).await;
                life.ear
            });
            drop(lost);
            ear.check();
        }
        let rows = runtime().block_on(world.rows());
        check_same(&format!("round {round}, steps of {step}"), &expected, &rows);
    }
}

#[test]
fn faults_of_log_and_store_change_nothing() {
    let appends = stream(9, 800);
    let expected = oracle::fold(&appends);
    // In half of the rounds the store is atomic by cell alone, and ends many a flush in the middle.
    for (seed, part_per_mille) in (0..8).map(|seed| (seed, 300 * (seed / 4))) {
        // Every kind of fault; in half of the rounds the store or the log also dies at times.
        let crash_per_mille = 15 * u16::try_from(seed % 2).unwrap();
        let rates = FaultRates { delay_ms_max: 1, ..FaultRates::all(60, crash_per_mille) };
        let (of_log, of_store) = (Faults::new(seed, rates), Faults::new(!seed, rates));
        let world = runtime().block_on(World::with(&appends));
        let by_cell = CellStore::new(world.store.clone(), seed, part_per_mille);
        let (mut lives, mut is_done) = (0, false);
        while !is_done {
            lives += 1;
            [&of_log, &of_store].into_iter().for_each(|faults| faults.heal());
            let life = runtime();
            is_done = life.block_on(async {
                let log = Faulty::new(world.log.clone(), of_log.clone());
                match part_per_mille {
                    0 => {
                        let store = Faulty::new(world.store.clone(), of_store.clone());
                        live(&world, &appends, log, store).await
                    }
                    _ => {
                        let store = Faulty::new(by_cell.clone(), of_store.clone());
                        live(&world, &appends, log, store).await
                    }
                }
            });
            drop(life);
        }
        let rows = runtime().block_on(world.rows());
        check_same(&format!("seed {seed}, {lives} lives"), &expected, &rows);
        assert!(of_store.count(Fault::LoseAnswer) > 0 && of_log.count(Fault::Refuse) > 0);
        by_cell.check();
        assert_eq!(by_cell.parts() > 0, part_per_mille > 0);
        assert!(lives > 1 || crash_per_mille == 0, "seed {seed}: nothing crashed");
    }
}

/// One life: until everything is stored, or log or store are down for good. Whether it was all.
async fn live<S: ProjectionStore + 'static>(
    world: &World,
    appends: &[Append],
    log: Faulty<MemoryLog>,
    store: Faulty<S>,
) -> bool {
    let faults = [log.faults().clone(), store.faults().clone()];
    let config = ConsumerConfig { filter_items_max: 30, slots_max: 500, ..tiny() };
    let Ok(life) = world.start_over(config, log, store).await else {
        return false;
    };
    let is_done = tokio::select! {
        () = life.wait_for(appends, appends.len()) => true,
        () = until(|| faults.iter().any(|faults| faults.is_crashed())) => false,
    };
    life.ear.check();
    is_done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_store_or_log_that_comes_back_is_used_again_without_a_restart() {
    let appends = stream(10, 1_200);
    let world = World::with(&appends[..400]).await;
    let (of_log, of_store) =
        (Faults::new(1, FaultRates::default()), Faults::new(2, FaultRates::default()));
    let log = Faulty::new(world.log.clone(), of_log.clone());
    let store = Faulty::new(world.store.clone(), of_store.clone());
    let life = world.start_over(tiny(), log, store).await.unwrap();
    for (faults, from, to) in [(of_store, 400, 800), (of_log, 800, 1_200)] {
        life.wait_for(&appends, from / 2).await;
        faults.crash();
        world.log.append(appends[from..to].to_vec()).await.unwrap();
        // Some calls fail before it comes back.
        tokio::time::sleep(Duration::from_millis(20)).await;
        faults.heal();
        life.wait_for(&appends, to).await;
    }
    life.ear.check();
    life.consumer.stop(STOP).await.unwrap();
    check_same("healed", &oracle::fold(&appends), &world.rows().await);
}

/// A member over this world, until the records below these ends are stored.
async fn attend(world: &World, group: &MemoryGroup, appends: &[Append]) {
    let config = ConsumerConfig {
        #[cfg(feature = "controls")]
        broker_offsets: Some(agon_consumer::controls::BrokerOffsets::new({
            let group = group.clone();
            move || std::future::ready(Ok(group.committed()))
        })),
        ..tiny()
    };
    let member = Member::start(world, group, config, Arc::new(world.store.clone()));
    stored_through(&world.store, &ends(appends)).await;
    until(|| group.committed() == ends(appends)).await;
    member.stop().await;
}

/// Records below the stored positions that neither counted nor were repeated nor rejected.
fn left_out(rows: &Rows) -> u64 {
    let of = |value: &Value| match value {
        Value::Progress(progress) => {
            let counts = progress.counts;
            progress.applied + 1 - counts.counted - counts.duplicates - counts.rejected
        }
        _ => 0,
    };
    rows.values().map(of).sum()
}

/// The store loses what it held last, or all, as when it is folded anew; what the broker was told
/// of it stays. Workers begin where the store stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_store_that_was_put_back_is_folded_again_whatever_the_broker_was_told() {
    let appends = stream(12, 1_200);
    let (world, group) = (World::with(&appends[..400]).await, MemoryGroup::new(PARTITIONS));
    attend(&world, &group, &appends[..400]).await;
    let earlier = MemoryStore::default();
    for (key, value) in world.rows().await {
        earlier.overwrite_raw(key_bytes(&key), value_bytes(&value));
    }
    world.log.append(appends[400..800].to_vec()).await.unwrap();
    attend(&world, &group, &appends[..800]).await;
    // With something to do in each partition, wherever a worker begins.
    world.log.append(appends[800..].to_vec()).await.unwrap();
    for (name, store) in [("put back", earlier), ("emptied", MemoryStore::default())] {
        let world = World { store, ..world.clone() };
        attend(&world, &group, &appends).await;
        let rows = world.rows().await;
        assert_eq!(left_out(&rows), 0, "{name}: records that nothing became of");
        check_same(name, &oracle::fold(&appends), &rows);
    }
}
