//! Traces from a request across the log to the flush, as a collector of OTLP hears of them; and
//! that nobody waits for a collector.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agon_ports::LogRecord;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use prost::Message;
use serde_json::{Value, json};
use support::servers::Deployment;
use support::{Server, add_user, http, log};

const PATIENCE: Duration = Duration::from_secs(120);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

const TAKES: u8 = 0;
const REFUSES: u8 = 1;
const HANGS: u8 = 2;

/// A collector that keeps every span, as long as it is in the mood.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<(String, Span)>>>,
    mood: Arc<AtomicU8>,
}

impl Collector {
    async fn start(mood: u8) -> (Collector, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collector = Collector::default();
        collector.mood.store(mood, Ordering::SeqCst);
        let routes = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        (collector, url)
    }

    /// Every span with the name of its service.
    fn spans(&self) -> Vec<(String, Span)> {
        self.spans.lock().unwrap().clone()
    }

    /// The first span that is so, once it is there.
    async fn span(&self, what: &str, is_so: impl Fn(&Span) -> bool) -> (String, Span) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.spans().into_iter().find(|(_, span)| is_so(span)) {
                return found;
            }
            assert!(Instant::now() < deadline, "{what}: {:#?}", self.spans());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The span of the request with this id.
    async fn request(&self, id: &str) -> (String, Span) {
        self.span(id, |span| text(span, "agon.request_id").as_deref() == Some(id)).await
    }

    /// The append for a request, and the flush that says it goes on with it.
    async fn behind(&self, request: &Span) -> ((String, Span), (String, Span)) {
        let is_append =
            |span: &Span| span.name == "append" && span.parent_span_id == request.span_id;
        let append = self.span("the append", is_append).await;
        let ids = (append.1.trace_id.clone(), append.1.span_id.clone());
        let is_flush = |span: &Span| {
            let mut links = span.links.iter();
            links.any(|link| (&link.trace_id, &link.span_id) == (&ids.0, &ids.1))
        };
        (append, self.span("the flush", is_flush).await)
    }
}

async fn take(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    match collector.mood.load(Ordering::SeqCst) {
        TAKES => {}
        REFUSES => return StatusCode::SERVICE_UNAVAILABLE,
        _ => std::future::pending().await,
    }
    let mut spans = collector.spans.lock().unwrap();
    for part in request.resource_spans {
        let of = value(&part.resource.unwrap().attributes, "service.name");
        let Some(Attribute::StringValue(service)) = of else { panic!("{of:?}") };
        let all = part.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.extend(all.map(|span| (service.clone(), span)));
    }
    StatusCode::OK
}

fn value(attributes: &[KeyValue], key: &str) -> Option<Attribute> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    let Some(AnyValue { value }) = &found.value else { return None };
    value.clone()
}

fn text(span: &Span, key: &str) -> Option<String> {
    match value(&span.attributes, key) {
        Some(Attribute::StringValue(text)) => Some(text),
        _ => None,
    }
}

