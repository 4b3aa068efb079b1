//! Imports into a log without a view: what the log defines is found by reading it, and an outage
//! of half a minute costs nothing but the time.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agon_memory::{FaultRates, Faults, Faulty};
use agon_ports::{Append, EventLog};
use agon_producer::import::{
    Definitions, Fate, ImportError, IntakeSink, Searched, Sink, find_definition,
};
use agon_producer::{Entry, IntakeConfig, IntakeError};
use agon_projections::CellKey;
use agon_schema::event::EnvironmentDefined;
use agon_schema::{Event, Record, Topic, TopicPartition, encode};
use tokio::time::Instant;

use crate::files::{Files, into_sink, matches, submissions, sums};
use crate::world::{Setup, World, a_match, environment};

const HEADER: &str = "match_id,played_on,a,b,outcome_a";

fn blind() -> World {
    World::build(Setup { has_view: false, ..Setup::default() })
}

fn sink(world: &World) -> IntakeSink {
    let definitions = Definitions::new(Arc::new(world.log.clone()), Box::new(|_| {}));
    IntakeSink::searching(world.intake.clone(), definitions)
}

fn cell(event: &Event) -> CellKey {
    CellKey::of(event, TopicPartition { topic: Topic::Matches, partition: 0 })
}

/// Appends records to the partition of their key as another process would.
async fn append(world: &World, events: &[Event]) {
    let record = |event: &Event| {
        let record = encode(event, "elsewhere", 0);
        let target = TopicPartition::of_key(event.topic(), &record.key, world.log.partitions());
        Append { target, record }
    };
    world.log.append(events.iter().map(record).collect()).await.unwrap();
}

/// Whether it is found, and the last progress that was told.
async fn find(log: Arc<dyn EventLog>, event: &Event) -> (bool, Option<Searched>) {
    let told = Arc::new(Mutex::new(None));
    let last = Arc::clone(&told);
    let on_searched = Box::new(move |searched| *last.lock().unwrap() = Some(searched));
    let found = find_definition(log, &cell(event), on_searched).await.unwrap();
    let told = *told.lock().unwrap();
    (found, told)
}

