//! Real recorded input through the whole binary, when the shared data lies beside the project.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::unreadable_literal)]

mod support;

use std::path::Path;

use serde_json::Value;
use support::{expect, run, shared, stderr, stdout, text, verify};

fn board(data: &Path, kind: &str, id: &str) -> Value {
    let output = expect(
        0,
        &["board", kind, id, "--data", text(data), "--limit", "1000", "--format", "json"],
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn entry(board: &Value, index: usize) -> (String, f64) {
    let entry = &board["entries"][index];
    (entry["agent"].as_str().unwrap().to_owned(), entry["rating"].as_f64().unwrap())
}

/// The lines of `dead-letters list`, by reason.
fn dead_letters(data: &Path) -> Vec<(String, String)> {
    let output = expect(0, &["events", "dead-letters", "list", "--data", text(data)]);
    let line = |line: &str| {
        let mut parts = line.split('\t');
        (parts.next().unwrap().to_owned(), parts.next().unwrap().to_owned())
    };
    stdout(&output).lines().map(line).collect()
}

#[test]
fn football_gives_the_published_board_and_a_second_import_changes_nothing() {
    let Some(file) = shared("football-international/matches.csv.gz") else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let import = ["import", "matches", text(&file), "--environment", "football", "--data"];
    let import = [import.as_slice(), &[text(&data)]].concat();
    expect(0, &import);
    let once = verify(&data);
    assert_eq!(once["differences"], 0);
    let second = expect(0, &import);
    assert!(stderr(&second).contains("45810 duplicates"), "{}", stderr(&second));
    let twice = verify(&data);
    for field in ["rows", "position", "hash"] {
        assert_eq!(once[field], twice[field], "{field}");
    }
    let board = board(&data, "--environment", "football");
    assert_eq!(board["total"], 333);
    for (index, (agent, rating)) in [
        ("Brazil", 2064.964612),
        ("Argentina", 2040.528703),
        ("France", 1994.945791),
        ("Netherlands", 1993.084394),
        ("Spain", 1958.750537),
    ]
    .into_iter()
    .enumerate()
    {
        let found = entry(&board, index);
        assert_eq!(found.0, agent);
        assert!((found.1 - rating).abs() < 0.001, "{agent}: {} against {rating}", found.1);
    }
}

#[test]
fn nfl_gives_the_published_first() {
    let Some(file) = shared("nfl-elo-538/matches.csv.gz") else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    expect(0, &["import", "matches", text(&file), "--environment", "nfl", "--data", text(&data)]);
    let (agent, rating) = entry(&board(&data, "--environment", "nfl"), 0);
    assert_eq!(agent, "KC");
    assert!((rating - 1806.680).abs() < 0.001, "{rating}");
    assert_eq!(verify(&data)["differences"], 0);
}

#[test]
fn recorded_edits_give_the_counted_figures() {
    let Some(file) = shared("wikimedia-edits-2015/recentchange_shaped.jsonl.gz") else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for _ in 0..2 {
        expect(0, &["import", "recentchange", text(&file), "--data", text(&data)]);
        let output = expect(0, &["stats", "--data", text(&data), "--format", "json"]);
        let stats: Value = serde_json::from_slice(&output.stdout).unwrap();
        let figures = ["messages", "distinct_users", "bots", "non_bots"].map(|name| &stats[name]);
        assert_eq!(figures, [20_000, 5_850, 8_773, 11_227]);
        assert_eq!(stats["by_server_name"].as_object().unwrap().len(), 49);
        assert_eq!(verify(&data)["differences"], 0);
    }
}

#[test]
fn the_recorded_stream_and_its_edge_cases_crash_nothing() {
    let (Some(stream), Some(cases)) = (
        shared("wikimedia-recentchange/stream.sse"),
        shared("wikimedia-recentchange/edge_cases.jsonl"),
    ) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    expect(0, &["import", "recentchange", text(&stream), "--data", text(&data)]);
    assert_eq!(dead_letters(&data), []);
    let lines = dir.path().join("lines.jsonl");
    let raw = std::fs::read_to_string(cases).unwrap();
    let raw = raw.lines().map(|case| {
        let case: Value = serde_json::from_str(case).unwrap();
        case["line"].as_str().unwrap().to_owned() + "\n"
    });
    std::fs::write(&lines, raw.collect::<String>()).unwrap();
    let import = ["import", "recentchange", text(&lines), "--data", text(&data)];
    expect(1, &import);
    let letters = dead_letters(&data);
    let malformed = letters.iter().filter(|(_, reason)| reason == "malformed").count();
    assert_eq!(malformed, 7, "{letters:?}");
    let others = letters.iter().filter(|(_, reason)| reason != "malformed");
    assert!(others.clone().all(|(_, reason)| reason == "conflicting_duplicate"), "{letters:?}");
    let report = verify(&data);
    assert_eq!(report["differences"], 0);
    let id = &letters[0].0;
    let shown = expect(0, &["events", "dead-letters", "show", id, "--data", text(&data)]);
    assert!(stdout(&shown).contains("reason  "), "{}", stdout(&shown));
    expect(1, &import);
    assert_eq!(verify(&data)["hash"], report["hash"], "the second import changed something");
}

#[test]
fn swebench_boards_and_pairs() {
    let (Some(boards), Some(submissions), Some(pairs)) = (
        shared("swebench-submissions/boards.csv"),
        shared("swebench-submissions/submissions.csv"),
        shared("swebench-submissions/pairwise_matches.csv.gz"),
    ) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let map = "submission_id=submission,agent=name,benchmark=board,submitted_at=date";
    let import = ["import", "submissions", text(&boards), "--map", map, "--data", text(&data)];
    let first = run(&import);
    let before = verify(&data);
    assert_eq!(before["differences"], 0);
    for (id, order) in [("Verified", "resolved_percent"), ("Lite", "resolved_percent")] {
        let board = board(&data, "--benchmark", id);
        let scores = board["entries"].as_array().unwrap().iter().map(|e| e["score"].as_f64());
        let scores: Vec<f64> = scores.map(Option::unwrap).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{id} by {order}");
        assert!(!scores.is_empty());
    }
    let again = run(&import);
    assert_eq!(first.status.code(), again.status.code());
    assert_eq!(verify(&data)["hash"], before["hash"], "the second import changed something");
    let map = "submission_id=submission,agent=name,submitted_at=date";
    expect(
        0,
        &[
            "import",
            "submissions",
            text(&submissions),
            "--benchmark",
            "swe",
            "--map",
            map,
            "--data",
            text(&data),
        ],
    );
    expect(0, &["import", "matches", text(&pairs), "--environment", "swe", "--data", text(&data)]);
    assert_eq!(board(&data, "--environment", "swe")["total"], 15);
    assert_eq!(verify(&data)["differences"], 0);
}
