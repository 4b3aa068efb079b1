//! Each metric moves when the thing it counts happens.

use std::time::Duration;

use agon_consumer::ConsumerConfig;
use agon_ports::EventLog;
use agon_projections::row::{Counts, DeadLetter, Value};
use agon_projections::{Reason, RowKey};
use agon_schema::{Topic, TopicPartition};

use crate::cells::CellStore;
use crate::events::{PARTITIONS, stream};
use crate::oracle::{self, Rows};
use crate::world::{Gate, World, ends, runtime, tiny, until};

const TOPICS: [(Topic, &str); 3] = [
    (Topic::Matches, "environment"),
    (Topic::Submissions, "benchmark"),
    (Topic::RecentChange, "stream"),
];

/// What became of a topic's records, by its partitions' progress.
fn counts(rows: &Rows, topic: Topic) -> Counts {
    let mut sum = Counts::default();
    for (key, value) in rows {
        if let (RowKey::Progress(source), Value::Progress(progress)) = (key, value)
            && source.topic == topic
        {
            sum.counted += progress.counts.counted;
            sum.duplicates += progress.counts.duplicates;
            sum.rejected += progress.counts.rejected;
        }
    }
    sum
}

fn letters(rows: &Rows, topic: Topic, reason: Reason) -> usize {
    let is_it = |(key, value): &(&RowKey, &Value)| match (key, value) {
        (RowKey::DeadLetter(source, _), Value::DeadLetter(DeadLetter { rejection, .. })) => {
            source.topic == topic && rejection.reason == reason
        }
        _ => false,
    };
    rows.iter().filter(is_it).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn records_are_counted_by_what_became_of_them() {
    let appends = stream(11, 1_500);
    let world = World::with(&appends).await;
    let life = world.start(tiny()).await;
    life.wait_for(&appends, appends.len()).await;
    let rows = oracle::fold(&appends);
    for (topic, projection) in TOPICS {
        let Counts { counted, duplicates, rejected } = counts(&rows, topic);
        for (metric, count) in [
            (
                format!("agon_events_consumed_total{{topic=\"{topic}\"}}"),
                counted + duplicates + rejected,
            ),
            (format!("agon_events_folded_total{{projection=\"{projection}\"}}"), counted),
            (format!("agon_events_duplicate_total{{topic=\"{topic}\"}}"), duplicates),
        ] {
            assert!(count > 0, "{metric}");
            assert_eq!(life.metric(&metric), count as f64, "{metric}");
        }
        for reason in Reason::ALL {
            let metric =
                format!("agon_events_rejected_total{{reason=\"{reason}\",topic=\"{topic}\"}}");
            assert_eq!(life.metric(&metric), letters(&rows, topic, reason) as f64, "{metric}");
        }
    }
}

#[test]
fn what_the_stored_cells_held_is_counted_as_replayed() {
    let appends = stream(14, 1_500);
    let world = runtime().block_on(World::with(&appends));
    let by_cell = CellStore::new(world.store.clone(), 14, 1_000);
    let cut = runtime();
    cut.block_on(async {
        // A worker a partition: each sends its first flush again and again.
        let workers = 3 * PARTITIONS as usize;
        let config = ConsumerConfig { workers, read_records_max: 100, ..tiny() };
        let started = world.start_over(config, world.log.clone(), by_cell.clone()).await;
        let life = started.unwrap();
        let is_cut = |rows: &Rows, topic: Topic| {
            let of = |key: &RowKey| match key {
                RowKey::Head(cell) => cell.source(PARTITIONS).topic == topic,
                _ => false,
            };
            rows.keys().any(of)
        };
        // Cells of each topic are stored, and no progress.
        let all_are_cut = async {
            loop {
                let rows = world.rows().await;
                if TOPICS.iter().all(|(topic, _)| is_cut(&rows, *topic)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(crate::member::STOP, all_are_cut)
            .await
            .expect("cells of each topic are stored");
        drop(life);
    });
    drop(cut);
    runtime().block_on(async {
        let life = world.start(tiny()).await;
        life.wait_for(&appends, appends.len()).await;
        for (topic, projection) in TOPICS {
            let count = |name: &str| life.metric(&format!("{name}{{topic=\"{topic}\"}}"));
            let folded = format!("agon_events_folded_total{{projection=\"{projection}\"}}");
            let rejected: f64 = Reason::ALL
                .map(|reason| format!("{{reason=\"{reason}\",topic=\"{topic}\"}}"))
                .map(|labels| life.metric(&format!("agon_events_rejected_total{labels}")))
                .iter()
                .sum();
            let replayed = count("agon_events_replayed_total");
            assert!(replayed > 0.0, "{topic}");
            let judged = life.metric(&folded) + count("agon_events_duplicate_total") + rejected;
            assert_eq!(count("agon_events_consumed_total"), judged + replayed, "{topic}");
        }
    });
    let rows = runtime().block_on(world.rows());
    oracle::check_same("replayed", &oracle::fold(&appends), &rows);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn flushes_are_counted_by_result_with_their_rows_events_and_time() {
    let appends = stream(12, 1_500);
    let world = World::with(&appends).await;
    let gate = Gate::new(world.store.clone());
    gate.shut(true);
    // A worker a partition: one holds back no other while its first set is refused.
    let config = ConsumerConfig { workers: 3 * PARTITIONS as usize, ..tiny() };
    let life = world.start_over(config, world.log.clone(), gate.clone()).await.unwrap();
    let flushes = |projection: &str, result: &str| {
        let labels = format!("projection=\"{projection}\",result=\"{result}\"");
        life.metric(&format!("agon_flushes_total{{{labels}}}"))
    };
    for (_, projection) in TOPICS {
        until(|| flushes(projection, "error") > 0.0).await;
        assert_eq!(flushes(projection, "ok"), 0.0, "{projection}");
    }
    gate.shut(false);
    life.wait_for(&appends, appends.len()).await;
    let stored = gate.flushes();
    for (topic, projection) in TOPICS {
        let count = stored.iter().filter(|flush| flush.source.topic == topic).count();
        assert_eq!(flushes(projection, "ok"), count as f64, "{projection}");
    }
    let rows: usize = stored.iter().map(|flush| flush.row_count()).sum();
    for (metric, value) in [
        ("agon_flush_rows_sum", rows as f64),
        ("agon_flush_rows_count", stored.len() as f64),
        ("agon_flush_events_sum", appends.len() as f64),
        ("agon_flush_events_count", stored.len() as f64),
        ("agon_flush_duration_seconds_count", stored.len() as f64),
    ] {
        assert_eq!(life.metric(metric), value, "{metric}");
    }
    assert!(life.metric("agon_flush_duration_seconds_sum") > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn lag_is_what_waits_and_for_how_long() {
    let appends = stream(13, 600);
    let world = World::with(&appends[..300]).await;
    let gate = Gate::new(world.store.clone());
    let config = ConsumerConfig { workers: 1, ..tiny() };
    let life = world.start_over(config, world.log.clone(), gate.clone()).await.unwrap();
    life.wait_for(&appends, 300).await;
    let sources = |topic| (0..PARTITIONS).map(move |partition| TopicPartition { topic, partition });
    let sources: Vec<_> = Topic::ALL.into_iter().flat_map(sources).collect();
    let lag = |unit: &str, source: &TopicPartition| {
        let TopicPartition { topic, partition } = source;
        let labels = format!("partition=\"{partition}\",topic=\"{topic}\"");
        life.metric(&format!("agon_consumer_lag_{unit}{{{labels}}}"))
    };
    let sum = |unit| sources.iter().map(|source| lag(unit, source)).sum::<f64>();
    until(|| sum("records") == 0.0 && sum("seconds") == 0.0).await;

    gate.shut(true);
    world.log.append(appends[300..].to_vec()).await.unwrap();
    let (before, after) = (ends(&appends[..300]), ends(&appends));
    let waiting = |source: &TopicPartition| {
        after.get(source).unwrap_or(&0) - before.get(source).unwrap_or(&0)
    };
    until(|| sources.iter().all(|source| lag("records", source) == waiting(source) as f64)).await;
    world.clock.advance(Duration::from_secs(60)).unwrap();
    let has_waited = |source: &TopicPartition| {
        let seconds = lag("seconds", source);
        if waiting(source) > 0 { (59.0..=61.0).contains(&seconds) } else { seconds == 0.0 }
    };
    until(|| sources.iter().all(has_waited)).await;

    gate.shut(false);
    life.wait_for(&appends, appends.len()).await;
    until(|| sum("records") == 0.0 && sum("seconds") == 0.0).await;
}
