//! The whole consumer over a log of everything: the rows are those of the sequential fold, whatever
//! its limits are.

use std::collections::BTreeSet;
use std::time::Duration;

use agon_consumer::ConsumerConfig;
use agon_projections::row::{DeadLetter, Value};
use agon_projections::{Reason, Table};

use crate::events::stream;
use crate::oracle::{self, check_same};
use crate::world::{World, tiny};

#[test]
fn the_stream_has_every_table_and_every_reason() {
    let rows = oracle::fold(&stream(1, 4_000));
    let tables: BTreeSet<Table> = rows.keys().map(|key| key.table()).collect();
    assert_eq!(tables, BTreeSet::from(Table::ALL));
    let reasons: BTreeSet<Reason> = rows
        .values()
        .filter_map(|value| match value {
            Value::DeadLetter(DeadLetter { rejection, .. }) => Some(rejection.reason),
            _ => None,
        })
        .collect();
    let missing: Vec<_> = Reason::ALL.iter().filter(|reason| !reasons.contains(reason)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn every_row_is_that_of_the_sequential_fold_under_any_limits() {
    let appends = stream(42, 2_000);
    let expected = oracle::fold(&appends);
    let tiny = tiny();
    for (name, config) in [
        ("tiny", tiny.clone()),
        ("defaults", ConsumerConfig::default()),
        ("one worker", ConsumerConfig { workers: 1, ..tiny.clone() }),
        ("more workers than partitions", ConsumerConfig { workers: 99, ..tiny.clone() }),
        ("no workers", ConsumerConfig { workers: 0, ..tiny.clone() }),
        ("cells leave memory at every flush", ConsumerConfig { slots_max: 0, ..tiny.clone() }),
        ("cold filters", ConsumerConfig { filter_items_max: 0, ..tiny.clone() }),
        ("filters that become cold", ConsumerConfig { filter_items_max: 20, ..tiny.clone() }),
        (
            "cold filters and no memory",
            ConsumerConfig { filter_items_max: 0, slots_max: 0, ..tiny.clone() },
        ),
        (
            "filters read meanwhile and no memory",
            ConsumerConfig { load_rows_max: 40, slots_max: 0, ..tiny.clone() },
        ),
        ("filters read meanwhile", ConsumerConfig { load_rows_max: 20, ..tiny.clone() }),
        ("flushes side by side", ConsumerConfig { workers: 1, flushes_max: 5, ..tiny.clone() }),
        ("flush at once", ConsumerConfig { flush_interval_ms: 0, ..tiny.clone() }),
        ("flush by bytes", ConsumerConfig { flush_bytes_max: 1, ..tiny.clone() }),
        ("flush nothing but at the end", never_due()),
        ("reads of one byte", ConsumerConfig { read_bytes_max: 1, ..tiny.clone() }),
        ("zeros", zeros()),
    ] {
        let world = World::with(&appends).await;
        let life = world.start(config).await;
        if name.starts_with("flush nothing") {
            let text = "agon_events_consumed_total{topic=\"agon.recentchange.v1\"}";
            crate::world::until(|| life.metric(text) > 200.0).await;
        } else {
            life.wait_for(&appends, appends.len()).await;
        }
        life.ear.check();
        life.consumer.stop(Duration::from_secs(60)).await.unwrap();
        if name.starts_with("flush nothing") {
            world.start(tiny.clone()).await.wait_for(&appends, appends.len()).await;
        }
        check_same(name, &expected, &world.rows().await);
    }
}

fn never_due() -> ConsumerConfig {
    ConsumerConfig {
        flush_rows_max: usize::MAX,
        flush_bytes_max: usize::MAX,
        flush_interval_ms: u64::MAX,
        ..ConsumerConfig::default()
    }
}

/// The smallest value of everything.
fn zeros() -> ConsumerConfig {
    ConsumerConfig {
        workers: 0,
        flush_rows_max: 0,
        flush_bytes_max: 0,
        flush_interval_ms: 0,
        read_records_max: 1,
        read_bytes_max: 0,
        idle_wait_ms: 0,
        slots_max: 0,
        filter_items_max: 0,
        load_rows_max: 40,
        flushes_max: 0,
        retry_max_ms: 0,
        lag_interval_ms: 0,
        heartbeat_interval_ms: 0,
        ..ConsumerConfig::default()
    }
}
