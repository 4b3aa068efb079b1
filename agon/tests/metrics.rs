//! Every metric of the contract: there from the first scrape, and moving when its thing happens.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use agon_ports::{Append, EventLog, LogRecord};
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use support::{Server, add_user, expect, http, log, matches_csv, text};

const PATIENCE: Duration = Duration::from_secs(60);

/// Series with a closed set of labels, there before anything happened.
const FROM_THE_START: [&str; 41] = [
    r#"agon_events_appended_total{topic="agon.matches.v1"}"#,
    r#"agon_events_appended_total{topic="agon.submissions.v1"}"#,
    r#"agon_events_appended_total{topic="agon.recentchange.v1"}"#,
    r#"agon_events_consumed_total{topic="agon.matches.v1"}"#,
    r#"agon_events_consumed_total{topic="agon.submissions.v1"}"#,
    r#"agon_events_consumed_total{topic="agon.recentchange.v1"}"#,
    r#"agon_events_folded_total{projection="environment"}"#,
    r#"agon_events_folded_total{projection="benchmark"}"#,
    r#"agon_events_folded_total{projection="stream"}"#,
    r#"agon_events_rejected_total{reason="malformed",topic="agon.recentchange.v1"}"#,
    r#"agon_events_rejected_total{reason="unknown_environment",topic="agon.matches.v1"}"#,
    r#"agon_events_duplicate_total{topic="agon.matches.v1"}"#,
    r#"agon_flushes_total{projection="environment",result="ok"}"#,
    r#"agon_flushes_total{projection="environment",result="error"}"#,
    "agon_flush_duration_seconds_count",
    "agon_flush_rows_count",
    "agon_flush_events_count",
    r#"agon_consumer_lag_records{partition="0",topic="agon.matches.v1"}"#,
    r#"agon_consumer_lag_seconds{partition="15",topic="agon.recentchange.v1"}"#,
    "agon_visible_latency_seconds_count",
    r#"agon_http_requests_total{method="POST",route="/api/v1/matches",status="200"}"#,
    r#"agon_http_request_duration_seconds_count{method="GET",route="/api/v1/leaderboard"}"#,
    r#"agon_board_entries{board_kind="environment"}"#,
    r#"agon_board_entries{board_kind="benchmark"}"#,
    "agon_build_info{",
    "agon_ready",
    r#"agon_check_ok{check="log",required="true"}"#,
    r#"agon_check_ok{check="store",required="true"}"#,
    r#"agon_check_ok{check="folded",required="true"}"#,
    r#"agon_check_ok{check="boards",required="true"}"#,
    r#"agon_check_ok{check="feed",required="false"}"#,
    r#"agon_check_ok{check="running",required="true"}"#,
    "agon_data_free_bytes",
    "agon_data_size_bytes",
    r#"agon_intake_refused_total{code="unknown_environment"}"#,
    r#"agon_intake_refused_total{code="log_unavailable"}"#,
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "process_start_time_seconds",
];

/// One scrape: each series with its value.
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    /// The sum of all series that begin so.
    fn sum(&self, series: &str) -> f64 {
        let found =
            self.0.range(series.to_owned()..).take_while(|(name, _)| name.starts_with(series));
        found.map(|(_, value)| value).sum()
    }
}

async fn scrape(server: &Server) -> Scrape {
    let answer = http().get(&server.metrics).send().await.unwrap();
    assert!(answer.headers()[CONTENT_TYPE].to_str().unwrap().starts_with("text/plain"));
    let text = answer.text().await.unwrap();
    let series = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    Scrape(series.collect())
}

