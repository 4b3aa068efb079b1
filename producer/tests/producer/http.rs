//! Writes that are well: answers, duplicates, batches, keys, roles.

use agon_edge::Role;
use agon_schema::PositionToken;
use serde_json::json;

use crate::site::{MATCHES, Site, anonymous_match, match_body};

#[tokio::test]
async fn a_write_is_answered_with_its_id_and_place() {
    let mut site = Site::new().await;
    site.define().await;
    let first = site.post(MATCHES, match_body("m", "ann")).await;
    assert_eq!((first.status, &first.json["duplicate"]), (202, &json!(false)), "{}", first.json);
    let event_id: uuid::Uuid = first.text("event_id").parse().unwrap();
    assert_eq!(event_id.get_version_num(), 5);
    let token: PositionToken = first.text("position").parse().unwrap();
    assert!(token.is_of(site.world.intake.log_id()));
    assert_eq!(token.positions().next().unwrap().offset, 1);

    let again = site.post(MATCHES, match_body("m", "ann")).await;
    assert_eq!((again.status, &again.json["duplicate"]), (202, &json!(true)));
    assert_eq!(again.text("event_id"), first.text("event_id"));
    assert_eq!(again.text("position"), first.text("position"));
    let other = site.post(MATCHES, match_body("m", "bob")).await;
    assert_eq!(other.problem(), (409, "conflicting_duplicate", ""));
    assert!(other.text("detail").contains(first.text("position")), "{}", other.json);
    assert_eq!(site.world.records().await, 3);
}

