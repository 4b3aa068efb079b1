//! One event and one query through the real server, every kind of bad input beside them, and what
//! is left of it after SIGTERM.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::path::Path;

use reqwest::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use support::{Server, add_user, http, verify};
use tempfile::TempDir;

/// A running server with a writer's token.
struct Site {
    dir: TempDir,
    server: Server,
    token: String,
}

impl Site {
    /// With the environment `e` and the benchmark `b`.
    async fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        add_user(dir.path(), "writer", "producer");
        let (server, token) = serve(dir.path()).await;
        let site = Site { dir, server, token };
        let benchmark =
            json!({"id": "b", "metric": "m", "direction": "higher", "aggregation": "best"});
        for (path, body) in [("/environments", json!({"id": "e"})), ("/benchmarks", benchmark)] {
            let (status, answer) = site.post(&format!("/api/v1{path}"), &body).await;
            assert_eq!((status, &answer["duplicate"]), (202, &json!(false)), "{answer}");
        }
        site
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.server.post(path, &self.token, body).await
    }

    async fn send(&self, path: &str, media: &str, body: impl Into<Vec<u8>>) -> Response {
        let request = http().post(format!("{}{path}", self.server.base)).bearer_auth(&self.token);
        request.header(CONTENT_TYPE, media).body(body.into()).send().await.unwrap()
    }

    /// What is at a path once the answer includes this write.
    async fn after(&self, write: &Value, path: &str) -> Value {
        let position = write["position"].as_str().unwrap();
        let joint = if path.contains('?') { '&' } else { '?' };
        let (status, answer) =
            self.server.get(&format!("{path}{joint}min_position={position}")).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    async fn records(&self) -> u64 {
        self.server.get("/status").await.1["records"].as_u64().unwrap()
    }
}

async fn serve(data: &Path) -> (Server, String) {
    let server = Server::start(data, &[]);
    let token = server.login("writer").await;
    (server, token)
}