#[tokio::test(start_paused = true)]
async fn a_definition_is_found_wherever_it_stands() {
    let world = blind();
    let log: Arc<dyn EventLog> = Arc::new(world.log.clone());
    let sought = environment("e");
    assert_eq!(find(Arc::clone(&log), &sought).await, (false, None));
    // Others in the same partition, a later version, and what is no event do not count for it.
    let home = TopicPartition::of_key(Topic::Matches, b"e", 16);
    let is_beside = |id: &String| TopicPartition::of_key(Topic::Matches, id.as_bytes(), 16) == home;
    let beside: Vec<String> = (0..).map(|n| format!("x{n}")).filter(is_beside).take(3).collect();
    let Event::EnvironmentDefined(defined) = sought.clone() else { unreachable!() };
    let second = Event::EnvironmentDefined(EnvironmentDefined { version: 2, ..defined });
    let mut events: Vec<Event> = beside.iter().map(|id| environment(id)).collect();
    events.push(second);
    events.extend((0..25_000).map(|n| a_match("e", &format!("m{n}"), "ann")));
    append(&world, &events).await;
    let mut broken: Record = encode(&sought, "elsewhere", 0);
    broken.value = vec![0xff; 7];
    world.log.append(vec![Append { target: home, record: broken }]).await.unwrap();
    let all = Searched { records: 25_005, records_total: 25_005 };
    assert_eq!(find(Arc::clone(&log), &sought).await, (false, Some(all)));
    let first = Searched { records: 10_000, records_total: 25_005 };
    assert_eq!(find(Arc::clone(&log), &environment(&beside[2])).await, (true, Some(first)));
    append(&world, std::slice::from_ref(&sought)).await;
    assert!(find(log, &sought).await.0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_twice() {
    let world = blind();
    let events: Vec<Event> = (0..100).map(|n| environment(&format!("e{n}"))).collect();
    append(&world, &events).await;
    let read = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&read);
    let on_searched = Box::new(move |searched: Searched| {
        count.fetch_max(searched.records_total, Ordering::SeqCst);
    });
    let mut definitions = Definitions::new(Arc::new(world.log.clone()), on_searched);
    let cells: BTreeSet<CellKey> = events.iter().map(cell).collect();
    assert_eq!(definitions.find(&cells).await.unwrap(), cells);
    assert_eq!(read.swap(0, Ordering::SeqCst), 100);
    let more: BTreeSet<CellKey> =
        cells.iter().cloned().chain([cell(&environment("none"))]).collect();
    assert_eq!(definitions.find(&more).await.unwrap(), cells);
    assert_eq!(read.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_search_goes_on_after_faults() {
    let world = blind();
    let events: Vec<Event> = (0..2000).map(|n| a_match("e", &format!("m{n}"), "ann")).collect();
    append(&world, &events).await;
    append(&world, &[environment("e")]).await;
    for seed in 0..20 {
        let faults = Faults::new(seed, FaultRates::all(200, 0));
        let log: Arc<dyn EventLog> = Arc::new(Faulty::new(world.log.clone(), faults));
        assert!(find(log, &environment("e")).await.0, "seed {seed}");
    }
    let faults = Faults::new(0, FaultRates::default());
    faults.crash();
    let log: Arc<dyn EventLog> = Arc::new(Faulty::new(world.log.clone(), faults));
    let began = Instant::now();
    let failed = find_definition(log, &cell(&environment("e")), Box::new(|_| {})).await;
    assert_eq!(failed.unwrap_err().retry, agon_ports::Retry::Later);
    assert_eq!(began.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn an_import_defines_what_the_log_does_not() {
    let files = Files::new();
    let row = |n| format!("m{n},2026-01-01,ann,bob,1\n");
    let text: String = (0..10).map(row).collect();
    let path = files.write("m.csv", format!("{HEADER}\n{text}{}", row(3)));
    let mut world = blind();
    let report = into_sink(&path, matches("e"), &mut sink(&world)).await;
    assert_eq!(report.notes, ["environment e was not defined; defined it with Elo's defaults"]);
    assert_eq!(sums(&report), [11, 10, 1, 0, 0]);
    // Another process knows nothing of this: it finds the definition, and appends again.
    let other = blind();
    for (_, record) in world.all_records().await {
        let target = TopicPartition::of_key(Topic::Matches, &record.key, 16);
        other.log.append(vec![Append { target, record }]).await.unwrap();
    }
    let again = into_sink(&path, matches("e"), &mut sink(&other)).await;
    assert_eq!((again.notes.len(), sums(&again)), (0, [11, 10, 1, 0, 0]));
    assert_eq!(other.records().await, 21);
    world = other;
    world.folder.fold().await;
    let counts = world.folder.counts();
    assert_eq!((counts.counted, counts.duplicates, counts.rejected), (11, 10, 0));
}

#[tokio::test(start_paused = true)]
async fn of_several_benchmarks_only_the_missing_are_defined() {
    let files = Files::new();
    let text: String = (0..9).map(|n| format!("s{n},b{},ann,0.5\n", n % 3)).collect();
    let path = files.write("s.csv", format!("submission_id,benchmark,agent,score\n{text}"));
    let mut world = blind();
    append(&world, &[crate::world::benchmark("b1", "score")]).await;
    let report = into_sink(&path, submissions(None, ""), &mut sink(&world)).await;
    let defined: Vec<_> = report.notes.iter().map(|note| &note[..12]).collect();
    assert_eq!(defined, ["benchmark b0", "benchmark b2"]);
    assert_eq!(sums(&report), [9, 9, 0, 0, 0]);
    world.folder.fold().await;
    let counts = world.folder.counts();
    assert_eq!((counts.counted, counts.rejected), (12, 0));
    let fates = sink(&world).define(vec![crate::world::benchmark("b1", "score")]).await.unwrap();
    assert_eq!(fates, [Fate::Duplicate]);
}

/// Hands in matches while the log is away for so long; what the log then holds, by their ids.
async fn outage(away: Duration) -> Result<Vec<String>, ImportError> {
    let config = IntakeConfig { batch_records_max: 10, ..IntakeConfig::default() };
    let world = World::build(Setup { config, has_view: false, ..Setup::default() });
    let mut sink = sink(&world);
    sink.define(vec![environment("e")]).await.unwrap();
    let faults = Arc::clone(&world.log_faults);
    let healing = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        faults.crash();
        tokio::time::sleep(away).await;
        faults.heal();
    });
    for n in 0..40 {
        let entries = (0..25).map(|k| Entry::Event(a_match("e", &format!("m{n}-{k}"), "ann")));
        sink.send(Arc::new(entries.collect())).await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sink.finish().await?;
    healing.await.unwrap();
    let mut ids = Vec::new();
    for (_, record) in world.all_records().await {
        if let Event::MatchFinished(event) = agon_schema::decode(&record).unwrap() {
            ids.push(event.match_id.to_string());
        }
    }
    Ok(ids)
}

#[tokio::test(start_paused = true)]
async fn an_import_outlives_half_a_minute_without_the_log() {
    let began = Instant::now();
    let ids = outage(Duration::from_secs(30)).await.unwrap();
    let expected: Vec<String> =
        (0..40).flat_map(|n| (0..25).map(move |k| format!("m{n}-{k}"))).collect();
    assert_eq!(ids, expected);
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_import_gives_up_after_a_minute_and_says_so() {
    let began = Instant::now();
    let error = outage(Duration::from_secs(3600)).await.unwrap_err();
    assert!(matches!(&error, ImportError::Intake(IntakeError::LogAway { .. })), "{error}");
    assert!(error.to_string().ends_with("; tried for 60 s"), "{error}");
    assert!((60..65).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}
