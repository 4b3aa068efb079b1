//! `agon stats` past the exact count of users, over a directory: what the sketch says is within its
//! error, it is stored and loaded again bit for bit, and windows and lists are there.
#![allow(clippy::unwrap_used)]

mod support;

use std::fmt::Write;
use std::path::Path;

use agon_schema::{Topic, TopicPartition};
use serde_json::{Value, json};
use support::{expect, run, stderr, text, verify};

/// Users that one partition counts exactly, as the answer's documentation states it.
const EXACT_USERS_MAX: u64 = 8_192;
const USERS: u64 = 12_000;
/// The standard error that is stated.
const ERROR: f64 = 0.0066;

/// Users of one partition of sixteen.
fn users() -> Vec<String> {
    let is_home = |user: &String| {
        let home = TopicPartition::of_key(Topic::RecentChange, user.as_bytes(), 16);
        home.partition == 3
    };
    (0..).map(|n| format!("user {n}")).filter(is_home).take(USERS as usize).collect()
}

/// One change of each of these users, one a second.
fn lines(users: &[String], first: usize) -> String {
    let mut lines = String::new();
    for (n, user) in (first..).zip(users) {
        let (minute, second) = (n / 60 % 60, n % 60);
        let dt = format!("2026-01-01T{:02}:{minute:02}:{second:02}Z", n / 3_600);
        let meta = json!({"id": format!("id-{n}"), "dt": dt, "domain": "a.org"});
        let server = format!("s{}.org", n % 30);
        let change = json!({"meta": meta, "user": user, "bot": n % 4 == 0, "server_name": server});
        writeln!(lines, "{change}").unwrap();
    }
    lines
}

fn import(data: &Path, name: &str, lines: &str) {
    let file = data.with_file_name(format!("{name}.jsonl"));
    std::fs::write(&file, lines).unwrap();
    expect(0, &["import", "recentchange", text(&file), "--data", text(data)]);
}

fn stats(data: &Path, more: &[&str]) -> Value {
    let stats = ["stats", "--data", text(data), "--format", "json"];
    serde_json::from_slice(&expect(0, &[&stats[..], more].concat()).stdout).unwrap()
}

#[test]
fn the_switch_to_the_sketch_is_stored_and_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let users = users();
    let mut before = 0;
    for (name, part) in [("a", 0..8_000), ("b", 8_000..8_200), ("c", 8_200..12_000)] {
        import(&data, name, &lines(&users[part.clone()], part.start));
        let stats = stats(&data, &[]);
        let (count, messages) = (stats["distinct_users"].as_u64().unwrap(), part.end as u64);
        assert_eq!(stats["messages"], messages);
        assert!((before..=messages).contains(&count), "{count} of {messages} after {before}");
        let is_exact = count < EXACT_USERS_MAX;
        assert_eq!(stats["distinct_users_exact"], is_exact);
        assert_eq!(stats["distinct_users_error"], if is_exact { 0.0 } else { ERROR });
        let off = (count as f64 / messages as f64 - 1.0).abs();
        assert!(off <= if is_exact { 0.0 } else { 3.0 * ERROR }, "{count} of {messages}");
        before = count;
        assert_eq!(verify(&data)["differences"], 0);
    }
    let stored = stats(&data, &["--limit", "100"]);
    assert_eq!(stored["top_servers"].as_array().unwrap().len(), 30);
    assert_eq!(stored["top_users"].as_array().unwrap().len(), 100);
    assert_eq!(stored["top_users_error"], USERS / 256, "nobody sends twice");

    // The last event is one of 03:19:59.
    for (window, messages, granularity) in [("1m", 61, 1), ("1h", 3_660, 60), ("24h", USERS, 900)] {
        let stats = stats(&data, &["--window", window]);
        assert_eq!(stats["messages"], messages, "{window}");
        assert_eq!(stats["window"]["granularity_seconds"], granularity);
        let error = stats["distinct_users_error"].as_f64().unwrap();
        let off = stats["distinct_users"].as_f64().unwrap() / messages as f64 - 1.0;
        assert!(off.abs() <= 3.0 * error, "{window}: {off}");
        assert_eq!(error > 0.0, window == "24h");
    }

    // Folded anew in one go, it is the same.
    expect(0, &["rebuild", "--data", text(&data)]);
    assert_eq!(stats(&data, &["--limit", "100"]), stored);
    assert_eq!(verify(&data)["differences"], 0);
}

#[test]
fn wrong_use_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for (option, value, says) in [("--window", "1d", "24h"), ("--limit", "101", "100")] {
        let output = run(&["stats", "--data", text(dir.path()), option, value]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
    }
}