/// Scrapes until it is so; a counter may come a moment after what it counts.
async fn until(server: &Server, what: &str, is_so: impl Fn(&Scrape) -> bool) -> Scrape {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = scrape(server).await;
        if is_so(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what}: {:#?}", seen.0);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn post(server: &Server, token: &str, path: &str, body: Value) -> Value {
    let (status, answer) = server.post(path, token, &body).await;
    assert_eq!(status, 202, "{path}: {answer}");
    answer
}

async fn write_of_each_kind(server: &Server, token: &str) {
    post(server, token, "/api/v1/environments", json!({"id": "e"})).await;
    let benchmark = json!({"id": "b", "metric": "m", "direction": "higher", "aggregation": "best"});
    post(server, token, "/api/v1/benchmarks", benchmark).await;
    let two = json!([{"agent": "ann", "placement": 1}, {"agent": "bob", "placement": 2}]);
    let game = json!({"match_id": "m", "environment": "e", "players": two});
    post(server, token, "/matches", game).await;
    let submission = json!({"benchmark": "b", "agent": "ann", "metrics": {"m": 1}});
    let last = post(server, token, "/submissions", submission).await;
    // What is no recent change is kept as a dead letter.
    let (status, answer) =
        server.post("/api/v1/recentchanges", token, &json!({"title": "no change"})).await;
    assert_eq!(status, 422, "{answer}");
    let two = json!([{"agent": "ann", "placement": 1}, {"agent": "bob", "placement": 2}]);
    let nowhere = json!({"match_id": "m", "environment": "nowhere", "players": two});
    let (status, answer) = server.post("/api/v1/matches", token, &nowhere).await;
    assert_eq!(status, 404, "{answer}");
    let position = last["position"].as_str().unwrap();
    for board in ["environment=e", "benchmark=b"] {
        let (status, _) =
            server.get(&format!("/leaderboard?{board}&min_position={position}")).await;
        assert_eq!(status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_there_from_the_start_and_moves() {
    let dir = tempfile::tempdir().unwrap();
    add_user(dir.path(), "writer", "producer");
    let server = Server::start(dir.path(), &[]);
    let before = scrape(&server).await;
    for series in FROM_THE_START {
        let is_there = before.0.keys().any(|name| name.starts_with(series));
        assert!(is_there, "{series} is not in {:#?}", before.0.keys());
    }
    assert_eq!(before.sum("agon_build_info{"), 1.0);
    let token = server.login("writer").await;
    write_of_each_kind(&server, &token).await;
    let moves = [
        (r#"agon_events_appended_total{topic="agon.matches.v1"}"#, 2.0),
        (r#"agon_events_appended_total{topic="agon.submissions.v1"}"#, 2.0),
        (r#"agon_events_appended_total{topic="agon.recentchange.v1"}"#, 1.0),
        (r#"agon_events_consumed_total{topic="agon.matches.v1"}"#, 2.0),
        (r#"agon_events_consumed_total{topic="agon.submissions.v1"}"#, 2.0),
        (r#"agon_events_consumed_total{topic="agon.recentchange.v1"}"#, 1.0),
        (r#"agon_events_folded_total{projection="environment"}"#, 2.0),
        (r#"agon_events_folded_total{projection="benchmark"}"#, 2.0),
        (r#"agon_events_rejected_total{reason="malformed",topic="agon.recentchange.v1"}"#, 1.0),
        (r#"agon_intake_refused_total{code="unknown_environment"}"#, 1.0),
        (r#"agon_http_requests_total{method="POST",route="/matches",status="202"}"#, 1.0),
        (
            r#"agon_http_requests_total{method="POST",route="/api/v1/recentchanges",status="422"}"#,
            1.0,
        ),
        (r#"agon_http_request_duration_seconds_count{method="POST",route="/matches"}"#, 1.0),
        (r#"agon_board_entries{board_kind="environment"}"#, 2.0),
        (r#"agon_board_entries{board_kind="benchmark"}"#, 1.0),
    ];
    for (series, by) in moves {
        let moved = |seen: &Scrape| seen.sum(series) - before.sum(series) == by;
        until(&server, series, moved).await;
    }
    for series in [
        r#"agon_flushes_total{projection="environment",result="ok"}"#,
        r#"agon_flushes_total{projection="stream",result="ok"}"#,
        "agon_flush_duration_seconds_count",
        "agon_flush_rows_sum",
        "agon_flush_events_sum",
        "agon_visible_latency_seconds_count",
        "agon_intake_batch_records_count",
        "process_cpu_seconds_total",
    ] {
        until(&server, series, |seen| seen.sum(series) > before.sum(series)).await;
    }
    until(&server, "ready", |seen| seen.sum("agon_ready") == 1.0).await;
    // What a client makes up is no series of its own.
    server.get("/made-up/by-a-client").await;
    let unmatched = r#"agon_http_requests_total{method="GET",route="unmatched",status="404"}"#;
    let seen = until(&server, unmatched, |seen| seen.sum(unmatched) == 1.0).await;
    assert!(!seen.0.keys().any(|name| name.contains("made-up")));
}

/// Appends every record of a log once more, as a producer does whose answer was lost.
async fn say_everything_again(data: &Path) -> usize {
    let log = log::open(data);
    let append = |read: LogRecord| Append { target: read.position.source, record: read.record };
    let copies: Vec<_> = log::records(&log).await.into_iter().map(append).collect();
    let count = copies.len();
    log.append(copies).await.unwrap();
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_and_duplicates_show_while_a_log_is_folded() {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("matches.csv"), dir.path().join("data"));
    matches_csv(&file, 15_000, 3);
    expect(0, &["import", "matches", text(&file), "--environment", "e", "--data", text(&data)]);
    let copies = say_everything_again(&data).await;
    assert_eq!(copies, 15_001);
    // All of it is folded anew, and held up on the way for longer than between two measurements.
    std::fs::remove_dir_all(data.join("store")).unwrap();
    let server = Server::start(&data, &[]);
    server.signal("STOP");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    server.signal("CONT");
    for lag in ["agon_consumer_lag_records{", "agon_consumer_lag_seconds{"] {
        until(&server, lag, |seen| seen.sum(lag) > 0.0).await;
    }
    let duplicates = r#"agon_events_duplicate_total{topic="agon.matches.v1"}"#;
    until(&server, duplicates, |seen| seen.sum(duplicates) == 15_001.0).await;
    until(&server, "no lag", |seen| {
        seen.sum("agon_consumer_lag_records{") + seen.sum("agon_consumer_lag_seconds{") == 0.0
    })
    .await;
    assert_eq!(server.terminate(), Some(0));
}
