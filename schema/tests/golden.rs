//! Golden bytes of every event type, and the descriptor set as committed.
//!
//! `AGON_UPDATE_GOLDEN=1 cargo test -p agon-schema --test golden` writes new files; a committed
//! file of a released version is never rewritten, only joined by new ones.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use agon_schema::event::{
    Aggregation, BenchmarkDefined, Context, Direction, EnvironmentDefined, MatchFinished, Metrics,
    Player, Players, RecentChange, RunScored, RunStatus, SubmissionReceived,
};
use agon_schema::ids::{MetricName, NaturalId};
use agon_schema::rating::{Elo, KStep, RatingSystem};
use agon_schema::{
    AgentId, BenchmarkId, EnvironmentId, Event, EventTime, Record, Timestamp, codec, decode, encode,
};

const DESCRIPTORS: &str = include_str!(concat!(env!("OUT_DIR"), "/descriptors.txt"));
const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn updating() -> bool {
    std::env::var_os("AGON_UPDATE_GOLDEN").is_some()
}

fn natural(text: &str) -> NaturalId {
    NaturalId::new(text).unwrap()
}

fn at(text: &str) -> EventTime {
    EventTime { at: text.parse().unwrap(), filled_in: false }
}

fn player(agent: &str, placement: u32, score: Option<f64>, home: bool) -> Player {
    Player { agent: AgentId::new(agent).unwrap(), placement, score, home }
}

/// A change with every field set.
fn recent_change() -> RecentChange {
    RecentChange {
        id: natural("b03928dd-fdda-411c-94a1-63977d990b31"),
        occurred_at: "2025-08-29T06:45:17.001Z".parse::<Timestamp>().unwrap(),
        user: Some("Example".into()),
        bot: Some(false),
        server_name: Some("en.wikipedia.org".into()),
        change_type: Some("edit".into()),
        title: Some("Sandbox".into()),
        namespace: Some(-1),
        minor: Some(true),
        length_old_bytes: Some(10),
        length_new_bytes: Some(12),
        wiki: Some("enwiki".into()),
    }
}