fn game(id: &str, winner: &str, loser: &str) -> Value {
    json!({"match_id": id, "environment": "e", "occurred_at": "2026-11-21T10:00:00Z",
        "players": [{"agent": winner, "placement": 1, "score": 3},
            {"agent": loser, "placement": 2, "score": 1, "home": true}],
        "context": {"round": "final"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_match_goes_all_the_way_to_every_read() {
    let site = Site::new().await;
    let (status, one) = site.post("/matches", &game("m1", "ann", "bob")).await;
    assert_eq!((status, &one["duplicate"]), (202, &json!(false)), "{one}");
    let board = site.after(&one, "/leaderboard?environment=e").await;
    assert_eq!(board["board"], json!({"environment": "e", "system": "elo"}));
    assert_eq!((&board["total"], &board["next_cursor"]), (&json!(2), &Value::Null));
    assert_eq!(
        board["entries"],
        json!([{"rank": 1, "agent": "ann", "rating": 1516.0, "games": 1, "wins": 1, "draws": 0,
                "losses": 0, "last_played_at": "2026-11-21T10:00:00Z"},
               {"rank": 2, "agent": "bob", "rating": 1484.0, "games": 1, "wins": 0, "draws": 0,
                "losses": 1, "last_played_at": "2026-11-21T10:00:00Z"}])
    );
    let found = site.after(&one, "/api/v1/environments/e/matches/m1").await;
    assert_eq!(found["context"], json!({"round": "final"}));
    assert_eq!(found["players"][1]["home"], true);
    assert_eq!(found["players"][0]["rating_after"], 1516.0);
    let list = site.after(&one, "/matches?environment=e&agent=bob").await;
    assert_eq!((&list["items"][0], &list["next_cursor"]), (&found, &Value::Null));
    let ratings = site.after(&one, "/api/v1/agents/ann/ratings").await;
    assert_eq!(ratings["items"][0]["rating"], 1516.0);
    assert_eq!(ratings["items"][0]["board"]["environment"], "e");
    let history = site.after(&one, "/api/v1/agents/bob/history?environment=e").await;
    assert_eq!(
        (&history["items"][0]["match_id"], &history["items"][0]["result"]),
        (&json!("m1"), &json!("loss"))
    );
    let environments = site.after(&one, "/api/v1/environments").await;
    assert_eq!(environments["items"][0]["id"], "e");
    let environment = site.after(&one, "/api/v1/environments/e").await;
    assert_eq!((&environment["matches"], &environment["version"]), (&json!(1), &json!(1)));
    assert_eq!(environment["rating"]["k"], 32.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_count_what_is_good_and_name_what_is_not() {
    let site = Site::new().await;
    let (_, single) = site.post("/matches", &game("m1", "ann", "bob")).await;
    let mut bad = game("m3", "ann", "bob");
    bad["players"][1]["placement"] = json!(0);
    let array = json!([game("m1", "ann", "bob"), game("m2", "ann", "cat"), bad]);
    let (status, answer) = site.post("/matches", &array).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(1), &json!(1)), "{answer}");
    let rejected = &answer["rejected"];
    assert_eq!((&rejected[0]["index"], &rejected[1]), (&json!(2), &Value::Null));
    assert_eq!(rejected[0]["pointer"], "/2/players/1/placement");
    assert_eq!(rejected[0]["code"], "invalid_field");
    let lines = format!("{}\n\nnot json\n{}\n", game("m4", "dan", "bob"), game("m5", "eve", "bob"));
    let response = site.send("/matches", "application/x-ndjson", lines).await;
    assert_eq!(response.status(), 202);
    let lines: Value = response.json().await.unwrap();
    assert_eq!(
        (&lines["accepted"], &lines["rejected"][0]["code"]),
        (&json!(2), &json!("malformed_json")),
        "{lines}"
    );
    let (status, none) = site.post("/matches", &json!([bad, 7])).await;
    assert_eq!((status, &none["code"]), (400, &json!("none_accepted")));
    assert_eq!(none["errors"].as_array().unwrap().len(), 2, "{none}");
    assert_eq!(none["errors"][1]["pointer"], "/1");
    assert_eq!(site.after(&lines, "/leaderboard?environment=e").await["total"], 5);
    assert_eq!(
        site.after(&single, "/matches?environment=e").await["items"].as_array().unwrap().len(),
        4
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn submissions_are_scored_at_once_or_later() {
    let site = Site::new().await;
    let scored = json!({"submission_id": "s1", "benchmark": "b", "agent": "ann",
        "metrics": {"m": 0.5, "cost": 3}});
    let (status, answer) = site.post("/submissions", &scored).await;
    assert_eq!(status, 202, "{answer}");
    let waiting = json!({"submission_id": "s2", "benchmark": "b", "agent": "bob"});
    let (status, answer) = site.post("/submissions", &waiting).await;
    assert_eq!(status, 202, "{answer}");
    let board = site.after(&answer, "/leaderboard?benchmark=b").await;
    assert_eq!(
        (&board["total"], &board["entries"][0]["metrics"]["cost"]),
        (&json!(1), &json!(3.0))
    );
    let score = json!({"benchmark": "b", "submission_id": "s2", "status": "completed",
        "metrics": {"m": 0.75}});
    let (status, answer) = site.post("/api/v1/scores", &score).await;
    assert_eq!(status, 202, "{answer}");
    let board = site.after(&answer, "/leaderboard?benchmark=b").await;
    let line =
        |at: usize| (board["entries"][at]["agent"].clone(), board["entries"][at]["score"].clone());
    assert_eq!([line(0), line(1)], [(json!("bob"), json!(0.75)), (json!("ann"), json!(0.5))]);
    let submission = site.after(&answer, "/api/v1/benchmarks/b/submissions/s2").await;
    assert_eq!(
        (&submission["runs_completed"], &submission["metrics"]["m"]),
        (&json!(1), &json!(0.75))
    );
    let history = site.after(&answer, "/api/v1/agents/bob/history?benchmark=b").await;
    assert_eq!(history["items"][0]["score_after"], 0.75);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_has_its_effect_once() {
    let site = Site::new().await;
    let (_, first) = site.post("/matches", &game("m1", "ann", "bob")).await;
    let (status, again) = site.post("/matches", &game("m1", "ann", "bob")).await;
    assert_eq!((status, &again["duplicate"]), (202, &json!(true)), "{again}");
    assert_eq!(
        ["event_id", "position"].map(|f| &first[f]),
        ["event_id", "position"].map(|f| &again[f])
    );
    let (status, other) = site.post("/matches", &game("m1", "bob", "ann")).await;
    assert_eq!((status, &other["code"]), (409, &json!("conflicting_duplicate")), "{other}");
    // Without an id of its own, the key says that it is the same.
    let mut nameless = game("", "ann", "cat");
    nameless.as_object_mut().unwrap().remove("match_id");
    let mut positions = Vec::new();
    for key in ["k1", "k1", "k2"] {
        let url = format!("{}/matches", site.server.base);
        let request = http().post(url).bearer_auth(&site.token).header("idempotency-key", key);
        let answer: Value = request.json(&nameless).send().await.unwrap().json().await.unwrap();
        positions.push((answer["position"].clone(), answer["duplicate"].clone()));
    }
    assert_eq!(positions[0].0, positions[1].0);
    assert_eq!(
        [&positions[0].1, &positions[1].1, &positions[2].1],
        [false, true, false].map(Value::from).each_ref()
    );
    let (_, last) = site.post("/matches", &game("m2", "ann", "dan")).await;
    let board = site.after(&last, "/leaderboard?environment=e&agent=ann").await;
    assert_eq!(board["entries"][0]["games"], 4);
    // A definition is an event like any other.
    let (status, defined) = site.post("/api/v1/environments", &json!({"id": "e"})).await;
    assert_eq!((status, &defined["duplicate"]), (202, &json!(true)));
    let other = json!({"id": "e", "rating": {"system": "elo", "k": 16}});
    assert_eq!(site.post("/api/v1/environments", &other).await.0, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_carry_an_id_and_reads_an_etag() {
    let site = Site::new().await;
    let (_, write) = site.post("/matches", &game("m1", "ann", "bob")).await;
    site.after(&write, "/leaderboard?environment=e").await;
    let get = async |etag: Option<&str>| {
        let request = http().get(format!("{}/leaderboard?environment=e", site.server.base));
        let request = etag.into_iter().fold(request, |r, etag| r.header(IF_NONE_MATCH, etag));
        request.send().await.unwrap()
    };
    let first = get(None).await;
    let etag = first.headers()[ETAG].to_str().unwrap().to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag} is strong");
    assert!(first.headers().contains_key("x-request-id"));
    let same = get(Some(&etag)).await;
    assert_eq!(
        (same.status(), same.headers()[ETAG].to_str().unwrap()),
        (StatusCode::NOT_MODIFIED, etag.as_str())
    );
    assert_eq!(same.bytes().await.unwrap().len(), 0);
    let (_, write) = site.post("/matches", &game("m2", "ann", "bob")).await;
    site.after(&write, "/leaderboard?environment=e").await;
    let changed = get(Some(&etag)).await;
    assert_eq!(changed.status(), 200);
    assert_ne!(changed.headers()[ETAG].to_str().unwrap(), etag);
    let missing = http().get(format!("{}/nowhere", site.server.base)).send().await.unwrap();
    assert_eq!(missing.headers()[CONTENT_TYPE], "application/problem+json");
    let id = missing.headers()["x-request-id"].to_str().unwrap().to_owned();
    let problem: Value = missing.json().await.unwrap();
    assert_eq!((&problem["request_id"], &problem["instance"]), (&json!(id), &json!("/nowhere")));
    // Another server's positions mean nothing here.
    let other = Site::new().await;
    let foreign = write["position"].as_str().unwrap();
    let path = format!("/leaderboard?environment=e&min_position={foreign}");
    let (status, problem) = other.server.get(&path).await;
    assert_eq!((status, &problem["code"]), (400, &json!("position_of_another_log")));
}

/// Path, body, status, code and pointer.
type BadWrite = (&'static str, Vec<u8>, u16, &'static str, &'static str);

/// Every kind of bad match.
fn bad_matches() -> Vec<BadWrite> {
    let players = |players: &str| format!(r#"{{"environment":"e","players":[{players}]}}"#);
    let two = r#"{"agent":"a","placement":1},{"agent":"b","placement":2}"#;
    let with = |more: &str| format!(r#"{{"environment":"e","players":[{two}],{more}}}"#);
    let many: Vec<_> = (0..65).map(|n| format!(r#"{{"agent":"a{n}","placement":1}}"#)).collect();
    let twice = r#"{"agent":"a","placement":1},{"agent":"a","placement":2}"#;
    let score = |score: &str| format!(r#"{{"agent":"a","placement":1,"score":{score}}},{two}"#);
    let long = "x".repeat(129);
    let deep = "[".repeat(100_000);
    let nested = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    let text = |text: &str| text.as_bytes().to_vec();
    let (json, field) = ("malformed_json", "invalid_field");
    let matches = [
        (text("{"), 400, json, ""),
        (text(""), 400, json, ""),
        (b"{\"environment\":\"\xff\xfe\"}".to_vec(), 400, json, ""),
        (text(&deep), 400, json, ""),
        (text(&with(&format!("\"context\":{{\"x\":{deep}"))), 400, json, ""),
        (text(&players(&score("NaN"))), 400, json, ""),
        (text(&players(&score("1e999"))), 400, json, ""),
        (text(&players(&score("-Infinity"))), 400, json, ""),
        (text(&with("\"elo\":1")), 400, "unknown_field", "/elo"),
        (text("7"), 422, field, ""),
        (text(&with("\"match_id\":7")), 422, field, "/match_id"),
        (text(r#"{"environment":["e"],"players":[]}"#), 422, field, "/environment"),
        (text(&players(&many.join(","))), 422, field, "/players"),
        (text(&players(r#"{"agent":"a","placement":1}"#)), 422, field, "/players"),
        (text(&players(twice)), 422, field, "/players/1/agent"),
        (text(&with(&format!("\"match_id\":\"{long}\""))), 422, field, "/match_id"),
        (text(&with("\"occurred_at\":\"12026-11-21T10:00:00Z\"")), 422, field, "/occurred_at"),
        (text(&with("\"occurred_at\":\"-0001-01-01T00:00:00Z\"")), 422, field, "/occurred_at"),
        (text(&with("\"occurred_at\":\"0000-12-31T23:59:59Z\"")), 422, field, "/occurred_at"),
        (text(&with("\"occurred_at\":\"2026-02-30\"")), 422, field, "/occurred_at"),
        (text(&with("\"occurred_at\":99999999999999")), 422, field, "/occurred_at"),
        (text(&with(&format!("\"context\":{{\"x\":{nested}}}"))), 422, field, "/context"),
        (
            text(&with("").replace(",}", "}").replace("\"e\"", "\"nowhere\"")),
            404,
            "unknown_environment",
            "/environment",
        ),
        (
            text(&with("").replace(",}", "}").replace("\"e\"", "\"a/b\"")),
            422,
            field,
            "/environment",
        ),
    ];
    let write = |(body, status, code, at)| ("/matches", body, status, code, at);
    matches.map(write).into()
}

/// A bad one of every other kind.
fn other_bad_writes() -> Vec<BadWrite> {
    let (json, field) = ("malformed_json", "invalid_field");
    let others = [
        (
            "/submissions",
            r#"{"benchmark":"c","agent":"a"}"#,
            404,
            "unknown_benchmark",
            "/benchmark",
        ),
        (
            "/submissions",
            r#"{"benchmark":"b","agent":"a","metrics":{"m":null}}"#,
            422,
            field,
            "/metrics/m",
        ),
        ("/submissions", r#"{"benchmark":"b","agent":"a","metrics":{"m":1e999}}"#, 400, json, ""),
        (
            "/api/v1/scores",
            r#"{"benchmark":"b","submission_id":"no","status":"failed"}"#,
            404,
            "unknown_submission",
            "/submission_id",
        ),
        (
            "/api/v1/environments",
            r#"{"id":"x","rating":{"system":"chance"}}"#,
            422,
            field,
            "/rating/system",
        ),
        (
            "/api/v1/benchmarks",
            r#"{"id":"x","metric":"m","direction":"up","aggregation":"best"}"#,
            422,
            field,
            "/direction",
        ),
        ("/login", r#"{"username":"writer"}"#, 422, field, "/password"),
    ];
    let write = |(path, body, status, code, at): (_, &str, _, _, _)| {
        (path, body.as_bytes().to_vec(), status, code, at)
    };
    others.map(write).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_one_clear_problem_and_harms_nothing() {
    let site = Site::new().await;
    let (_, good) = site.post("/matches", &game("m1", "ann", "bob")).await;
    let before = site.after(&good, "/leaderboard?environment=e").await;
    let records = site.records().await;
    for (path, body, status, code, pointer) in bad_matches().into_iter().chain(other_bad_writes()) {
        let shown = String::from_utf8_lossy(&body[..body.len().min(160)]).into_owned();
        let response = site.send(path, "application/json", body).await;
        let head = (response.status().as_u16(), response.headers()[CONTENT_TYPE].clone());
        let problem: Value = response.json().await.unwrap();
        assert_eq!(head.0, status, "{path} {shown}: {problem}");
        assert_eq!(head.1, "application/problem+json", "{path} {shown}");
        assert_eq!(problem["code"], code, "{path} {shown}: {problem}");
        let named = problem["errors"][0]["pointer"].as_str().unwrap_or("");
        assert_eq!(named, pointer, "{path} {shown}: {problem}");
        assert!(problem["detail"].as_str().unwrap().len() > 8, "{path} {shown}: {problem}");
    }
    let large = vec![b' '; (8 << 20) + 1];
    assert_eq!(site.send("/matches", "application/json", large).await.status(), 413);
    assert_eq!(site.send("/matches", "text/csv", "a,b").await.status(), 415);
    for (query, code) in [
        ("environment=nowhere", "unknown_environment"),
        ("environment=e&limit=1001", "invalid_parameter"),
        ("environment=e&limit=ten", "invalid_parameter"),
        ("environment=e&cursor=zzz", "invalid_parameter"),
        ("environment=e&min_position=zzz", "invalid_parameter"),
        ("environment=e&sort=up", "unknown_parameter"),
        ("environment=e&around=nobody", "unknown_agent"),
        ("", "invalid_parameter"),
    ] {
        let (_, problem) = site.server.get(&format!("/leaderboard?{query}")).await;
        assert_eq!(problem["code"], code, "{query}: {problem}");
    }
    assert_eq!(site.records().await, records, "something of it was kept");
    let (status, after) = site.server.get("/leaderboard?environment=e").await;
    assert_eq!((status, &after["entries"]), (200, &before["entries"]));
    assert_eq!(site.server.get("/readyz").await.0, 200);
    assert_eq!(site.server.terminate(), Some(0));
    assert_eq!(verify(site.dir.path())["differences"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_with_0_and_everything_acknowledged_is_there() {
    let Site { dir, server, token } = Site::new().await;
    let mut posts = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let (base, token) = (server.base.clone(), token.clone());
        posts.spawn(async move {
            let mut known = Vec::new();
            for number in 0.. {
                let id = format!("{writer}-{number}");
                let post = http().post(format!("{base}/matches")).bearer_auth(&token);
                match post.json(&game(&id, "ann", &format!("x{}", number % 5))).send().await {
                    Ok(answer) if answer.status() == 202 => known.push(id),
                    // On its way down it says so, or hangs up.
                    Ok(answer) => {
                        assert_eq!(answer.status(), 503);
                        break;
                    }
                    Err(_) => break,
                }
            }
            known
        });
    }
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert_eq!(server.terminate(), Some(0));
    let acknowledged: Vec<String> = posts.join_all().await.concat();
    assert!(acknowledged.len() > 4, "{}", acknowledged.len());
    let report = verify(dir.path());
    assert_eq!(report["differences"], 0, "{report}");
    let (server, token) = serve(dir.path()).await;
    let site = Site { dir, server, token };
    let (_, last) = site.post("/matches", &game("last", "ann", "bob")).await;
    let board = site.after(&last, "/leaderboard?environment=e&agent=ann").await;
    let games = board["entries"][0]["games"].as_u64().unwrap() as usize;
    assert!(games > acknowledged.len(), "{games} games of {} and one", acknowledged.len());
    for id in &acknowledged {
        let (status, _) = site.server.get(&format!("/api/v1/environments/e/matches/{id}")).await;
        assert_eq!(status, 200, "acknowledged match {id} is lost");
    }
    println!("{} acknowledged matches: all there", acknowledged.len());
}
