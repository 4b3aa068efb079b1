//! The recorded stream and its edge cases, when the shared data is beside the project.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::path::PathBuf;

use agon_schema::wikimedia::{Line, parse};
use serde::Deserialize;

fn data(name: &str) -> Option<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = root.join("wikimedia-recentchange").join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            println!("skipped: {}: {error}", path.display());
            None
        }
    }
}

#[test]
fn every_recorded_event_is_read() {
    for (name, count) in [("events.jsonl", 20), ("legacy_2019.jsonl", 1)] {
        let Some(text) = data(name) else { return };
        let changes = text
            .lines()
            .filter(|line| matches!(parse(line.as_bytes()), Ok(Line::Change(_))))
            .count();
        assert_eq!(changes, count, "{name}");
    }
}

#[test]
fn edge_cases_are_judged_as_their_schema_does() {
    #[derive(Deserialize)]
    struct Case {
        name: String,
        line: String,
        valid_by_schema_1_0_0: bool,
    }
    let Some(text) = data("edge_cases.jsonl") else { return };
    let mut seen = 0;
    for line in text.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let read = parse(case.line.as_bytes());
        assert_eq!(read.is_ok(), case.valid_by_schema_1_0_0, "{}: {read:?}", case.name);
        if case.name == "canary" {
            assert_eq!(read, Ok(Line::Canary));
        }
        seen += 1;
    }
    assert_eq!(seen, 23);
}