fn number(span: &Span, key: &str) -> Option<i64> {
    match value(&span.attributes, key) {
        Some(Attribute::IntValue(number)) => Some(number),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sampled(trace: &str) -> String {
    format!("00-{trace}-{CALLER}-01")
}

fn game(id: &str) -> Value {
    let two = json!([{"agent": "ann", "placement": 1}, {"agent": "bob", "placement": 2}]);
    json!({"match_id": id, "environment": "e", "players": two})
}

/// Posts as a caller that traces; the id of the request is what it is found by.
async fn call(base: &str, token: &str, id: &str, traceparent: Option<&str>, body: &Value) -> u16 {
    let mut request = http().post(format!("{base}/matches")).header("x-request-id", id);
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    request.bearer_auth(token).json(body).send().await.unwrap().status().as_u16()
}

/// A server with an environment and somebody who may write.
async fn serve(data: &Path, more: &[&str]) -> (Server, String) {
    add_user(data, "writer", "admin");
    let server = Server::start(data, more);
    let token = server.login("writer").await;
    let (status, _) = server.post("/api/v1/environments", &token, &json!({"id": "e"})).await;
    assert!([200, 202].contains(&status), "{status}");
    (server, token)
}

/// Waits until more spans than so many went this way, and answers how many.
async fn counted(server: &Server, result: &str, above: u64) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    let series = format!(r#"agon_spans_total{{result="{result}"}} "#);
    loop {
        let metrics = http().get(&server.metrics).send().await.unwrap().text().await.unwrap();
        let count = metrics.lines().find_map(|line| line.strip_prefix(&series)).unwrap();
        let count = count.parse().unwrap();
        if count > above {
            return count;
        }
        assert!(Instant::now() < deadline, "{series}{count}: {:#?}", server.said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until something was said, and answers how often.
async fn said(server: &Server, words: &str) -> usize {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let count = server.said().iter().filter(|line| line.contains(words)).count();
        if count > 0 {
            return count;
        }
        assert!(Instant::now() < deadline, "{words}: {:#?}", server.said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What each record of a log says of its trace.
async fn traceparents(data: &Path) -> Vec<Option<String>> {
    let said = |read: &LogRecord| {
        let text = read.record.header("traceparent")?;
        Some(String::from_utf8(text.to_vec()).unwrap())
    };
    log::records(&log::open(data)).await.iter().map(said).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_the_caller_over_the_log_to_the_flush() {
    let dir = tempfile::tempdir().unwrap();
    let (collector, url) = Collector::start(TAKES).await;
    let (server, token) = serve(dir.path(), &["--otlp-endpoint", &url]).await;
    // What is logged has nothing to do with what is traced.
    let level = http().put(format!("{}/api/v1/log-level", server.base)).bearer_auth(&token);
    let level = level.json(&json!({"filter": "off"})).send().await.unwrap();
    assert_eq!(level.status(), 200);
    let batch = json!([game("m1"), game("m2"), game("m3")]);
    let traceparent = sampled(TRACE);
    assert_eq!(call(&server.base, &token, "traced", Some(&traceparent), &batch).await, 202);

    let (service, request) = collector.request("traced").await;
    assert_eq!((service.as_str(), request.name.as_str()), ("agon-serve", "POST /matches"));
    assert_eq!(
        (hex(&request.trace_id), hex(&request.parent_span_id)),
        (TRACE.into(), CALLER.into())
    );
    assert_eq!(request.kind(), SpanKind::Server);
    assert_eq!(text(&request, "http.request.method").as_deref(), Some("POST"));
    assert_eq!(text(&request, "http.route").as_deref(), Some("/matches"));
    assert_eq!(number(&request, "http.response.status_code"), Some(202));
    assert!(request.start_time_unix_nano < request.end_time_unix_nano);

    // The flush knows of the append by the records' headers alone.
    let ((_, append), (_, flush)) = collector.behind(&request).await;
    assert_eq!((append.kind(), hex(&append.trace_id)), (SpanKind::Producer, TRACE.into()));
    assert_eq!(number(&append, "agon.appended"), Some(3));
    assert!(append.start_time_unix_nano >= request.start_time_unix_nano);
    assert!(append.end_time_unix_nano <= request.end_time_unix_nano);
    assert_eq!((flush.kind(), flush.name.as_str()), (SpanKind::Consumer, "flush agon.matches.v1"));
    assert_ne!(hex(&flush.trace_id), TRACE);
    assert!(flush.parent_span_id.is_empty());
    // Three records of one append are one link; the environment may be in the same flush.
    assert_eq!(flush.links.iter().filter(|link| link.trace_id == append.trace_id).count(), 1);
    assert_eq!(flush.status.as_ref().unwrap().code(), SpanStatus::Ok);
    assert_eq!(number(&flush, "agon.flush.links_left_out"), Some(0));
    assert_eq!(text(&flush, "messaging.destination.name").as_deref(), Some("agon.matches.v1"));

    assert_eq!(server.terminate(), Some(0));
    let expected = format!("00-{TRACE}-{}-01", hex(&append.span_id));
    let traced = traceparents(dir.path()).await;
    let count = traced.iter().flatten().filter(|found| **found == expected).count();
    assert_eq!((count, traced.len()), (3, 4), "{traced:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_keeps_no_trace_or_sends_nonsense_is_served_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (collector, url) = Collector::start(TAKES).await;
    let (server, token) = serve(dir.path(), &["--otlp-endpoint", &url]).await;
    let unsampled = format!("00-{TRACE}-{CALLER}-00");
    let zero = sampled(&"0".repeat(32));
    for (id, traceparent) in [
        ("unsampled", Some(unsampled.as_str())),
        ("nonsense", Some("00-nonsense")),
        ("zero", Some(zero.as_str())),
        ("alone", None),
    ] {
        assert_eq!(call(&server.base, &token, id, traceparent, &game(id)).await, 202, "{id}");
    }
    let (status, status_of) = server.get("/status").await;
    assert_eq!(status, 200);
    let log = &status_of["log"].as_str().unwrap()[..8];
    let late = format!("/leaderboard?environment=e&min_position={log}-m0.999999");
    let late = http().get(format!("{}{late}", server.base)).header("x-request-id", "late");
    assert_eq!(late.send().await.unwrap().status(), 504);

    for id in ["nonsense", "zero", "alone"] {
        let (_, request) = collector.request(id).await;
        assert_ne!(hex(&request.trace_id), TRACE);
        assert!(request.parent_span_id.is_empty(), "{id}: {request:?}");
        assert_eq!(request.status.clone().unwrap_or_default().code(), SpanStatus::Unset);
        collector.behind(&request).await;
    }
    let (_, failed) = collector.request("late").await;
    assert_eq!(failed.status.as_ref().unwrap().code(), SpanStatus::Error);
    assert_eq!(number(&failed, "http.response.status_code"), Some(504));
    counted(&server, "sent", 0).await;
    assert!(!server.said().iter().any(|line| line.contains("traced_")), "{:#?}", server.said());
    // What ended last is sent before the process ends.
    assert_eq!(call(&server.base, &token, "last", None, &game("last")).await, 202);
    assert_eq!(server.terminate(), Some(0));
    let spans = collector.spans();
    assert!(spans.iter().any(|(_, span)| text(span, "agon.request_id").as_deref() == Some("last")));
    assert!(!spans.iter().any(|(_, span)| hex(&span.trace_id) == TRACE), "{spans:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_decides_before_the_ratio_does() {
    let dir = tempfile::tempdir().unwrap();
    let (collector, url) = Collector::start(TAKES).await;
    let more = ["--otlp-endpoint", &url, "--trace-ratio", "0"];
    let (server, token) = serve(dir.path(), &more).await;
    assert_eq!(call(&server.base, &token, "alone", None, &game("alone")).await, 202);
    let traceparent = sampled(TRACE);
    assert_eq!(call(&server.base, &token, "kept", Some(&traceparent), &game("kept")).await, 202);
    let (_, kept) = collector.request("kept").await;
    collector.behind(&kept).await;
    assert_eq!(server.terminate(), Some(0));
    let spans = collector.spans();
    assert_eq!(spans.len(), 3, "a request, its append, its flush: {spans:#?}");
    let traced = traceparents(dir.path()).await;
    assert_eq!((traced.iter().flatten().count(), traced.len()), (1, 3), "{traced:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_nothing_is_traced() {
    let dir = tempfile::tempdir().unwrap();
    let (server, token) = serve(dir.path(), &[]).await;
    let traceparent = sampled(TRACE);
    assert_eq!(call(&server.base, &token, "off", Some(&traceparent), &game("off")).await, 202);
    let metrics = http().get(&server.metrics).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("agon_build_info") && !metrics.contains("agon_spans_total"));
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(traceparents(dir.path()).await, [None, None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_refuses_is_named_once_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let (collector, url) = Collector::start(REFUSES).await;
    let (server, token) = serve(dir.path(), &["--otlp-endpoint", &url]).await;
    let mut failed = 0;
    for id in ["first", "second"] {
        assert_eq!(call(&server.base, &token, id, None, &game(id)).await, 202);
        failed = counted(&server, "failed", failed).await;
    }
    assert_eq!(said(&server, "the collector takes no spans").await, 1);
    collector.mood.store(TAKES, Ordering::SeqCst);
    assert_eq!(call(&server.base, &token, "third", None, &game("third")).await, 202);
    collector.request("third").await;
    assert_eq!(said(&server, "the collector takes spans again").await, 1);
    assert_eq!(server.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_collector_that_is_gone_or_does_not_answer() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (_, hangs) = Collector::start(HANGS).await;
    for url in [gone, hangs] {
        let dir = tempfile::tempdir().unwrap();
        let (server, token) = serve(dir.path(), &["--otlp-endpoint", &url]).await;
        for id in ["one", "two", "three"] {
            assert_eq!(call(&server.base, &token, id, None, &game(id)).await, 202);
        }
        counted(&server, "failed", 0).await;
        assert_eq!(call(&server.base, &token, "last", None, &game("last")).await, 202);
        assert_eq!(server.terminate(), Some(0), "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn between_processes_the_records_carry_the_trace() {
    let Some(deployment) = Deployment::new() else { return };
    let (collector, url) = Collector::start(TAKES).await;
    let more = ["--otlp-endpoint", url.as_str()];
    deployment.init(2);
    let consumer = deployment.role("consumer", &more).await;
    let api = deployment.role("api", &more).await;
    let producer = deployment.role("producer", &more).await;
    let token = deployment.operator(&api).await;
    let (status, _) = producer.post("/api/v1/environments", &token, json!({"id": "e"})).await;
    assert_eq!(status, 202);
    let traceparent = sampled(TRACE);
    let answered = call(&producer.base, &token, "traced", Some(&traceparent), &game("m")).await;
    assert_eq!(answered, 202);
    let (service, request) = collector.request("traced").await;
    assert_eq!((service.as_str(), hex(&request.trace_id)), ("agon-producer", TRACE.into()));
    let ((appends, _), (flushes, flush)) = collector.behind(&request).await;
    assert_eq!((appends.as_str(), flushes.as_str()), ("agon-producer", "agon-consumer"));
    assert_eq!(flush.name, "flush agon.matches.v1");
    for role in [producer, api, consumer] {
        assert_eq!(role.terminate().await, Some(0));
    }
    deployment.verified();
}
