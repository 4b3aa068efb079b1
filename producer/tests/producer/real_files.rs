//! Recorded data in: every good line counts, every edge case is met.

use agon_memory::FaultRates;
use agon_producer::IntakeConfig;
use agon_producer::import::Content;

use crate::files::{Files, dry_run, import_into, matches, shared, submissions, sums};
use crate::world::World;

// Where time is paused, the file is small: a thread that waits to hand on what it read holds time.

/// Imports a file twice, with a fold between; answers the sums of both.
async fn twice(world: &mut World, path: &std::path::Path, content: Content) -> [[u64; 5]; 2] {
    let first = import_into(world, path, content.clone()).await;
    world.folder.fold().await;
    tokio::task::yield_now().await;
    let records = world.records().await;
    let second = import_into(world, path, content).await;
    assert_eq!(world.records().await, records, "the second import appends nothing");
    [sums(&first), sums(&second)]
}

#[tokio::test]
async fn football() {
    let Some(path) = shared("football-international/matches.csv.gz") else { return };
    assert_eq!(sums(&dry_run(&path, matches("football")).await), [45_810, 0, 0, 0, 0]);
    // Fewer identities are remembered than the file has, so the rest is looked up.
    let config = IntakeConfig { recent_max: 10_000, ..IntakeConfig::default() };
    let mut world = World::with(config, FaultRates::default(), 0);
    let both = twice(&mut world, &path, matches("football")).await;
    assert_eq!(both, [[45_810, 45_810, 0, 0, 0], [45_810, 0, 45_810, 0, 0]]);
    let counts = world.folder.counts();
    assert_eq!((counts.counted, counts.duplicates, counts.rejected), (45_811, 0, 0));
    let offsets = world.all_records().await.into_iter().map(|(position, _)| position.offset);
    assert!(offsets.eq(0..45_811), "one environment stands in one partition, in order");
}

#[tokio::test]
async fn pairwise_matches_and_american_football() {
    for (name, count) in [
        ("swebench-submissions/pairwise_matches.csv.gz", 52_500),
        ("nfl-elo-538/matches.csv.gz", 16_810),
    ] {
        let Some(path) = shared(name) else { return };
        assert_eq!(sums(&dry_run(&path, matches("e")).await), [count, 0, 0, 0, 0], "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn boards_by_a_map_of_columns() {
    let Some(path) = shared("swebench-submissions/boards.csv") else { return };
    let map = "submission_id=name,agent=name,benchmark=board,submitted_at=date";
    let mut world = World::new();
    let [first, second] = twice(&mut world, &path, submissions(None, map)).await;
    let [read, appended, duplicates, refused, _] = first;
    assert_eq!(read, 246);
    assert_eq!(appended + duplicates + refused, 246);
    assert_eq!(second, [246, 0, appended + duplicates, refused, 0]);
    let counts = world.folder.counts();
    assert_eq!((counts.counted, counts.duplicates), (appended + 2, 0));
    let codes: Vec<_> = world.folder.reasons().await.iter().map(|reason| reason.code()).collect();
    assert!(codes.iter().all(|code| *code == "conflicting_duplicate"), "{codes:?}");
    assert!(counts.rejected <= refused);
}

#[tokio::test(start_paused = true)]
async fn submissions_of_one_benchmark() {
    let Some(path) = shared("swebench-submissions/submissions.csv") else { return };
    let map = "submission_id=submission,agent=name,submitted_at=date";
    let mut world = World::new();
    let content = submissions(Some("swe-bench"), map);
    let both = twice(&mut world, &path, content).await;
    assert_eq!(both, [[15, 15, 0, 0, 0], [15, 0, 15, 0, 0]]);
}

#[tokio::test]
async fn recorded_changes() {
    for (name, expected) in [
        ("wikimedia-recentchange/events.jsonl", [20, 20, 0, 0, 0]),
        ("wikimedia-recentchange/stream.sse", [9, 9, 0, 0, 0]),
        ("wikimedia-recentchange/legacy_2019.jsonl", [1, 1, 0, 0, 0]),
        ("wikimedia-edits-2015/recentchange_shaped.jsonl.gz", [20_000, 20_000, 0, 0, 0]),
    ] {
        let Some(path) = shared(name) else { return };
        let mut world = World::new();
        let [read, appended, ..] = expected;
        let both = twice(&mut world, &path, Content::RecentChange).await;
        assert_eq!(both, [expected, [read, 0, appended, 0, 0]], "{name}");
        assert_eq!(world.folder.counts().counted, appended, "{name}");
    }
}

/// The edge cases by hand: what the schema calls valid counts once for each id, canaries are
/// passed over, the others are dead letters with a reason and a line.
#[tokio::test(start_paused = true)]
async fn edge_cases_of_the_stream() {
    let Some(path) = shared("wikimedia-recentchange/edge_cases.jsonl") else { return };
    let cases: Vec<serde_json::Value> = std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let lines: Vec<&str> = cases.iter().map(|case| case["line"].as_str().unwrap()).collect();
    let files = Files::new();
    let path = files.write("edge.jsonl", lines.join("\n"));
    let mut world = World::new();
    let report = import_into(&world, &path, Content::RecentChange).await;
    let bad: Vec<&str> = report
        .named
        .iter()
        .filter(|bad| bad.what.starts_with("malformed"))
        .map(|bad| cases[bad.line as usize - 1]["name"].as_str().unwrap())
        .collect();
    let invalid: Vec<&str> = cases
        .iter()
        .filter(|case| case["valid_by_schema_1_0_0"] == false)
        .map(|case| case["name"].as_str().unwrap())
        .collect();
    assert_eq!(bad, invalid);
    assert_eq!(report.skipped, 1);
    world.folder.fold().await;
    let records = world.records().await;
    let letters = world.folder.reasons().await;
    let malformed = letters.iter().filter(|reason| reason.code() == "malformed").count();
    assert_eq!(malformed, invalid.len());
    let again = import_into(&world, &path, Content::RecentChange).await;
    assert_eq!(again.refused, report.refused);
    assert_eq!((again.appended, world.records().await), (0, records));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_cut_keeps_what_is_whole() {
    let Some(path) = shared("wikimedia-recentchange/stream.sse") else { return };
    let mut bytes = std::fs::read(path).unwrap();
    bytes.truncate(bytes.len() - 300);
    let files = Files::new();
    let path = files.write("cut.sse", bytes);
    let report = import_into(&World::new(), &path, Content::RecentChange).await;
    assert_eq!(sums(&report), [9, 8, 0, 1, 0]);
    assert!(report.named[0].what.contains("ends too early"), "{:?}", report.named);
}