/// One event of each type, with every field set.
fn examples() -> Vec<(&'static str, Event)> {
    let metrics = || Metrics::new([("accuracy".to_owned(), 0.91), ("cost".to_owned(), 12.5)]);
    let steps = [(Some(10), 40.0), (Some(20), 32.0), (None, 24.0)];
    let steps = steps.map(|(below_games, k)| KStep { below_games, k }).to_vec();
    let elo = Elo::new(1200.0, steps, Some(100.0), 65.0, 0.5).unwrap();
    let benchmark = || BenchmarkId::new("swe-verified").unwrap();
    let environment = EnvironmentDefined {
        id: EnvironmentId::new("connect-four").unwrap(),
        version: 1,
        rating: RatingSystem::Elo(elo),
    };
    let finished = MatchFinished {
        environment: environment.id.clone(),
        match_id: natural("m-1"),
        players: Players::new(vec![
            player("bob", 2, Some(1.0), false),
            player("Ålesund ✓", 1, Some(3.0), true),
        ])
        .unwrap(),
        occurred: at("2026-11-21T10:00:00.000001Z"),
        context: Some(Context::new(r#"{"round":"final"}"#).unwrap()),
    };
    vec![
        ("environment_defined", Event::EnvironmentDefined(environment)),
        (
            "benchmark_defined",
            Event::BenchmarkDefined(BenchmarkDefined {
                id: benchmark(),
                version: 1,
                metric: MetricName::new("accuracy").unwrap(),
                direction: Direction::Higher,
                aggregation: Aggregation::Best,
            }),
        ),
        ("match_finished", Event::MatchFinished(finished)),
        (
            "submission_received",
            Event::SubmissionReceived(SubmissionReceived {
                benchmark: benchmark(),
                submission_id: natural("s-1"),
                agent: AgentId::new("alice").unwrap(),
                metrics: metrics().unwrap(),
                artifact: Some("oci://example/alice:1".into()),
                occurred: at("2026-11-21"),
            }),
        ),
        (
            "run_scored",
            Event::RunScored(RunScored {
                benchmark: benchmark(),
                submission_id: natural("s-1"),
                run_id: natural("r-1"),
                status: RunStatus::Completed,
                metrics: metrics().unwrap(),
                occurred: at("2026-11-21"),
            }),
        ),
        ("recent_change_observed", Event::RecentChange(recent_change())),
    ]
}

fn record_text(record: &Record) -> String {
    let mut text = format!("key {}\n", String::from_utf8_lossy(&record.key));
    for (name, value) in &record.headers {
        text.push_str(&format!("{name} {}\n", String::from_utf8_lossy(value)));
    }
    text
}

#[test]
fn every_event_type_has_its_golden_bytes_and_is_read_back() {
    for (name, event) in examples() {
        let record = encode(&event, "agon/test", 0);
        if updating() {
            fs::write(golden(&format!("{name}.v1.bin")), &record.value).unwrap();
            fs::write(golden(&format!("{name}.v1.txt")), record_text(&record)).unwrap();
        }
        let bytes = fs::read(golden(&format!("{name}.v1.bin"))).unwrap();
        assert_eq!(bytes, record.value, "{name}");
        assert_eq!(
            fs::read_to_string(golden(&format!("{name}.v1.txt"))).unwrap(),
            record_text(&record)
        );
        assert_eq!(decode(&Record { value: bytes, ..record }), Ok(event), "{name}");
    }
}

#[test]
fn a_time_that_the_intake_filled_in_is_no_content() {
    for (name, event) in examples() {
        let mut filled = event.clone();
        let occurred = match &mut filled {
            Event::MatchFinished(event) => &mut event.occurred,
            Event::SubmissionReceived(event) => &mut event.occurred,
            Event::RunScored(event) => &mut event.occurred,
            _ => continue,
        };
        *occurred = EventTime { filled_in: true, ..*occurred };
        let record = encode(&filled, "agon/test", 0);
        assert_eq!(decode(&record), Ok(filled.clone()), "{name}");
        assert_ne!(codec::canonical_bytes(&filled), codec::canonical_bytes(&event), "{name}");
        assert_eq!(filled.identity(), event.identity());
    }
}

#[test]
fn the_descriptor_set_is_the_committed_one() {
    if updating() {
        fs::write(golden("descriptors.txt"), DESCRIPTORS).unwrap();
        fs::write(golden("descriptors.binpb"), DESCRIPTOR_SET).unwrap();
    }
    let committed = fs::read_to_string(golden("descriptors.txt")).unwrap();
    for line in committed.lines() {
        assert!(
            DESCRIPTORS.lines().any(|built| built == line),
            "a field that was released changed or is gone: {line}"
        );
    }
    assert_eq!(DESCRIPTORS, committed, "a new field joins the committed descriptors");
    let name = golden("descriptors.binpb");
    assert!(fs::read(name).unwrap() == DESCRIPTOR_SET, "the binary descriptor set is another one");
}

#[test]
fn no_value_makes_the_codec_panic() {
    for (_, event) in examples() {
        let record = encode(&event, "agon/test", 0);
        for index in 0..record.value.len() {
            for bit in 0..8 {
                let mut value = record.value.clone();
                value[index] ^= 1 << bit;
                let flipped = Record { value, ..record.clone() };
                if let Ok(event) = decode(&flipped) {
                    // What is read is valid, so it can be written again and is the same event.
                    let mut again = encode(&event, "agon/test", 0);
                    again.headers.clone_from(&flipped.headers);
                    assert_eq!(decode(&again), Ok(event));
                }
            }
            let cut = Record { value: record.value[..index].to_vec(), ..record.clone() };
            let _ = decode(&cut);
        }
    }
}
