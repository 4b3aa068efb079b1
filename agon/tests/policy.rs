//! The joined policy table against the routes that are served: each route answers, and lets in
//! exactly those whom its row names.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use support::{Server, add_user, expect, http, stdout};

/// What the contract says, written down a second time.
const CONTRACT: &str = "
    GET  /api/v1/agents/{id}/history                        anyone
    GET  /api/v1/agents/{id}/ratings                        anyone
    GET  /api/v1/benchmarks                                 anyone
    POST /api/v1/benchmarks                                 producer
    GET  /api/v1/benchmarks/{id}                            anyone
    GET  /api/v1/benchmarks/{id}/submissions/{submission_id} anyone
    GET  /api/v1/dead-letters                               operator
    GET  /api/v1/dead-letters/{id}                          operator
    POST /api/v1/dead-letters/{id}/replay                   operator
    GET  /api/v1/environments                               anyone
    POST /api/v1/environments                               producer
    GET  /api/v1/environments/{id}                          anyone
    GET  /api/v1/environments/{id}/matches/{match_id}       anyone
    GET  /api/v1/events                                     operator
    GET  /api/v1/leaderboard                                anyone
    GET  /api/v1/log-level                                  admin
    PUT  /api/v1/log-level                                  admin
    POST /api/v1/login                                      anyone
    GET  /api/v1/matches                                    anyone
    POST /api/v1/matches                                    producer
    POST /api/v1/recentchanges                              producer
    POST /api/v1/scores                                     producer
    GET  /api/v1/stats                                      any token
    POST /api/v1/submissions                                producer
    GET  /leaderboard                                       anyone
    GET  /livez                                             anyone
    POST /login                                             anyone
    GET  /matches                                           anyone
    POST /matches                                           producer
    GET  /metrics                                           anyone
    GET  /readyz                                            anyone
    GET  /stats                                             any token
    GET  /status                                            anyone
    POST /submissions                                       producer
    GET  /version                                           anyone
";

/// Callers with a token, and what each is let through to.
const CALLERS: [(&str, &[&str]); 5] = [
    ("viewer", &["anyone", "any token", "viewer"]),
    ("author", &["anyone", "any token", "viewer", "author"]),
    ("producer", &["anyone", "any token", "viewer", "producer"]),
    ("operator", &["anyone", "any token", "viewer", "author", "producer", "operator"]),
    ("admin", &["anyone", "any token", "viewer", "author", "producer", "operator", "admin"]),
];

/// Method, path and who, of every route.
fn table() -> Vec<(Method, String, String)> {
    let printed = stdout(&expect(0, &["config", "routes"]));
    let row = |line: &str| {
        let mut parts = line.split('\t').map(str::to_owned);
        let mut next = || parts.next().unwrap();
        (next().parse().unwrap(), next(), next())
    };
    printed.lines().map(row).collect()
}

async fn call(method: Method, url: String, token: Option<&str>) -> Response {
    let with_body = method == Method::POST || method == Method::PUT;
    let request = http().request(method, url);
    let request = if with_body { request.json(&json!({})) } else { request };
    let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
    request.send().await.unwrap()
}

/// What stands for the parameters of a path: things that are there.
fn filled(path: &str, dead_letter: &str) -> String {
    let kinds = [("/benchmarks/", "b"), ("/agents/", "ann"), ("/dead-letters/", dead_letter)];
    let id = kinds.iter().find(|(kind, _)| path.contains(kind)).map_or("e", |(_, id)| id);
    let path = path.replace("{id}", id).replace("{match_id}", "m");
    let path = path.replace("{submission_id}", "s");
    if path.ends_with("/leaderboard") || path.ends_with("/matches") || path.ends_with("/history") {
        return path + "?environment=e";
    }
    path
}

async fn define(server: &Server, token: &str) {
    let two = json!([{"agent": "ann", "placement": 1}, {"agent": "bob", "placement": 2}]);
    for (path, body) in [
        ("/environments", json!({"id": "e"})),
        (
            "/benchmarks",
            json!({"id": "b", "metric": "m", "direction": "higher", "aggregation": "best"}),
        ),
        (
            "/submissions",
            json!({"submission_id": "s", "benchmark": "b", "agent": "ann", "metrics": {"m": 1}}),
        ),
        ("/matches", json!({"match_id": "m", "environment": "e", "players": two})),
    ] {
        let (status, answer) = server.post(&format!("/api/v1{path}"), token, &body).await;
        assert_eq!(status, 202, "{answer}");
        let position = answer["position"].as_str().unwrap();
        let (status, _) = server.get(&format!("/api/v1/benchmarks?min_position={position}")).await;
        assert_eq!(status, 200);
    }
}

