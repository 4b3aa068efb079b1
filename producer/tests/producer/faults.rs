//! The log on a bad day, a full queue, and the end.

use std::collections::HashMap;
use std::sync::Arc;

use agon_memory::FaultRates;
use agon_producer::OnConflict::Refuse;
use agon_producer::import::{IntakeSink, Sink};
use agon_producer::{Entry, IntakeConfig, IntakeError, Submitted};
use agon_schema::Event;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::world::{World, a_match, environment};

fn small_batches() -> IntakeConfig {
    IntakeConfig { batch_records_max: 7, ..IntakeConfig::default() }
}

#[tokio::test]
async fn while_the_log_is_away_nothing_is_acknowledged() {
    let mut world = World::new();
    world.define(vec![environment("e")]).await;
    world.log_faults.crash();
    for n in 0..10 {
        let event = a_match("e", &format!("m{n}"), "ann");
        let error = world.intake.submit(vec![event], Refuse).await.unwrap_err();
        assert!(matches!(error, IntakeError::LogAway { .. }) && error.may_pass(), "{error}");
    }
    assert_eq!(world.records().await, 1);
    world.log_faults.heal();
    assert_eq!(world.submit(vec![a_match("e", "m0", "ann")], Refuse).await, ["+"]);
    assert!(
        (world.sample("agon_intake_refused_total{code=\"log_unavailable\"}") - 10.0).abs() < 0.1
    );
}

/// The position of every acknowledged event holds that event, whatever the log does.
#[tokio::test(start_paused = true)]
async fn acknowledged_is_in_the_log() {
    for seed in 0..20 {
        let world = World::with(small_batches(), FaultRates::all(60, 0), seed);
        let mut calls = JoinSet::new();
        for call in 0..40 {
            let intake = world.intake.clone();
            calls.spawn(async move {
                let events: Vec<Event> =
                    (0..5).map(|n| environment(&format!("e{call}-{n}"))).collect();
                intake.submit(events, Refuse).await
            });
        }
        let (mut acknowledged, mut failed) = (Vec::new(), 0);
        while let Some(call) = calls.join_next().await {
            match call.unwrap() {
                Ok(submitted) => acknowledged.extend(submitted),
                Err(IntakeError::LogAway { .. }) => failed += 1,
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        let records: HashMap<_, _> = world.all_records().await.into_iter().collect();
        for submitted in &acknowledged {
            let (Submitted::Appended { id, position } | Submitted::Duplicate { id, position }) =
                submitted
            else {
                panic!("seed {seed}: {submitted:?}");
            };
            let id = id.uuid().to_string();
            assert_eq!(records[position].header("ce_id"), Some(id.as_bytes()), "seed {seed}");
        }
        assert_eq!(acknowledged.len() + failed * 5, 200, "seed {seed}");
    }
}

/// What a caller hands in with several calls in flight first appears in its order, through
/// failures and repetitions.
#[tokio::test(start_paused = true)]
async fn an_import_keeps_its_order_through_failures() {
    let mut failures = 0;
    for seed in 0..30 {
        let config = IntakeConfig { batch_records_max: 10, ..IntakeConfig::default() };
        let world = World::with(config, FaultRates::all(100, 0), seed);
        let mut sink = IntakeSink::new(world.intake.clone());
        sink.define(vec![environment("e")]).await.unwrap();
        let ids: Vec<String> = (0..200).map(|n| format!("m{n:03}")).collect();
        for chunk in ids.chunks(25) {
            let entries = chunk.iter().map(|id| Entry::Event(a_match("e", id, "ann"))).collect();
            sink.send(Arc::new(entries)).await.unwrap();
        }
        sink.finish().await.unwrap();
        let mut seen = Vec::new();
        for (_, record) in world.all_records().await {
            if let Event::MatchFinished(event) = agon_schema::decode(&record).unwrap() {
                let id = event.match_id.to_string();
                if !seen.contains(&id) {
                    seen.push(id);
                }
            }
        }
        assert_eq!(seen, ids, "seed {seed}");
        failures += world.log_faults.count(agon_memory::Fault::Refuse);
    }
    assert!(failures > 100, "{failures} failures only");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_and_recovers() {
    let gate = Arc::new(Semaphore::new(0));
    let config = IntakeConfig { queue_records_max: 10, ..IntakeConfig::default() };
    let world = World::gated(config, &gate);
    let call = |n: usize| {
        let intake = world.intake.clone();
        let events: Vec<Event> = (0..5).map(|k| environment(&format!("e{n}-{k}"))).collect();
        async move { intake.submit(events, Refuse).await }
    };
    let waiting = [tokio::spawn(call(0)), tokio::spawn(call(1))];
    tokio::task::yield_now().await;
    for n in 2..5 {
        let error = call(n).await.unwrap_err();
        let expected = IntakeError::Overloaded { records: 5, waiting: 10, records_max: 10 };
        assert_eq!(error, expected);
    }
    assert!((world.sample("agon_intake_queue_records ") - 10.0).abs() < 0.1);
    gate.add_permits(100);
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap().len(), 5);
    }
    assert_eq!(call(2).await.unwrap().len(), 5);
    assert_eq!(world.records().await, 15);
    assert!((world.sample("agon_intake_refused_total{code=\"overloaded\"}") - 15.0).abs() < 0.1);
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_is_drained_and_nothing_after() {
    let gate = Arc::new(Semaphore::new(0));
    let world = World::gated(small_batches(), &gate);
    let intake = world.intake.clone();
    let events = (0..30).map(|n| environment(&format!("e{n}"))).collect();
    let accepted = tokio::spawn(async move { intake.submit(events, Refuse).await });
    tokio::task::yield_now().await;
    let closing = tokio::spawn({
        let intake = world.intake.clone();
        async move { intake.close().await }
    });
    tokio::task::yield_now().await;
    let late = world.intake.submit(vec![environment("late")], Refuse).await;
    assert_eq!(late.unwrap_err(), IntakeError::Closed);
    assert!(!closing.is_finished());
    gate.add_permits(100);
    closing.await.unwrap();
    assert_eq!(accepted.await.unwrap().unwrap().len(), 30);
    world.task.await.unwrap();
    let ends = agon_ports::EventLog::ends(&world.log).await.unwrap();
    assert_eq!(ends.values().sum::<u64>(), 30);
}

#[tokio::test]
async fn the_last_handle_ends_the_task() {
    let World { intake, task, .. } = World::new();
    drop(intake);
    task.await.unwrap();
}

/// A caller that goes away leaves nothing behind: neither places nor claims.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_frees_what_it_held() {
    let world = World::new();
    // Held up by a view that is behind in the partition of both: nobody folds.
    let partition = |id: &str| agon_schema::topic::partition_of(id.as_bytes(), 16);
    let id = (0..).map(|n| format!("e{n}")).find(|id| partition(id) == partition("first"));
    let id = id.unwrap();
    assert_eq!(world.submit(vec![environment("first")], Refuse).await, ["+"]);
    let (intake, event) = (world.intake.clone(), environment(&id));
    let call = tokio::spawn(async move { intake.submit(vec![event], Refuse).await });
    tokio::task::yield_now().await;
    assert!((world.sample("agon_intake_queue_records ") - 1.0).abs() < 0.1);
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert!(world.sample("agon_intake_queue_records ").abs() < 0.1);
    assert_eq!(world.submit(vec![environment(&id)], Refuse).await, ["+"]);
}
