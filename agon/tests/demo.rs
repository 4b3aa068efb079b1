//! The demo as a stranger meets it: one command, and both kinds of board fill.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Server, verify};

/// Far beyond what it takes, for machines that are busy with other things.
const PATIENCE: Duration = Duration::from_secs(180);

/// Asks until a board has this many lines.
async fn filled(server: &Server, board: &str, entries_min: usize) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, answer) = server.get(&format!("/leaderboard?{board}")).await;
        let entries = answer["entries"].as_array().cloned().unwrap_or_default();
        if entries.len() >= entries_min {
            return entries;
        }
        assert!(matches!(status, 200 | 404), "{board}: {status} {answer}");
        assert!(Instant::now() < deadline, "{board} has {} lines: {answer}", entries.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn built_in_agents_fill_the_boards_and_all_of_it_is_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--demo"]);
    for environment in ["tic-tac-toe", "connect-four"] {
        for entry in filled(&server, &format!("environment={environment}"), 4).await {
            let count = |name: &str| entry[name].as_u64().unwrap();
            assert!(count("games") >= 1, "{entry}");
            assert_eq!(count("games"), count("wins") + count("draws") + count("losses"));
        }
    }
    let deadline = Instant::now() + PATIENCE;
    let benchmarks = loop {
        let (_, answer) = server.get("/api/v1/benchmarks").await;
        let items = answer["items"].as_array().cloned().unwrap_or_default();
        if !items.is_empty() {
            break items;
        }
        assert!(Instant::now() < deadline, "{answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    for benchmark in benchmarks {
        let id = benchmark["id"].as_str().unwrap();
        for entry in filled(&server, &format!("benchmark={id}"), 4).await {
            assert!(entry["score"].is_number(), "{entry}");
        }
    }
    assert_eq!(server.terminate(), Some(0));
    let report = verify(dir.path());
    assert_eq!(report["differences"], 0, "{report}");
    assert!(report["rows"].as_u64().unwrap() > 20, "{report}");
}