/// The id of a dead letter, made by sending what is no recent change, as a part of a path.
async fn dead_letter(server: &Server, producer: &str, operator: &str) -> String {
    let change = json!({"title": "no change"});
    assert_eq!(server.post("/api/v1/recentchanges", producer, &change).await.0, 422);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let url = format!("{}/api/v1/dead-letters", server.base);
        let answer = call(Method::GET, url, Some(operator)).await;
        let answer: Value = answer.json().await.unwrap();
        if let Some(id) = answer["items"][0]["id"].as_str() {
            return id.replace('/', "%2F");
        }
        assert!(Instant::now() < deadline, "{answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn the_table_is_the_contract() {
    let rows: Vec<_> =
        table().into_iter().map(|(m, path, who)| format!("{m} {path} {who}")).collect();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let contract: Vec<_> = CONTRACT.lines().map(words).filter(|line| !line.is_empty()).collect();
    assert_eq!(rows, contract);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_lets_in_exactly_whom_its_row_names() {
    let dir = tempfile::tempdir().unwrap();
    for (role, _) in CALLERS {
        add_user(dir.path(), role, role);
    }
    let server = Server::start(dir.path(), &[]);
    let mut tokens = BTreeMap::new();
    for (role, _) in CALLERS {
        tokens.insert(role, server.login(role).await);
    }
    define(&server, &tokens["producer"]).await;
    let letter = dead_letter(&server, &tokens["producer"], &tokens["operator"]).await;
    for (method, path, who) in table() {
        let url = format!("{}{}", server.base, filled(&path, &letter));
        let status = async |token| call(method.clone(), url.clone(), token).await.status();
        let is_open = who == "anyone";
        for token in [None, Some("no.token.atall")] {
            let status = status(token).await;
            assert_eq!(status == StatusCode::UNAUTHORIZED, !is_open, "{method} {path} {token:?}");
            assert_ne!(status, StatusCode::FORBIDDEN, "{method} {path} {token:?}");
        }
        for (role, allowed) in CALLERS {
            let status = status(Some(&tokens[role])).await;
            let is_let_in = allowed.contains(&who.as_str());
            assert_eq!(status == StatusCode::FORBIDDEN, !is_let_in, "{role}: {method} {path}");
            // An empty object is a body that no write can use; every GET has what it asks for.
            let answered = if method == Method::GET { 200 } else { 422 };
            let expected = if is_let_in { answered } else { 403 };
            assert_eq!(status.as_u16(), expected, "{role}: {method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_row_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    add_user(dir.path(), "boss", "admin");
    let server = Server::start(dir.path(), &["--metrics-listen", "127.0.0.1:0"]);
    let token = server.login("boss").await;
    for path in [
        "/",
        "/api/v1",
        "/api/v1/",
        "/api/v1/users",
        "/environments",
        "/livez/",
        "/api/v1/livez",
        "/metrics",
        "/..",
        "/api/v2/matches",
    ] {
        for token in [None, Some(token.as_str())] {
            let answer = call(Method::GET, format!("{}{path}", server.base), token).await;
            assert_eq!(answer.status(), 404, "{path}");
            let problem: Value = answer.json().await.unwrap();
            assert_eq!(problem["code"], "not_found", "{path}");
        }
    }
    let mut methods: BTreeMap<String, Vec<Method>> = BTreeMap::new();
    for (method, path, _) in table() {
        methods.entry(path).or_default().push(method);
    }
    assert!(methods.remove("/metrics").is_some());
    for (path, served) in methods {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            if served.contains(&method) {
                continue;
            }
            let url = format!("{}{}", server.base, filled(&path, "none"));
            let answer = call(method.clone(), url, Some(&token)).await;
            assert_eq!(answer.status(), 405, "{method} {path}");
            let allow = answer.headers()["allow"].to_str().unwrap().to_owned();
            assert!(served.iter().all(|method| allow.contains(method.as_str())), "{path}: {allow}");
        }
    }
    // Metrics moved, and nothing else went along.
    let answer = call(Method::GET, server.metrics.clone(), None).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().contains("agon_build_info"));
    let other = server.metrics.replace("/metrics", "/livez");
    assert_eq!(call(Method::GET, other, None).await.status(), 404);
}
