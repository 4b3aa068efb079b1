//! The bodies that people send: what is refused names its field, what is absent is filled in, and
//! an object is an object.
#![allow(clippy::unwrap_used)]

use std::fmt::Debug;

use agon_schema::event::{Direction, Invalid, Metrics, RunStatus};
use agon_schema::json::{
    BenchmarkBody, EnvironmentBody, Filling, MatchBody, ScoreBody, SubmissionBody,
};
use agon_schema::rating::RatingSystem;
use agon_schema::{NaturalId, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const NOW_US: i64 = 1_795_255_200_000_000;

fn fill() -> Filling {
    let natural_id = NaturalId::new("given").unwrap();
    Filling { natural_id, now: Timestamp::from_micros(NOW_US).unwrap() }
}

fn environment() -> Value {
    json!({"id": "e", "rating": {"system": "elo", "k": [{"below_games": 10, "k": 40}, {"k": 24}]}})
}

fn benchmark() -> Value {
    json!({"id": "b", "metric": "acc", "direction": "higher", "aggregation": "best"})
}

fn one_match() -> Value {
    json!({"environment": "e", "players": [
        {"agent": "alice", "placement": 1}, {"agent": "bob", "placement": 2}
    ]})
}

fn submission() -> Value {
    json!({"benchmark": "b", "agent": "alice", "metrics": {"acc": 0.5}})
}

fn score() -> Value {
    json!({"benchmark": "b", "submission_id": "s", "status": "completed"})
}

/// The body with one value put in the place of another, or added.
fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match body.pointer_mut(parent).unwrap() {
        Value::Object(fields) => drop(fields.insert(name.to_owned(), value)),
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
        other => panic!("{other} holds nothing"),
    }
    body
}

/// Where reading stops, as `players[1].agent`, and why.
fn refusal<T: DeserializeOwned + Debug>(body: &Value) -> (String, String) {
    let text = body.to_string();
    let mut reader = serde_json::Deserializer::from_str(&text);
    let error = serde_path_to_error::deserialize::<_, T>(&mut reader).unwrap_err();
    (error.path().to_string(), error.inner().to_string())
}

/// Each of these changes makes a body unreadable, at this place, for a reason of these words.
fn check_unreadable<T: DeserializeOwned + Debug>(
    body: &Value,
    cases: &[(&str, Value, &str, &str)],
) {
    serde_json::from_value::<T>(body.clone()).unwrap();
    for (pointer, value, path, words) in cases {
        let body = with(body.clone(), pointer, value.clone());
        let (found, why) = refusal::<T>(&body);
        assert_eq!(found, *path, "{body}: {why}");
        assert!(why.contains(words), "{body}: {why}");
        // The same through a value instead of a text.
        assert!(serde_json::from_value::<T>(body.clone()).is_err(), "{body}");
    }
}

/// Without any of these fields a body is unreadable, and the reason names the field.
fn check_needed<T: DeserializeOwned + Debug>(body: &Value, fields: &[&str]) {
    for pointer in fields {
        let mut body = body.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        parent.remove(name).unwrap();
        let (_, why) = refusal::<T>(&body);
        assert!(why.starts_with(&format!("missing field `{name}`")), "{body}: {why}");
    }
}

#[test]
fn nested_objects_are_objects_and_nothing_else() {
    check_unreadable::<MatchBody>(
        &one_match(),
        &[
            ("/players/1", json!(["bob", 2, null, false]), "players[1]", "sequence"),
            ("/players/0", json!([]), "players[0]", "sequence"),
            ("/players/1", json!("bob"), "players[1]", "expected an object"),
            ("/players/1", json!(null), "players[1]", "expected an object"),
            ("/players", json!({"agent": "alice"}), "players", "map"),
        ],
    );
    check_unreadable::<EnvironmentBody>(
        &environment(),
        &[
            ("/rating", json!(["elo", 1500, 32, null, 0, 0.5]), "rating", "sequence"),
            ("/rating", json!("elo"), "rating", "expected an object"),
            ("/rating/k", json!([[10, 40], {"k": 24}]), "rating.k", "KBody"),
            ("/rating/k/1", json!([null, 24]), "rating.k", "KBody"),
        ],
    );
}

