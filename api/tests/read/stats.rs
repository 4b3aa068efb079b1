//! GET /stats.

use agon_api::{StatsQuery, StreamCounts, stats_body};
use agon_ports::scan_all;
use agon_projections::CellKey;
use agon_projections::row_bytes::Prefix;
use agon_schema::event::Event;
use agon_schema::{Timestamp, Topic, TopicPartition};
use serde_json::{Value, json};

use crate::fold::{PARTITIONS, change};
use crate::site::{LOG, Site};

#[tokio::test]
async fn the_statistics_are_exactly_this() {
    let (site, last) = Site::of(&[
        change("1", Some("Ann"), Some(false), Some("en.wikipedia.org")),
        change("22", Some("Bot"), Some(true), Some("de.wikipedia.org")),
        change("333", Some("Ann"), None, Some("en.wikipedia.org")),
        change("4444", None, Some(true), None),
        change("22", Some("Bot"), Some(true), Some("de.wikipedia.org")),
        change("22", Some("Bot"), Some(false), Some("de.wikipedia.org")),
    ])
    .await;
    let answer = site.stats(&format!("?min_position={last}")).await;
    let body = answer.json();
    let position = body["as_of"]["position"].as_str().unwrap();
    assert!(position.starts_with("1f2e3d4c-r"), "{position}");
    let expected = json!({
        "messages": 4, "distinct_users": 2, "bots": 2, "non_bots": 2,
        "distinct_users_exact": true, "distinct_users_error": 0.0,
        "by_server_name": {"de.wikipedia.org": 1, "en.wikipedia.org": 2},
        "rejected": 1,
        "top_servers": [
            {"server_name": "en.wikipedia.org", "messages": 2, "error": 0},
            {"server_name": "de.wikipedia.org", "messages": 1, "error": 0},
        ],
        "top_servers_error": 0,
        "top_users": [
            {"user": "Ann", "messages": 2, "error": 0},
            {"user": "Bot", "messages": 1, "error": 0},
        ],
        "top_users_error": 0,
        "as_of": {"position": position, "occurred_at": "2023-11-14T22:13:24Z"},
    });
    assert_eq!(body, expected);
    assert!(answer.text().find("de.wiki").unwrap() < answer.text().find("en.wiki").unwrap());

    let cells = stored(&site).await;
    let without_http = stats_body(LOG, StatsQuery::default(), Timestamp::now(), &cells);
    assert_eq!(without_http, answer.body);
}

/// The counts as the store has them.
async fn stored(site: &Site) -> Vec<(u32, StreamCounts)> {
    let mut cells = Vec::new();
    for partition in 0..PARTITIONS {
        let mut rows = Vec::new();
        for table in StreamCounts::TABLES {
            let prefix = Prefix::Cell(table, CellKey::Stream(partition));
            rows.extend(scan_all(&site.source.store.inner, prefix).await.unwrap());
        }
        cells.push((partition, StreamCounts::from_rows(rows)));
    }
    cells
}

/// A change at a time, in seconds.
fn at(id: &str, seconds: i64, user: &str, bot: bool, server: &str) -> Event {
    let mut event = change(id, Some(user), Some(bot), Some(server));
    if let Event::RecentChange(event) = &mut event {
        event.occurred_at = Timestamp::from_micros(seconds * 1_000_000).unwrap();
    }
    event
}

/// What a window says, without what an answer always has.
fn figures(body: &Value) -> [Value; 6] {
    let names = ["messages", "distinct_users", "bots", "non_bots", "by_server_name", "rejected"];
    names.map(|name| body[name].clone())
}

#[tokio::test]
async fn windows_reach_back_from_the_newest_event() {
    let newest = 1_700_000_000;
    let (site, last) = Site::of(&[
        at("1", newest - 86_400 - 901, "Old", false, "a"),
        at("2", newest - 86_400, "Day", false, "a"),
        at("3", newest - 3_600, "Hour", true, "b"),
        at("4", newest - 60, "Minute", false, "b"),
        at("5", newest, "Ann", true, "c"),
        // Late, and counted where it belongs.
        at("6", newest - 59, "Ann", true, "b"),
    ])
    .await;
    site.stats(&format!("?min_position={last}")).await;
    for (window, figures_then, from) in [
        ("1m", json!([3, 2, 2, 1, {"b": 2, "c": 1}, null]), "2023-11-14T22:12:20Z"),
        ("1h", json!([4, 3, 3, 1, {"b": 3, "c": 1}, null]), "2023-11-14T21:13:00Z"),
        ("24h", json!([5, 4, 3, 2, {"a": 1, "b": 3, "c": 1}, null]), "2023-11-13T22:00:00Z"),
    ] {
        let answer = site.stats(&format!("?window={window}")).await;
        let body = answer.json();
        assert_eq!(json!(figures(&body)), figures_then, "{window}");
        let granularity = body["window"]["granularity_seconds"].clone();
        let to = "2023-11-14T22:13:20Z";
        let shown = json!({"span": window, "granularity_seconds": granularity, "from": from,
            "to": to});
        assert_eq!(body["window"], shown);
        assert!(body.get("top_users").is_none() && body.get("top_servers").is_none());
        let query = StatsQuery { window: Some(window.parse().unwrap()), ..StatsQuery::default() };
        let here = stats_body(LOG, query, Timestamp::now(), &stored(&site).await);
        assert_eq!(here, answer.body);
        assert_eq!(site.stats(&format!("?window={window}")).await.body, answer.body);
    }
    let tags: Vec<String> = [site.stats("?window=1m").await, site.stats("?window=1h").await]
        .map(|answer| answer.header("etag").to_owned())
        .to_vec();
    assert_ne!(tags[0], tags[1]);
}