#[tokio::test]
async fn every_kind_of_body_is_written_and_counts() {
    let mut site = Site::new().await;
    site.define().await;
    for (path, body) in [
        (
            "/api/v1/environments",
            r#"{"id":"full","rating":{"system":"elo","start":1000,
                "k":[{"below_games":10,"k":40},{"k":24}],"floor":100,"home_advantage":65,
                "draw_score":0.5}}"#,
        ),
        (
            "/matches",
            r#"{"environment":"e","occurred_at":"2026-11-21T10:00:00Z","context":{"round":"final"},
                "players":[{"agent":"a","placement":1,"score":3,"home":true},
                           {"agent":"b","placement":1,"score":3},{"agent":"c","placement":3}]}"#,
        ),
        (
            "/submissions",
            r#"{"submission_id":"s","benchmark":"b","agent":"a",
                "artifact":"oci://x","metrics":{}}"#,
        ),
        ("/api/v1/submissions", r#"{"benchmark":"b","agent":"a","metrics":{"m":0.91,"n":1e-7}}"#),
        (
            "/api/v1/scores",
            r#"{"benchmark":"b","submission_id":"s","metrics":{"m":1},"status":"completed"}"#,
        ),
        ("/api/v1/scores", r#"{"benchmark":"b","submission_id":"s","status":"failed"}"#),
        ("/api/v1/recentchanges", r#"{"meta":{"dt":"2026-11-21T10:00:00Z"},"user":"u"}"#),
    ] {
        let answer = site.post(path, body).await;
        assert_eq!(answer.status, 202, "{path}: {}", answer.json);
    }
    site.world.folder.fold().await;
    let counts = site.world.folder.counts();
    assert_eq!((counts.counted, counts.duplicates, counts.rejected), (9, 0, 0));
}

#[tokio::test]
async fn a_batch_takes_the_good_items_and_names_the_others() {
    let mut site = Site::new().await;
    site.define().await;
    let items = [
        match_body("1", "ann"),
        match_body("2", "loser"),
        match_body("1", "ann"),
        match_body("3", "bob").replace("\"e\"", "\"nowhere\""),
        match_body("1", "bob"),
        match_body("4", "cid").replace("placement\":1", "placement\":\"first\""),
        "7".to_owned(),
        match_body("5", "dan"),
    ];
    let check = |answer: crate::site::Answer| {
        assert_eq!(answer.status, 202, "{}", answer.json);
        assert_eq!((&answer.json["accepted"], &answer.json["duplicates"]), (&json!(2), &json!(1)));
        let rejected: Vec<(u64, &str, &str)> = answer.json["rejected"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| {
                assert!(!item["detail"].as_str().unwrap().is_empty());
                let text = |name: &str| item[name].as_str().unwrap();
                (item["index"].as_u64().unwrap(), text("code"), text("pointer"))
            })
            .collect();
        assert_eq!(
            rejected,
            [
                (1, "invalid_field", "/1/players/1/agent"),
                (3, "unknown_environment", "/3/environment"),
                (4, "conflicting_duplicate", "/4"),
                (5, "invalid_field", "/5/players/0/placement"),
                (6, "invalid_field", "/6"),
            ]
        );
        answer.text("position").parse::<PositionToken>().unwrap()
    };
    let position = check(site.post(MATCHES, format!("[{}]", items.join(","))).await);
    assert_eq!(position.positions().next().unwrap().offset, 2);
    let other = Site::new().await;
    let mut other = other;
    other.define().await;
    check(other.lines(MATCHES, format!("{}\r\n\n", items.join("\n"))).await);
}

#[tokio::test]
async fn a_batch_of_which_nothing_is_good_is_400() {
    let mut site = Site::new().await;
    site.define().await;
    let bad = match_body("m", "ann").replace("\"e\"", "\"nowhere\"");
    let answer = site.post(MATCHES, format!("[{bad},{{}}]")).await;
    assert_eq!(answer.problem(), (400, "none_accepted", "/0/environment"));
    assert_eq!(answer.json["errors"][1]["pointer"], "/1/environment");
    assert_eq!(answer.json["accepted"], 0);
    assert_eq!(answer.json["rejected"][0]["code"], "unknown_environment");
    assert_eq!(answer.json["rejected"][1]["index"], 1);
    assert_eq!(site.post(MATCHES, "[]").await.problem(), (400, "none_accepted", ""));
    assert_eq!(site.lines(MATCHES, "\n\n").await.problem(), (400, "none_accepted", ""));
    let many = format!("[{}0]", "0,".repeat(10_000));
    assert_eq!(site.post(MATCHES, many).await.problem(), (413, "body_too_large", ""));
    let many = "0\n".repeat(10_001);
    assert_eq!(site.lines(MATCHES, many).await.problem(), (413, "body_too_large", ""));
    let most = site.lines(MATCHES, "0\n".repeat(10_000)).await;
    assert_eq!(most.problem(), (400, "none_accepted", "/0"));
}

#[tokio::test]
async fn a_key_makes_a_retry_a_duplicate_for_its_caller_and_route() {
    let mut site = Site::new().await;
    site.define().await;
    let key = |key: &'static str| [("idempotency-key", key)];
    let first = site.send(MATCHES, &key("k1"), anonymous_match("ann")).await;
    assert_eq!((first.status, &first.json["duplicate"]), (202, &json!(false)));
    for same in ["k1", "\"k1\""] {
        let again = site.send("/matches", &key(same), anonymous_match("ann")).await;
        assert_eq!((again.status, &again.json["duplicate"]), (202, &json!(true)), "{same}");
        assert_eq!(again.text("event_id"), first.text("event_id"));
    }
    let other = site.send(MATCHES, &key("k1"), anonymous_match("bob")).await;
    assert_eq!(other.problem(), (409, "conflicting_duplicate", ""));
    let bob = format!("Bearer {}", site.token_of("bob", Role::Producer));
    let headers = [("idempotency-key", "k1"), ("authorization", bob.as_str())];
    assert_eq!(site.send(MATCHES, &headers, anonymous_match("ann")).await.json["duplicate"], false);

    let batch = format!("[{},{}]", anonymous_match("ann"), anonymous_match("ann"));
    let headers = key("k2");
    let first = site.send(MATCHES, &headers, batch.clone()).await;
    assert_eq!((&first.json["accepted"], &first.json["duplicates"]), (&json!(2), &json!(0)));
    let again = site.send(MATCHES, &headers, batch).await;
    assert_eq!((&again.json["accepted"], &again.json["duplicates"]), (&json!(0), &json!(2)));
    let without = site.post(MATCHES, anonymous_match("ann")).await;
    assert_eq!(without.json["duplicate"], false);
    for bad in ["", "\"", "a\tb"] {
        let answer = site.send(MATCHES, &[("idempotency-key", bad)], anonymous_match("ann")).await;
        assert_eq!(answer.problem(), (400, "malformed_request", ""), "{bad:?}");
    }
}

#[tokio::test]
async fn a_time_that_was_filled_in_is_no_content() {
    let mut site = Site::new().await;
    site.define().await;
    assert_eq!(site.post(MATCHES, match_body("m", "ann")).await.json["duplicate"], false);
    site.world.clock.advance(std::time::Duration::from_secs(60)).unwrap();
    assert_eq!(site.post(MATCHES, match_body("m", "ann")).await.json["duplicate"], true);
}

#[tokio::test]
async fn who_may_write() {
    let site = Site::new().await;
    for path in [
        "/api/v1/environments",
        "/api/v1/benchmarks",
        "/api/v1/matches",
        "/matches",
        "/api/v1/submissions",
        "/submissions",
        "/api/v1/scores",
        "/api/v1/recentchanges",
    ] {
        let none = site.send(path, &[("authorization", "")], "{}").await;
        assert_eq!(none.problem(), (401, "unauthenticated", ""), "{path}");
        for role in [Role::Viewer, Role::Author] {
            let token = format!("Bearer {}", site.token_of("who", role));
            let answer = site.send(path, &[("authorization", &token)], "{}").await;
            assert_eq!(answer.problem(), (403, "forbidden", ""), "{path} {role}");
        }
        for role in [Role::Producer, Role::Operator, Role::Admin] {
            let token = format!("Bearer {}", site.token_of("who", role));
            let answer = site.send(path, &[("authorization", &token)], "[]").await;
            assert_eq!(answer.problem(), (400, "none_accepted", ""), "{path} {role}");
        }
    }
}