#[test]
fn unreadable_bodies_name_the_place() {
    check_unreadable::<EnvironmentBody>(
        &environment(),
        &[
            ("/name", json!("e"), "name", "unknown field `name`"),
            ("/rating/divisor", json!(400), "rating.divisor", "unknown field `divisor`"),
            ("/rating/k/0/games", json!(1), "rating.k", "KBody"),
            ("/rating/k/0/below_games", json!(-1), "rating.k", "KBody"),
            ("/rating/k", json!("32"), "rating.k", "KBody"),
            ("/rating/start", json!("1500"), "rating.start", "expected f64"),
            ("/id", json!(7), "id", "expected a string"),
        ],
    );
    check_unreadable::<BenchmarkBody>(
        &benchmark(),
        &[
            ("/unit", json!("%"), "unit", "unknown field `unit`"),
            ("/direction", json!("up"), "direction", "unknown variant `up`"),
            ("/aggregation", json!("median"), "aggregation", "unknown variant `median`"),
            ("/metric", json!(null), "metric", "expected a string"),
        ],
    );
    check_unreadable::<MatchBody>(
        &one_match(),
        &[
            ("/winner", json!("alice"), "winner", "unknown field `winner`"),
            ("/players/1/name", json!("bob"), "players[1].name", "unknown field `name`"),
            ("/players/1/placement", json!(1.5), "players[1].placement", "expected u32"),
            ("/players/1/placement", json!(-1), "players[1].placement", "expected u32"),
            ("/players/0/score", json!("3"), "players[0].score", "expected f64"),
            ("/players/0/home", json!(1), "players[0].home", "expected a boolean"),
            ("/match_id", json!(5), "match_id", "expected a string"),
            ("/occurred_at", json!(5), "occurred_at", "expected a string"),
        ],
    );
    check_unreadable::<SubmissionBody>(
        &submission(),
        &[
            ("/status", json!("completed"), "status", "unknown field `status`"),
            ("/metrics/acc", json!("0.5"), "metrics.acc", "expected f64"),
            ("/metrics", json!([["acc", 0.5]]), "metrics", "expected a map"),
            ("/artifact", json!({}), "artifact", "expected a string"),
        ],
    );
    check_unreadable::<ScoreBody>(
        &score(),
        &[
            ("/artifact", json!("x"), "artifact", "unknown field `artifact`"),
            ("/status", json!("done"), "status", "unknown variant `done`"),
            ("/metrics", json!(null), "metrics", "expected a map"),
        ],
    );
}

#[test]
fn needed_fields_are_missed_by_name() {
    check_needed::<EnvironmentBody>(&environment(), &["/id", "/rating/system"]);
    check_needed::<BenchmarkBody>(&benchmark(), &["/id", "/metric", "/direction", "/aggregation"]);
    let players = ["/environment", "/players", "/players/1/agent", "/players/1/placement"];
    check_needed::<MatchBody>(&one_match(), &players);
    check_needed::<SubmissionBody>(&submission(), &["/benchmark", "/agent"]);
    check_needed::<ScoreBody>(&score(), &["/benchmark", "/submission_id", "/status"]);
}

/// Each of these changes makes a readable body an invalid event; the pointer names the field.
fn check_invalid<T: DeserializeOwned, E: Debug>(
    body: &Value,
    event: impl Fn(T) -> Result<E, Invalid>,
    cases: &[(&str, Value, &str)],
) {
    event(serde_json::from_value(body.clone()).unwrap()).unwrap();
    for (pointer, value, expected) in cases {
        let body = with(body.clone(), pointer, value.clone());
        let read = serde_json::from_str(&body.to_string());
        let error = event(read.unwrap_or_else(|error| panic!("{body}: {error}"))).unwrap_err();
        assert_eq!(error.pointer, *expected, "{body}: {error:?}");
        assert!(!error.detail.is_empty() && !error.detail.ends_with('.'), "{error:?}");
    }
}

#[test]
fn definitions_that_are_wrong_name_the_field() {
    check_invalid(
        &environment(),
        EnvironmentBody::into_event,
        &[
            ("/id", json!(""), "/id"),
            ("/id", json!("-e"), "/id"),
            ("/id", json!("ä"), "/id"),
            ("/id", json!("e".repeat(65)), "/id"),
            ("/rating/system", json!("glicko"), "/rating/system"),
            ("/rating/start", json!(1e300), "/rating/start"),
            ("/rating/floor", json!(1501), "/rating/floor"),
            ("/rating/home_advantage", json!(-1e300), "/rating/home_advantage"),
            ("/rating/draw_score", json!(1.01), "/rating/draw_score"),
            ("/rating/k", json!(0), "/rating/k"),
            ("/rating/k", json!([]), "/rating/k"),
            ("/rating/k", json!([{"k": 1}, {"k": 2}]), "/rating/k"),
            ("/rating/k/1/below_games", json!(20), "/rating/k"),
            ("/rating/k/0/below_games", json!(0), "/rating/k"),
        ],
    );
    let wrong = [("/id", json!("a b"), "/id"), ("/metric", json!(""), "/metric")];
    check_invalid(&benchmark(), BenchmarkBody::into_event, &wrong);
}