#[tokio::test]
async fn what_is_dated_ahead_moves_no_window() {
    let now = Timestamp::now().micros() / 1_000_000;
    let (site, last) = Site::of(&[
        at("1", now - 7_200, "Ann", false, "a"),
        // So many whole minutes that the two never share a place.
        at("2", 66_666_666 * 60 + now, "Ben", false, "a"),
    ])
    .await;
    let body = site.stats(&format!("?window=1h&min_position={last}")).await.json();
    assert_eq!(body["messages"], 1);
    assert_eq!(body["window"]["to"], stamp(now - 7_200));
    let all = site.stats("").await.json();
    assert_eq!((&all["messages"], &all["distinct_users"]), (&json!(2), &json!(2)));
}

fn stamp(seconds: i64) -> Value {
    json!(Timestamp::from_micros(seconds * 1_000_000).unwrap().to_string())
}

#[tokio::test]
async fn what_cannot_be_asked_is_named() {
    let site = Site::new().await;
    for query in [
        "?window=",
        "?window=2h",
        "?window=1d",
        "?window=1M",
        "?window=1m&window=1h",
        "?limit=0",
        "?limit=101",
        "?limit=-1",
        "?limit=ten",
        "?limit=1&limit=1",
    ] {
        let answer = site.stats(query).await;
        assert_eq!(answer.problem(), (400, "invalid_parameter".to_owned()), "{query}");
    }
    let answer = site.stats("?window=2h").await.json();
    assert_eq!(answer["detail"], "`window` must be 1m, 1h or 24h");
    let empty = site.stats("?window=24h").await.json();
    let window = json!({"span": "24h", "granularity_seconds": 900, "from": null, "to": null});
    assert_eq!((&empty["messages"], &empty["window"]), (&json!(0), &window));
}

/// A user of the partition with this number.
fn user_of(partition: u32, number: usize) -> String {
    let name = |n: usize| format!("user {number}.{n}");
    let is_home = |name: &String| {
        let of = TopicPartition::of_key(Topic::RecentChange, name.as_bytes(), PARTITIONS);
        of.partition == partition
    };
    (0..).map(name).find(is_home).unwrap()
}

#[tokio::test]
async fn lists_are_as_long_as_asked_and_say_what_they_miss() {
    let mut events = Vec::new();
    // More names in one partition than it has places for.
    for n in 0..300 {
        events.push(at(&format!("a{n}"), 0, &user_of(0, n), false, &format!("s{}", n % 20)));
    }
    for n in 0..9 {
        events.push(at(&format!("b{n}"), 0, "Often", false, "s3"));
    }
    let (site, last) = Site::of(&events).await;
    site.stats(&format!("?min_position={last}")).await;
    for (query, length) in [("", 10), ("?limit=1", 1), ("?limit=100", 20)] {
        let body = site.stats(query).await.json();
        assert_eq!(body["top_servers"].as_array().unwrap().len(), length);
        let first = &body["top_servers"][0];
        assert_eq!(first, &json!({"server_name": "s3", "messages": 24, "error": 0}));
        assert_eq!(body["top_users"][0]["user"], "Often");
        assert_eq!(body["top_servers_error"], 0);
        assert!(body["top_users_error"].as_u64().unwrap() >= 1, "{}", body["top_users_error"]);
    }
    let tag = |query| site.stats(query);
    assert_ne!(tag("").await.header("etag"), tag("?limit=11").await.header("etag"));
    assert_eq!(tag("").await.header("etag"), tag("?limit=10").await.header("etag"));
}

#[tokio::test]
async fn nothing_yet_is_shown_as_nothing() {
    let site = Site::new().await;
    let expected = json!({
        "messages": 0, "distinct_users": 0, "bots": 0, "non_bots": 0, "by_server_name": {},
        "distinct_users_exact": true, "distinct_users_error": 0.0,
        "top_servers": [], "top_servers_error": 0, "top_users": [], "top_users_error": 0,
        "rejected": 0, "as_of": {"position": "1f2e3d4c", "occurred_at": null},
    });
    assert_eq!(site.stats("").await.json(), expected);
    assert_eq!(site.stats("?min_position=1f2e3d4c").await.status, 200);
}

#[tokio::test]
async fn a_token_is_needed() {
    let site = Site::new().await;
    for path in ["/stats", "/api/v1/stats"] {
        assert_eq!(site.get(path).await.problem(), (401, "unauthenticated".to_owned()));
        let forged = [("authorization", "Bearer e30.e30.e30")];
        let answer = site.get_with(path, &forged).await;
        assert_eq!(answer.problem(), (401, "unauthenticated".to_owned()));
    }
    assert_eq!(site.stats("").await.status, 200);
    let unknown = site.stats("?environment=go").await;
    assert_eq!(unknown.problem(), (400, "unknown_parameter".to_owned()));
}

#[tokio::test]
async fn they_follow_the_stream_and_change_their_tag_with_it() {
    let (site, last) = Site::of(&[change("1", Some("Ann"), None, Some("a"))]).await;
    site.stats(&format!("?min_position={last}")).await;
    let first = site.stats("").await;
    let bearer = format!("Bearer {}", site.token);
    let held = [("authorization", bearer.as_str()), ("if-none-match", first.header("etag"))];
    let again = site.get_with("/stats", &held).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let last = site.tell(&[change("2", Some("Ben"), None, Some("b"))]).await;
    assert_eq!(site.stats(&format!("?min_position={last}")).await.json()["messages"], 2);
    let moved = site.get_with("/stats", &held).await;
    assert_eq!((moved.status, moved.json()["distinct_users"].clone()), (200, json!(2)));
}
