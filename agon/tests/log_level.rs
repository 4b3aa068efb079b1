//! Log lines as JSON with the ids of requests, and their level, changed while the server runs.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use support::{Server, add_user, http};

const PATIENCE: Duration = Duration::from_secs(60);

/// All lines that are JSON; what the banner says is for people.
fn lines(server: &Server) -> Vec<Value> {
    let said = server.said();
    let is_json = |line: &&String| line.starts_with('{');
    said.iter().filter(is_json).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The line of a request, once it is there.
async fn line(server: &Server, request_id: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = lines(server).into_iter().find(|line| line["request_id"] == request_id);
        if let Some(line) = found {
            return line;
        }
        assert!(Instant::now() < deadline, "no line of {request_id}: {:#?}", lines(server));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn call(
    server: &Server,
    method: Method,
    path: &str,
    token: &str,
    request_id: &str,
    body: Option<&str>,
) -> (u16, Value) {
    let request = http()
        .request(method, format!("{}{path}", server.base))
        .header("x-request-id", request_id)
        .bearer_auth(token);
    let request = match body {
        Some(body) => request.header("content-type", "application/json").body(body.to_owned()),
        None => request,
    };
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], request_id);
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

async fn set(server: &Server, token: &str, request_id: &str, filter: &str) {
    let body = json!({ "filter": filter }).to_string();
    let path = "/api/v1/log-level";
    let answer = call(server, Method::PUT, path, token, request_id, Some(&body)).await;
    assert_eq!(answer, (200, json!({ "filter": filter })));
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_change_while_the_server_runs_and_lines_bear_the_ids_of_requests() {
    let dir = tempfile::tempdir().unwrap();
    add_user(dir.path(), "boss", "admin");
    let server = Server::start(dir.path(), &["--log-format", "json"]);
    let boss = server.login("boss").await;
    let path = "/api/v1/log-level";
    let seen = call(&server, Method::GET, path, &boss, "read-1", None).await;
    assert_eq!(seen, (200, json!({"filter": "info"})));
    call(&server, Method::GET, "/livez", &boss, "quiet-1", None).await;

    set(&server, &boss, "audit-1", "info,agon_edge=debug").await;
    let audit = line(&server, "audit-1").await;
    for (member, expected) in [
        ("by", "boss"),
        ("before", "info"),
        ("after", "info,agon_edge=debug"),
        ("target", "agon::audit"),
    ] {
        assert_eq!(audit[member], expected, "{audit}");
    }
    call(&server, Method::GET, "/livez", &boss, "loud-1", None).await;
    let loud = line(&server, "loud-1").await;
    let shown = (&loud["level"], &loud["route"], &loud["status"], &loud["message"]);
    assert_eq!(shown, (&json!("DEBUG"), &json!("/livez"), &json!(200), &json!("answered")));

    // Nothing but what was done by whom is said now; standard error keeps the order.
    set(&server, &boss, "audit-2", "off").await;
    call(&server, Method::GET, "/livez", &boss, "quiet-2", None).await;
    set(&server, &boss, "audit-3", "warn").await;
    assert_eq!(line(&server, "audit-3").await["before"], "off");
    line(&server, "audit-2").await;
    let quiet = |line: &&Value| line["request_id"].as_str().is_some_and(|id| id.contains("quiet"));
    assert_eq!(lines(&server).iter().find(quiet), None);

    // What fails is said with its id at the level of every day.
    let (_, status) = call(&server, Method::GET, "/status", &boss, "quiet-3", None).await;
    let log = &status["log"].as_str().unwrap()[..8];
    let late = format!("/leaderboard?environment=e&min_position={log}-m0.999999");
    let (code, problem) = call(&server, Method::GET, &late, &boss, "late-1", None).await;
    assert_eq!((code, &problem["request_id"]), (504, &json!("late-1")));
    let failed = line(&server, "late-1").await;
    assert_eq!(failed["code"], "position_not_reached", "{failed}");
    assert_eq!(failed["level"], "WARN", "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_filter_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    add_user(dir.path(), "boss", "admin");
    let server = Server::start(dir.path(), &["--log-level", "warn"]);
    let boss = server.login("boss").await;
    let path = "/api/v1/log-level";
    let long = json!({ "filter": "info,".repeat(300) }).to_string();
    for (body, status, code, pointer) in [
        (r#"{"filter":"verbose"}"#, 422, "invalid_field", "/filter"),
        (r#"{"filter":"agon_edge=loud"}"#, 422, "invalid_field", "/filter"),
        (r#"{"filter":"info\nERROR forged"}"#, 422, "invalid_field", "/filter"),
        (r#"{"filter":""}"#, 422, "invalid_field", "/filter"),
        (r#"{"filter":7}"#, 422, "invalid_field", "/filter"),
        (long.as_str(), 422, "invalid_field", "/filter"),
        ("{}", 422, "invalid_field", "/filter"),
        (r#"{"filter":"info","for":"1h"}"#, 400, "unknown_field", "/for"),
        ("info", 400, "malformed_json", ""),
    ] {
        let (found, problem) = call(&server, Method::PUT, path, &boss, "bad-1", Some(body)).await;
        assert_eq!((found, problem["code"].as_str().unwrap()), (status, code), "{body}: {problem}");
        let found = problem["errors"][0]["pointer"].as_str().unwrap_or_default();
        assert_eq!(found, pointer, "{body}: {problem}");
    }
    let seen = call(&server, Method::GET, path, &boss, "read-1", None).await;
    assert_eq!(seen, (200, json!({"filter": "warn"})));
}