#[test]
fn happenings_that_are_wrong_name_the_field() {
    let far = [json!("10000-01-01"), json!("-0001-01-01"), json!("+275760-09-13T00:00:00Z")];
    let vague = [json!("yesterday"), json!(""), json!("2026-02-30"), json!("2026-01-01T00:00:00")];
    let times = far.into_iter().chain(vague).map(|time| ("/occurred_at", time, "/occurred_at"));
    let times: Vec<_> = times.collect();
    let many: Vec<Value> =
        (0..65).map(|n| json!({"agent": format!("a{n}"), "placement": 1})).collect();
    let matches = [
        ("/environment", json!("e e"), "/environment"),
        ("/match_id", json!(" m"), "/match_id"),
        ("/match_id", json!("m".repeat(129)), "/match_id"),
        ("/players/1/agent", json!("e\u{301}"), "/players/1/agent"),
        ("/players/1/agent", json!("a\u{7}"), "/players/1/agent"),
        ("/players/1/agent", json!("alice"), "/players/1/agent"),
        ("/players/0/placement", json!(0), "/players/0/placement"),
        ("/players/0/placement", json!(65), "/players/0/placement"),
        ("/players", json!([]), "/players"),
        ("/players", json!([{"agent": "alice", "placement": 1}]), "/players"),
        ("/players", json!(many), "/players"),
        ("/context", json!([]), "/context"),
        ("/context", json!("final"), "/context"),
        ("/context", json!({"long": "x".repeat(4_096)}), "/context"),
    ];
    let matches = [&matches[..], &times[..]].concat();
    check_invalid(&one_match(), |body: MatchBody| body.into_event(&fill()), &matches);
    let crowd: Value = (0..65).map(|n| (format!("m{n}"), json!(n))).collect();
    let metrics = [
        ("/metrics", json!({"": 1}), "/metrics/"),
        ("/metrics", json!({"a/\nb": 1}), "/metrics/a~1\nb"),
        ("/metrics", crowd, "/metrics"),
        ("/benchmark", json!(""), "/benchmark"),
        ("/submission_id", json!(""), "/submission_id"),
    ];
    let both = [&metrics[..], &times[..]].concat();
    let run = [&both[..], &[("/run_id", json!("a "), "/run_id")]].concat();
    check_invalid(&score(), |body: ScoreBody| body.into_event(&fill()), &run);
    let more = [
        ("/agent", json!("a\u{a0}"), "/agent"),
        ("/artifact", json!(""), "/artifact"),
        ("/artifact", json!("x".repeat(100_000)), "/artifact"),
    ];
    let submissions = [&both[..], &more[..]].concat();
    check_invalid(&submission(), |body: SubmissionBody| body.into_event(&fill()), &submissions);
}

#[test]
fn what_is_absent_is_filled_in() {
    for rating in [None, Some(json!(null)), Some(json!({"system": "elo"}))] {
        let mut body = json!({"id": "e"});
        if let Some(rating) = rating {
            body = with(body, "/rating", rating);
        }
        let read: EnvironmentBody = serde_json::from_value(body).unwrap();
        let event = read.into_event().unwrap();
        assert_eq!((event.version, event.rating), (1, RatingSystem::default()));
    }
    let read: MatchBody = serde_json::from_value(one_match()).unwrap();
    let event = read.into_event(&fill()).unwrap();
    assert_eq!(event.match_id.as_str(), "given");
    assert_eq!((event.occurred.at.micros(), event.occurred.filled_in), (NOW_US, true));
    assert_eq!(event.context, None);
    let first = &event.players.as_slice()[0];
    assert_eq!((first.score, first.home), (None, false));
    let read: SubmissionBody =
        serde_json::from_value(json!({"benchmark": "b", "agent": "a"})).unwrap();
    let event = read.into_event(&fill()).unwrap();
    assert_eq!((event.submission_id.as_str(), event.occurred.filled_in), ("given", true));
    assert_eq!((event.metrics, event.artifact), (Metrics::default(), None));
    let read: ScoreBody = serde_json::from_value(score()).unwrap();
    let event = read.into_event(&fill()).unwrap();
    assert_eq!((event.run_id.as_str(), event.status), ("given", RunStatus::Completed));
    assert_eq!((event.metrics, event.occurred.filled_in), (Metrics::default(), true));
}

#[test]
fn what_is_sent_is_kept() {
    let read: EnvironmentBody = serde_json::from_value(environment()).unwrap();
    let RatingSystem::Elo(elo) = read.into_event().unwrap().rating;
    assert_eq!((elo.k(9), elo.k(10)), (40.0, 24.0));
    let read: BenchmarkBody = serde_json::from_value(benchmark()).unwrap();
    assert_eq!(read.into_event().unwrap().direction, Direction::Higher);
    let body = with(one_match(), "/players/1/home", json!(true));
    let body = with(body, "/context", json!({"z": 1, "a": {"y": [], "b": 2.50}}));
    let body = with(body, "/occurred_at", json!("9999-12-31T23:59:59.9999999Z"));
    let read: MatchBody = serde_json::from_str(&body.to_string()).unwrap();
    let event = read.into_event(&fill()).unwrap();
    assert_eq!(event.context.unwrap().as_json(), r#"{"a":{"b":2.5,"y":[]},"z":1}"#);
    assert_eq!(event.occurred.at.to_string(), "9999-12-31T23:59:59.999999Z");
    assert!(!event.occurred.filled_in && event.players.as_slice()[1].home);
    // What is shown can be sent again.
    let shown = serde_json::to_value(agon_schema::json::RatingBody::from(&RatingSystem::Elo(elo)));
    let again = with(environment(), "/rating", shown.unwrap());
    let read: EnvironmentBody = serde_json::from_value(again).unwrap();
    read.into_event().unwrap();
}
