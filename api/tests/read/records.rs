//! GET /events, GET /dead-letters, one dead letter: over a log in memory, for operators alone.

use std::sync::Arc;

use agon_api::{Api, VALUE_BYTES_MAX, event_routes, replay_routes};
use agon_edge::{Auth, AuthSettings, Edge, HttpMetrics, Limits, Role};
use agon_memory::{FaultRates, Faults, Faulty, LogSettings, ManualClock, MemoryControl, MemoryLog};
use agon_ports::{Append, EventLog, ProjectionStore};
use agon_projections::row::{Counts, DeadLetter, Progress, Value as RowValue};
use agon_projections::{Flush, Reason, Rejection, Row, RowKey};
use agon_schema::codec::encode_malformed_change;
use agon_schema::record::RecordHash;
use agon_schema::{Position, PositionToken, Record, Topic, TopicPartition, encode};
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use prometheus::Registry;
use serde_json::{Value, json};

use crate::fold::{environment, game};
use crate::site::{Answer, LOG, Site};

const TOPIC: &str = "agon.recentchange.v1";

/// A site with a log that operators look at.
pub struct Operated {
    pub site: Site,
    pub log: Arc<MemoryLog>,
    pub faults: Arc<Faults>,
    pub router: Router,
    auth: Arc<Auth>,
}

impl Operated {
    pub async fn new() -> Operated {
        let site = Site::new().await;
        let log = Arc::new(MemoryLog::new(LogSettings {
            partitions: LOG.partitions,
            id: LOG.id,
            ..LogSettings::default()
        }));
        let clock = Arc::new(ManualClock::at("2027-01-15T08:00:01.5Z".parse().unwrap()));
        let control = Arc::new(MemoryControl::default());
        let auth = Auth::open(control, clock.clone(), AuthSettings::default()).await.unwrap();
        let metrics = HttpMetrics::register(&Registry::new()).unwrap();
        let edge = Edge::new(clock, Arc::clone(&auth), metrics, Limits::default());
        let api: Api = site.api.clone();
        let faults = Faults::new(0, FaultRates::default());
        let faulty: Arc<dyn EventLog> =
            Arc::new(Faulty::new(MemoryLog::clone(&log), Arc::clone(&faults)));
        let routes = event_routes(api.clone(), Arc::clone(&faulty));
        let (router, _) = routes.merge(replay_routes(api, faulty)).into_router(edge).unwrap();
        Operated { site, log, faults, router, auth }
    }

    /// Appends these, all to the first partition of a topic.
    pub async fn append(&self, topic: Topic, records: Vec<Record>) -> Vec<Position> {
        let target = TopicPartition { topic, partition: 0 };
        let records = records.into_iter().map(|record| Append { target, record }).collect();
        self.log.append(records).await.unwrap()
    }

    /// Stores that the first so many records of the stream's first partition do not count.
    async fn reject(&self, records: u64) {
        self.reject_with_progress(records, records - 1).await;
    }

    async fn reject_with_progress(&self, records: u64, applied: u64) {
        let source = TopicPartition { topic: Topic::RecentChange, partition: 0 };
        let row = |offset| Row {
            key: RowKey::DeadLetter(source, offset),
            value: RowValue::DeadLetter(DeadLetter {
                rejection: Rejection::new(Reason::Malformed, format!("line {offset}")),
                event_type: "agon.recentchange.observed.v1".into(),
                event_id: format!("e{offset}"),
                key: format!("k{offset}"),
            }),
        };
        let (record_hash, counts) = (RecordHash([0; 16]), Counts::default());
        let progress = Progress { applied, record_hash, counts };
        let rows = (0..records).map(row).collect();
        let flush = Flush { source, from: None, progress, cells: Vec::new(), rows };
        self.site.source.store.inner.flush(Arc::new(flush)).await.unwrap();
    }

