//! Everything that can be wrong in a write: one clear problem that names the field, nothing in
//! the log, no panic.

use std::sync::Arc;

use agon_memory::FaultRates;
use agon_producer::IntakeConfig;
use tokio::sync::Semaphore;

use crate::site::{MATCHES, Site, match_body};
use crate::world::World;

async fn check(site: &Site, path: &str, body: &[u8], expected: (u16, &str, &str)) {
    let before = site.world.records().await;
    let answer = site.post(path, body).await;
    let shown = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
    assert_eq!(answer.problem(), expected, "{shown}: {}", answer.json);
    assert_eq!(site.world.records().await, before, "{shown}");
    // As an item of a batch the same is named with its index.
    let is_value = serde_json::from_slice::<serde_json::Value>(body).is_ok();
    let is_object = is_value && body.trim_ascii_start().starts_with(b"{");
    if is_object && (400..=422).contains(&expected.0) && expected.0 != 409 {
        let batch = [b"[", body, b"]"].concat();
        let answer = site.post(path, batch).await;
        let pointer = format!("/0{}", expected.2);
        assert_eq!(answer.problem(), (400, "none_accepted", pointer.as_str()), "[{shown}]");
    }
}

fn players(players: &str) -> Vec<u8> {
    format!(r#"{{"environment":"e","players":[{players}]}}"#).into_bytes()
}

fn with(field: &str) -> Vec<u8> {
    let two = r#"{"agent":"a","placement":1},{"agent":"b","placement":2}"#;
    format!(r#"{{"environment":"e","players":[{two}],{field}}}"#).into_bytes()
}

#[tokio::test]
async fn bad_matches() {
    let mut site = Site::new().await;
    site.define().await;
    let check = async |body: Vec<u8>, status, code, pointer| {
        check(&site, MATCHES, &body, (status, code, pointer)).await;
    };
    check(b"".to_vec(), 400, "malformed_json", "").await;
    check(b"{".to_vec(), 400, "malformed_json", "").await;
    check(b"{\"environment\":\"\xff\"}".to_vec(), 400, "malformed_json", "").await;
    check(with("\"context\":NaN"), 400, "malformed_json", "").await;
    check(b"[".repeat(1 << 20), 400, "malformed_json", "").await;
    check(with(&format!("\"context\":{}", "[".repeat(9999))), 400, "malformed_json", "").await;
    check(b"null".to_vec(), 422, "invalid_field", "").await;
    check(b"\"e\"".to_vec(), 422, "invalid_field", "").await;
    check(b"{}".to_vec(), 422, "invalid_field", "/environment").await;
    check(with("\"rating\":1"), 400, "unknown_field", "/rating").await;
    check(with("\"match_id\":7"), 422, "invalid_field", "/match_id").await;
    check(with("\"match_id\":\"\""), 422, "invalid_field", "/match_id").await;
    let long = format!("\"match_id\":\"{}\"", "x".repeat(129));
    check(with(&long), 422, "invalid_field", "/match_id").await;
    check(with(r#""match_id":"a\u0000b""#), 422, "invalid_field", "/match_id").await;
    check(with("\"match_id\":\" a\""), 422, "invalid_field", "/match_id").await;
    check(with(r#""match_id":"e\u0301""#), 422, "invalid_field", "/match_id").await;
    check(with(r#""match_id":"\ud800""#), 400, "malformed_json", "").await;
    for date in ["yesterday", "2026-13-01", "12026-01-01T00:00:00Z", "2026-11-21T10:00:00"] {
        let field = format!("\"occurred_at\":\"{date}\"");
        check(with(&field), 422, "invalid_field", "/occurred_at").await;
    }
    check(with("\"occurred_at\":1764000000"), 422, "invalid_field", "/occurred_at").await;
    check(with("\"context\":[1]"), 422, "invalid_field", "/context").await;
    check(with("\"context\":\"final\""), 422, "invalid_field", "/context").await;
    let big = format!("\"context\":{{\"x\":\"{}\"}}", "y".repeat(4096));
    check(with(&big), 422, "invalid_field", "/context").await;
    let deep = format!("\"context\":{{\"x\":{}{}}}", "[".repeat(500), "]".repeat(500));
    check(with(&deep), 422, "invalid_field", "/context").await;
    let nowhere = match_body("m", "ann").replace("\"e\"", "\"nowhere\"");
    check(nowhere.into_bytes(), 404, "unknown_environment", "/environment").await;
    let slug = match_body("m", "ann").replace("\"e\"", "\"not a slug\"");
    check(slug.into_bytes(), 422, "invalid_field", "/environment").await;
}

#[tokio::test]
async fn bad_players() {
    let mut site = Site::new().await;
    site.define().await;
    let check = async |body: Vec<u8>, status, code, pointer| {
        check(&site, MATCHES, &body, (status, code, pointer)).await;
    };
    let a = r#"{"agent":"a","placement":1}"#;
    check(players(""), 422, "invalid_field", "/players").await;
    check(players(a), 422, "invalid_field", "/players").await;
    let many: Vec<String> =
        (0..65).map(|n| format!(r#"{{"agent":"a{n}","placement":1}}"#)).collect();
    check(players(&many.join(",")), 422, "invalid_field", "/players").await;
    check(players(&format!("{a},{a}")), 422, "invalid_field", "/players/1/agent").await;
    for (player, code, status, pointer) in [
        (r#"{"agent":"b","placement":0}"#, "invalid_field", 422, "/players/1/placement"),
        (r#"{"agent":"b","placement":65}"#, "invalid_field", 422, "/players/1/placement"),
        (r#"{"agent":"b","placement":-1}"#, "invalid_field", 422, "/players/1/placement"),
        (r#"{"agent":"b","placement":1.5}"#, "invalid_field", 422, "/players/1/placement"),
        (r#"{"agent":"b"}"#, "invalid_field", 422, "/players/1/placement"),
        (r#"{"agent":"","placement":1}"#, "invalid_field", 422, "/players/1/agent"),
        (r#"{"agent":null,"placement":1}"#, "invalid_field", 422, "/players/1/agent"),
        (r#"{"agent":"b","placement":1,"score":"3"}"#, "invalid_field", 422, "/players/1/score"),
        (r#"{"agent":"b","placement":1,"elo":3}"#, "unknown_field", 400, "/players/1/elo"),
        (r#"{"agent":"b","placement":1,"score":1e999}"#, "malformed_json", 400, ""),
        (r#"{"agent":"b","placement":1,"score":NaN}"#, "malformed_json", 400, ""),
        (r#"{"agent":"b","placement":1,"score":Infinity}"#, "malformed_json", 400, ""),
    ] {
        check(players(&format!("{a},{player}")), status, code, pointer).await;
    }
}

#[tokio::test]
async fn bad_definitions_submissions_and_scores() {
    let mut site = Site::new().await;
    site.define().await;
    assert_eq!(
        site.post("/submissions", r#"{"submission_id":"s","benchmark":"b","agent":"a"}"#)
            .await
            .status,
        202
    );
    site.world.folder.fold().await;
    let check = async |path: &str, body: &str, status, code, pointer| {
        check(&site, &format!("/api/v1{path}"), body.as_bytes(), (status, code, pointer)).await;
    };
    let e = "/environments";
    check(e, r#"{"id":"a b"}"#, 422, "invalid_field", "/id").await;
    check(e, r#"{"id":"x","rating":{"system":"glicko"}}"#, 422, "invalid_field", "/rating/system")
        .await;
    check(e, r#"{"id":"x","rating":{"system":"elo","k":-1}}"#, 422, "invalid_field", "/rating/k")
        .await;
    check(e, r#"{"id":"x","rating":{"system":"elo","kk":1}}"#, 400, "unknown_field", "/rating/kk")
        .await;
    check(e, r#"{"id":"e","rating":{"system":"elo","k":16}}"#, 409, "conflicting_duplicate", "")
        .await;
    let b = "/benchmarks";
    check(
        b,
        r#"{"id":"x","metric":"m","direction":"up","aggregation":"best"}"#,
        422,
        "invalid_field",
        "/direction",
    )
    .await;
    check(
        b,
        r#"{"id":"x","metric":"m","direction":"higher"}"#,
        422,
        "invalid_field",
        "/aggregation",
    )
    .await;
    check(
        b,
        r#"{"id":"b","metric":"n","direction":"higher","aggregation":"best"}"#,
        409,
        "conflicting_duplicate",
        "",
    )
    .await;
    let s = "/submissions";
    check(s, r#"{"benchmark":"c","agent":"a"}"#, 404, "unknown_benchmark", "/benchmark").await;
    check(
        s,
        r#"{"benchmark":"b","agent":"a","metrics":{"n":1}}"#,
        422,
        "invalid_field",
        "/metrics",
    )
    .await;
    check(
        s,
        r#"{"benchmark":"b","agent":"a","metrics":{"m":"1"}}"#,
        422,
        "invalid_field",
        "/metrics/m",
    )
    .await;
    check(s, r#"{"benchmark":"b","agent":"a","metrics":{"m":1e999}}"#, 400, "malformed_json", "")
        .await;
    check(s, r#"{"benchmark":"b","agent":"a","artifact":""}"#, 422, "invalid_field", "/artifact")
        .await;
    check(
        s,
        r#"{"submission_id":"s","benchmark":"b","agent":"b"}"#,
        409,
        "conflicting_duplicate",
        "",
    )
    .await;
    let r = "/scores";
    check(
        r,
        r#"{"benchmark":"b","submission_id":"t","status":"failed"}"#,
        404,
        "unknown_submission",
        "/submission_id",
    )
    .await;
    check(
        r,
        r#"{"benchmark":"b","submission_id":"s","status":"completed"}"#,
        422,
        "invalid_field",
        "/metrics",
    )
    .await;
    check(
        r,
        r#"{"benchmark":"b","submission_id":"s","status":"running"}"#,
        422,
        "invalid_field",
        "/status",
    )
    .await;
    check(
        "/recentchanges",
        r#"{"meta":{"dt":"2026-01-01","domain":"canary"}}"#,
        422,
        "invalid_field",
        "/meta/domain",
    )
    .await;
}

#[tokio::test]
async fn a_malformed_change_is_refused_and_kept() {
    let mut site = Site::new().await;
    for body in ["{}", "{}", "[7]"] {
        let answer = site.post("/api/v1/recentchanges", body).await;
        assert!(matches!(answer.problem().0, 400 | 422), "{}", answer.json);
    }
    let lines = "not json\n{\"meta\":{\"dt\":\"2026-01-01\"}}\n";
    let answer = site.lines("/api/v1/recentchanges", lines).await;
    assert_eq!((answer.status, &answer.json["accepted"]), (202, &serde_json::json!(1)));
    assert_eq!(answer.json["rejected"][0]["code"], "malformed");
    site.world.folder.fold().await;
    let counts = site.world.folder.counts();
    assert_eq!((counts.counted, counts.duplicates, counts.rejected), (1, 0, 3));
}

#[tokio::test]
async fn bodies_over_their_limit_or_of_another_type() {
    let site = Site::new().await;
    let big = vec![b' '; (8 << 20) + 1];
    assert_eq!(site.post(MATCHES, big).await.problem(), (413, "body_too_large", ""));
    let text = [("content-type", "text/plain")];
    let answer = site.send(MATCHES, &text, "{}").await;
    assert_eq!(answer.problem(), (415, "unsupported_media_type", ""));
}

#[tokio::test]
async fn a_log_that_is_away_is_503() {
    let mut site = Site::new().await;
    site.define().await;
    site.world.log_faults.crash();
    for body in [match_body("m", "ann"), format!("[{}]", match_body("m", "ann"))] {
        assert_eq!(site.post(MATCHES, body).await.problem(), (503, "log_unavailable", ""));
    }
    assert_eq!(site.world.records().await, 2);
    site.world.log_faults.heal();
    assert_eq!(site.post(MATCHES, match_body("m", "ann")).await.status, 202);
    site.world.intake.close().await;
    assert_eq!(site.post(MATCHES, match_body("n", "ann")).await.problem(), (503, "not_ready", ""));
}

#[tokio::test]
async fn a_full_queue_is_503() {
    let gate = Arc::new(Semaphore::new(2));
    let config = IntakeConfig { queue_records_max: 2, ..IntakeConfig::default() };
    let mut site = Site::of(World::gated(config, &gate)).await;
    site.define().await;
    let intake = site.world.intake.clone();
    let waiting = tokio::spawn(async move {
        let events = ["1", "2"].map(|id| crate::world::a_match("e", id, "ann"));
        intake.submit(events.to_vec(), agon_producer::OnConflict::Refuse).await
    });
    tokio::task::yield_now().await;
    let answer = site.post(MATCHES, match_body("m", "ann")).await;
    assert_eq!(answer.problem(), (503, "overloaded", ""));
    let three = [match_body("1", "a"), match_body("2", "a"), match_body("3", "a")].join("\n");
    assert_eq!(site.lines(MATCHES, three).await.problem(), (413, "body_too_large", ""));
    gate.add_permits(10);
    assert_eq!(waiting.await.unwrap().unwrap().len(), 2);
    assert_eq!(site.post(MATCHES, match_body("m", "ann")).await.status, 202);
}

/// Any bytes at all are answered, and never by 500.
#[test]
fn any_bytes_are_answered() {
    use proptest::prelude::*;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let site = runtime.block_on(async {
        let mut site = Site::of(World::with(
            IntakeConfig { view_wait_ms_max: 1, ..IntakeConfig::default() },
            FaultRates::default(),
            0,
        ))
        .await;
        site.define().await;
        site
    });
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        "[\\[\\]{}\",:0-9a-z\\n]{0,64}".prop_map(String::into_bytes),
        (0..200_usize, any::<u8>()).prop_map(|(at, byte)| {
            let mut body = match_body("m", "ann").into_bytes();
            let at = at % body.len();
            body[at] = byte;
            body
        }),
    ];
    let path = prop::sample::select(vec!["matches", "environments", "scores", "recentchanges"]);
    proptest!(|(body in body, path in path, is_ndjson: bool)| {
        let path = format!("/api/v1/{path}");
        let answer = runtime.block_on(async {
            match is_ndjson {
                true => site.lines(&path, body).await,
                false => site.post(&path, body).await,
            }
        });
        prop_assert!([202, 400, 404, 409, 413, 422].contains(&answer.status), "{}", answer.json);
    });
}
