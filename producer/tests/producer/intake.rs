//! What the intake answers, and what the log then holds.

use std::time::Duration;

use agon_ports::{Append, EventLog};
use agon_producer::OnConflict::{Append as Keep, Refuse};
use agon_producer::{Entry, IntakeConfig, IntakeError, Submitted};
use agon_schema::{TopicPartition, encode};
use serde_json::json;

use crate::world::{World, a_match, benchmark, environment, run, short, submission};

#[tokio::test]
async fn events_are_appended_in_their_order_and_answered_with_their_place() {
    let world = World::new();
    let mut events = vec![environment("e")];
    events.extend((0..100).map(|n| a_match("e", &format!("m{n}"), "ann")));
    let ids: Vec<_> = events.iter().map(agon_schema::Event::identity).collect();
    let submitted = world.intake.submit(events, Refuse).await.unwrap();
    let offsets: Vec<u64> = submitted
        .iter()
        .zip(&ids)
        .map(|(submitted, expected)| match submitted {
            Submitted::Appended { id, position } if id == expected => position.offset,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(offsets, (0..=100).collect::<Vec<_>>());
    for (position, record) in world.all_records().await {
        let ce_id = ids[position.offset as usize].uuid().to_string();
        assert_eq!(record.header("ce_id"), Some(ce_id.as_bytes()));
        assert_eq!(record.appended_at_ms, 1_795_255_200_000);
    }
    assert!(
        (world.sample("agon_events_appended_total{topic=\"agon.matches.v1\"}") - 101.0).abs() < 0.1
    );
    assert!(world.sample("agon_intake_queue_records ").abs() < 0.1);
    assert!((world.sample("agon_intake_queue_records_max ") - 65_536.0).abs() < 0.1);
}

#[tokio::test]
async fn concurrent_equal_calls_give_one_record_and_the_same_place() {
    let mut world = World::new();
    world.define(vec![environment("e")]).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let intake = world.intake.clone();
        calls.spawn(async move { intake.submit(vec![a_match("e", "m", "ann")], Refuse).await });
    }
    let mut places = Vec::new();
    let mut appended = 0;
    while let Some(call) = calls.join_next().await {
        match call.unwrap().unwrap().as_slice() {
            [Submitted::Appended { position, .. }] => {
                appended += 1;
                places.push(*position);
            }
            [Submitted::Duplicate { position, .. }] => places.push(*position),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((appended, places.len()), (1, 50));
    assert!(places.iter().all(|place| *place == places[0]));
    assert_eq!(world.records().await, 2);
}

#[tokio::test]
async fn a_duplicate_is_known_while_it_is_recent_and_ever_after() {
    let mut world = World::new();
    world.define(vec![environment("e")]).await;
    let twice = || vec![a_match("e", "m", "ann"), a_match("e", "m", "ann")];
    assert_eq!(world.submit(twice(), Refuse).await, ["+", "="]);
    assert_eq!(world.submit(twice(), Refuse).await, ["=", "="]);
    world.folder.fold().await;
    // The view hears of it by the feed, in a task of its own.
    tokio::task::yield_now().await;
    assert_eq!(world.submit(twice(), Refuse).await, ["=", "="]);
    assert_eq!(world.submit(vec![environment("e")], Refuse).await, ["="]);
    assert_eq!(world.records().await, 2);
}

#[tokio::test]
async fn other_content_is_refused_or_kept_once() {
    let mut world = World::new();
    world.define(vec![environment("e")]).await;
    let both = || vec![a_match("e", "m", "ann"), a_match("e", "m", "bob")];
    assert_eq!(world.submit(both(), Refuse).await, ["+", "!"]);
    assert_eq!(world.submit(both(), Refuse).await, ["=", "!"]);
    assert_eq!(world.records().await, 2);
    let more =
        || vec![a_match("e", "m", "bob"), a_match("e", "m", "bob"), a_match("e", "m", "cid")];
    assert_eq!(world.submit(more(), Keep).await, ["!+", "!", "!+"]);
    assert_eq!(world.submit(more(), Keep).await, ["!", "!", "!"]);
    world.folder.fold().await;
    tokio::task::yield_now().await;
    assert_eq!(world.submit(more(), Keep).await, ["!", "!", "!"]);
    assert_eq!(world.records().await, 4);
    let reasons = world.folder.reasons().await;
    assert_eq!(
        reasons.iter().map(|reason| reason.code()).collect::<Vec<_>>(),
        ["conflicting_duplicate"; 2]
    );
    assert!(
        (world.sample("agon_intake_refused_total{code=\"conflicting_duplicate\"}") - 9.0).abs()
            < 0.1
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_certain_to_be_a_dead_letter_is_refused() {
    let mut world = World::new();
    let check = async |world: &World, event, expected: &str| {
        assert_eq!(world.submit(vec![event], Refuse).await, [expected]);
    };
    check(&world, a_match("e", "m", "ann"), "unknown_environment").await;
    check(&world, submission("b", "s", json!({})), "unknown_benchmark").await;
    check(&world, run("b", "s", "r", json!({"m":1})), "unknown_benchmark").await;
    world.define(vec![benchmark("b", "m")]).await;
    check(&world, submission("b", "s", json!({"n":1})), "missing_metric").await;
    check(&world, run("b", "s", "r", json!({"m":1})), "unknown_submission").await;
    check(&world, submission("b", "s", json!({})), "+").await;
    check(&world, run("b", "s", "r", json!({"n":1})), "missing_metric").await;
    check(&world, run("b", "s", "r", json!({"m":1})), "+").await;
    check(&world, submission("b", "s2", json!({"m":1,"n":2})), "+").await;
    world.folder.fold().await;
    tokio::task::yield_now().await;
    check(&world, run("b", "s", "r2", json!({"m":2})), "+").await;
    world.folder.fold().await;
    let counts = world.folder.counts();
    assert_eq!((counts.counted, counts.rejected), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn a_definition_helps_only_what_comes_after_it() {
    let world = World::new();
    let call = vec![a_match("e", "1", "ann"), environment("e"), a_match("e", "2", "ann")];
    assert_eq!(world.submit(call, Refuse).await, ["unknown_environment", "+", "+"]);
    let call = vec![
        run("b", "s", "r", json!({"m":1})),
        benchmark("b", "m"),
        run("b", "s", "r", json!({"m":1})),
        submission("b", "s", json!({})),
        run("b", "s", "r", json!({"m":1})),
    ];
    // What was said before is looked at again when the rest is in the log.
    let expected = ["unknown_benchmark", "+", "+", "+", "="];
    assert_eq!(world.submit(call, Refuse).await, expected);
    let equal = vec![a_match("f", "m", "ann"); 40];
    assert_eq!(world.submit(equal, Refuse).await, ["unknown_environment"; 40]);
    let different = (0..40).map(|n| a_match("f", "m", &format!("ann{n}"))).collect();
    for outcome in world.submit(different, Refuse).await {
        assert!(["unknown_environment", "conflicting_duplicate"].contains(&outcome.as_str()));
    }
    assert_eq!(world.records().await, 5);
}

#[tokio::test]
async fn an_unknown_environment_waits_for_the_view_to_pass_the_log() {
    let mut world = World::new();
    let event = environment("e");
    let target = TopicPartition::of_key(event.topic(), b"e", world.log.partitions());
    let record = encode(&event, "elsewhere", 0);
    world.log.append(vec![Append { target, record }]).await.unwrap();
    let intake = world.intake.clone();
    let mut call =
        tokio::spawn(async move { intake.submit(vec![a_match("e", "m", "ann")], Refuse).await });
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut call).await.is_err());
    world.folder.fold().await;
    assert_eq!(short(&call.await.unwrap().unwrap()[0]), "+");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_seen_is_left_to_the_fold() {
    let mut world = World::new();
    world.define(vec![environment("e"), benchmark("b", "m")]).await;
    assert_eq!(world.submit(vec![a_match("e", "m", "ann")], Refuse).await, ["+"]);
    assert_eq!(world.submit(vec![submission("b", "s", json!({"m":1}))], Refuse).await, ["+"]);
    // Nobody folds: the view stays behind the log.
    let behind = world.submit(vec![run("b", "other", "r", json!({"m":1}))], Refuse).await;
    assert_eq!(behind, ["+"]);
    world.store_faults.crash();
    let event = a_match("e", "m2", "ann");
    assert_eq!(world.submit(vec![event, a_match("f", "m", "ann")], Refuse).await, ["+", "+"]);
    world.store_faults.heal();
    world.folder.fold().await;
    let mut codes: Vec<_> =
        world.folder.reasons().await.iter().map(|reason| reason.code()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["unknown_environment", "unknown_submission"]);
}

#[tokio::test]
async fn a_malformed_change_is_kept_once() {
    let mut world = World::new();
    let entries = || {
        vec![Entry::MalformedChange(b"not json".to_vec()), Entry::MalformedChange(b"{}".to_vec())]
    };
    let both: Vec<Entry> = entries().into_iter().chain(entries()).collect();
    assert_eq!(world.submit_entries(both).await, ["+", "+", "=", "="]);
    world.folder.fold().await;
    tokio::task::yield_now().await;
    assert_eq!(world.submit_entries(entries()).await, ["=", "="]);
    let reasons = world.folder.reasons().await;
    assert_eq!(reasons.iter().map(|reason| reason.code()).collect::<Vec<_>>(), ["malformed"; 2]);
    let huge = Entry::MalformedChange(vec![b'x'; 1 << 20]);
    assert_eq!(world.submit_entries(vec![huge]).await, ["invalid_field"]);
    assert_eq!(world.records().await, 2);
}

#[tokio::test]
async fn a_call_larger_than_the_queue_says_so() {
    let config = IntakeConfig { queue_records_max: 3, ..IntakeConfig::default() };
    let world = World::with(config, agon_memory::FaultRates::default(), 0);
    let events = (0..4).map(|n| environment(&format!("e{n}"))).collect();
    let error = world.intake.submit(events, Refuse).await.unwrap_err();
    assert!(matches!(error, IntakeError::TooMuch { records: 4, records_max: 3, .. }), "{error}");
    let config = IntakeConfig { queue_bytes_max: 100, ..IntakeConfig::default() };
    let world = World::with(config, agon_memory::FaultRates::default(), 0);
    let error = world.intake.submit(vec![environment("e")], Refuse).await.unwrap_err();
    assert!(matches!(error, IntakeError::TooMuch { bytes_max: 100, .. }), "{error}");
    assert!((world.sample("agon_intake_refused_total{code=\"body_too_large\"}") - 1.0).abs() < 0.1);
}

/// As the fold has it: two users stand in two partitions, and each is a stream of its own.
#[tokio::test]
async fn changes_of_two_users_under_one_id_are_two() {
    let mut world = World::new();
    let change = |user: &str| {
        let json = format!(
            r#"{{"meta":{{"dt":"2026-01-01","id":"x"}},"user":"{user}","server_name":"s"}}"#
        );
        match agon_schema::wikimedia::parse(json.as_bytes()).unwrap() {
            agon_schema::wikimedia::Line::Change(change) => {
                agon_schema::Event::RecentChange(change)
            }
            other => panic!("{other:?}"),
        }
    };
    let all = || vec![change("ann"), change("bob"), change("ann")];
    assert_eq!(world.submit(all(), Keep).await, ["+", "+", "="]);
    world.folder.fold().await;
    tokio::task::yield_now().await;
    assert_eq!(world.submit(all(), Keep).await, ["=", "=", "="]);
    assert_eq!(world.folder.counts().counted, 2);
}