    async fn get_as(&self, role: Option<Role>, path: &str) -> Answer {
        self.call_as(Method::GET, role, path).await
    }

    pub async fn call_as(&self, method: Method, role: Option<Role>, path: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        if let Some(role) = role {
            let token = self.auth.service_token("test", &[role]).unwrap().token;
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.site.call_on(&self.router, request.body(Body::empty()).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.get_as(Some(Role::Operator), path).await
    }

    pub async fn read(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }
}

fn malformed(line: &[u8], appended_at_ms: i64) -> Record {
    encode_malformed_change(line, "test", appended_at_ms)
}

fn ids(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn only_operators_look() {
    let it = Operated::new().await;
    it.append(Topic::RecentChange, vec![malformed(b"x", 0)]).await;
    it.reject(1).await;
    for path in ["/events", "/dead-letters", &format!("/dead-letters/{TOPIC}%2F0%2F0")] {
        assert_eq!(it.get_as(None, path).await.status, 401, "{path}");
        for (role, status) in [
            (Role::Viewer, 403),
            (Role::Author, 403),
            (Role::Producer, 403),
            (Role::Operator, 200),
            (Role::Admin, 200),
        ] {
            assert_eq!(it.get_as(Some(role), path).await.status, status, "{role} {path}");
        }
    }
}

#[tokio::test]
async fn the_newest_records_come_last() {
    let it = Operated::new().await;
    assert_eq!(it.read("/events").await, json!({"items": [], "next_cursor": null}));
    let defined = environment("go");
    let long = "p".repeat(120);
    let two = game("go", &long, 1, &["a", "b"]);
    it.append(Topic::Matches, vec![encode(&defined, "test", 2_000), encode(&two, "test", 5_000)])
        .await;
    let bad = [malformed(b"not json", 1_000), malformed(b"{}", 3_000), malformed(b"[", 4_000)];
    let id = String::from_utf8_lossy(bad[0].header("ce_id").unwrap()).into_owned();
    it.append(Topic::RecentChange, bad.into()).await;
    let all = it.read("/events").await;
    let (m, r) = ("agon.matches.v1/0", format!("{TOPIC}/0"));
    let order =
        [format!("{r}/0"), format!("{m}/0"), format!("{r}/1"), format!("{r}/2"), format!("{m}/1")];
    assert_eq!(ids(&all), order);
    let source = TopicPartition { topic: Topic::RecentChange, partition: 0 };
    let error = all["items"][0]["error"].as_str().unwrap();
    assert!(!error.is_empty());
    let expected = json!({
        "id": order[0], "position": PositionToken::of(it.log.id(), [Position { source, offset: 0 }])
            .to_string(),
        "topic": TOPIC, "partition": 0, "offset": 0, "appended_at": "1970-01-01T00:00:01Z",
        "type": "agon.recentchange.observed.v1", "event_id": id, "key": id,
        "event": null, "error": error,
    });
    assert_eq!(all["items"][0], expected);
    assert_eq!(all["items"][1]["key"], "go");
    assert_eq!(all["items"][1]["error"], Value::Null);
    assert!(all["items"][4]["event"].as_str().unwrap().contains(&long));
    for limit in 1..=5 {
        let some = it.read(&format!("/events?limit={limit}")).await;
        assert_eq!(ids(&some), order[5 - limit..], "{limit}");
    }
}

#[tokio::test]
async fn dead_letters_come_by_pages() {
    let it = Operated::new().await;
    assert_eq!(it.read("/dead-letters").await, json!({"items": [], "next_cursor": null}));
    it.reject(1_002).await;
    let first = it.read("/dead-letters?limit=1").await;
    let expected = json!({
        "id": format!("{TOPIC}/0/0"), "reason": "malformed", "detail": "line 0",
        "type": "agon.recentchange.observed.v1", "event_id": "e0", "key": "k0",
    });
    assert_eq!(first["items"], json!([expected]));
    for limit in [50, 334, 501, 1_000] {
        let (mut met, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = it.read(&format!("/dead-letters?limit={limit}{cursor}")).await;
            let ids = ids(&page);
            assert!((1..=limit).contains(&ids.len()), "{limit}");
            met.extend(ids.into_iter().map(str::to_owned));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let all: Vec<_> = (0..1_002).map(|offset| format!("{TOPIC}/0/{offset}")).collect();
        assert_eq!(met, all, "{limit}");
    }
}

/// A flush that did not end leaves rows above the progress; whoever folds next writes them again.
#[tokio::test]
async fn what_lies_above_the_progress_is_not_shown() {
    let it = Operated::new().await;
    it.append(Topic::RecentChange, vec![malformed(b"x", 0), malformed(b"y", 0)]).await;
    it.reject_with_progress(2, 0).await;
    assert_eq!(ids(&it.read("/dead-letters").await), [format!("{TOPIC}/0/0")]);
    let second = format!("/dead-letters/{TOPIC}%2F0%2F1");
    assert_eq!(it.get(&second).await.problem(), (404, "not_found".to_owned()));
    let replay = format!("{second}/replay");
    let answer = it.call_as(Method::POST, Some(Role::Operator), &replay).await;
    assert_eq!(answer.problem(), (404, "not_found".to_owned()));
}

#[tokio::test]
async fn a_dead_letter_is_its_record_cut_to_size() {
    let it = Operated::new().await;
    let long = vec![b'x'; VALUE_BYTES_MAX + 1];
    it.append(Topic::RecentChange, vec![malformed(b"n\xff\n", 0), malformed(&long, 0)]).await;
    it.reject(2).await;
    let short = it.read(&format!("/dead-letters/{TOPIC}%2F0%2F0")).await;
    assert_eq!((&short["reason"], &short["detail"]), (&json!("malformed"), &json!("line 0")));
    assert_eq!((&short["value"], &short["value_bytes"]), (&json!("n\u{fffd}\n"), &json!(3)));
    assert_eq!(short["headers"][0], json!({"name": "ce_specversion", "value": "1.0"}));
    assert_eq!(short["headers_total"], short["headers"].as_array().unwrap().len());
    let cut = it.read(&format!("/dead-letters/{TOPIC}%2F0%2F1")).await;
    assert_eq!(cut["value"].as_str().unwrap().len(), VALUE_BYTES_MAX);
    assert_eq!(cut["value_bytes"], VALUE_BYTES_MAX + 1);
}

#[tokio::test]
async fn what_is_wrong_is_refused_by_its_name() {
    let it = Operated::new().await;
    it.append(Topic::RecentChange, vec![malformed(b"x", 0), malformed(b"y", 0)]).await;
    it.reject(1).await;
    let check = async |path: &str, status: u16, code: &str| {
        assert_eq!(it.get(path).await.problem(), (status, code.to_owned()), "{path}");
    };
    for id in ["%2F0%2F1", "%2F0%2F2", "%2F99%2F0", "%2F0%2F00", "%2F0", "%2F0%2Fx"] {
        check(&format!("/dead-letters/{TOPIC}{id}"), 404, "not_found").await;
    }
    check("/dead-letters/nonsense", 404, "not_found").await;
    check("/dead-letters/%FF", 400, "malformed_request").await;
    for path in ["/events", "/dead-letters"] {
        for limit in ["0", "1001", "-1", "many", "18446744073709551616"] {
            check(&format!("{path}?limit={limit}"), 400, "invalid_parameter").await;
        }
        check(&format!("{path}?offset=1"), 400, "unknown_parameter").await;
    }
    check("/dead-letters?cursor=AAAA", 400, "invalid_parameter").await;
    it.site.source.store.is_away.store(true, std::sync::atomic::Ordering::SeqCst);
    check("/dead-letters", 503, "store_unavailable").await;
}
