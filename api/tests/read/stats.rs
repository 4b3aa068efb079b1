//! GET /stats.

use agon_api::{StreamCounts, stats_body};
use agon_ports::scan_all;
use agon_projections::row_bytes::Prefix;
use agon_projections::{CellKey, Table};
use serde_json::json;

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
        "by_server_name": {"de.wikipedia.org": 1, "en.wikipedia.org": 2},
        "rejected": 1,
        "as_of": {"position": position, "occurred_at": "2023-11-14T22:13:24Z"},
    });
    assert_eq!(body, expected);
    assert!(answer.text().find("de.wiki").unwrap() < answer.text().find("en.wiki").unwrap());

    let mut cells = Vec::new();
    for partition in 0..PARTITIONS {
        let mut rows = Vec::new();
        for table in [Table::Heads, Table::Servers] {
            let prefix = Prefix::Cell(table, CellKey::Stream(partition));
            rows.extend(scan_all(&site.source.store.inner, prefix).await.unwrap());
        }
        cells.push((partition, StreamCounts::from_rows(rows)));
    }
    let without_http = stats_body(LOG, cells.iter().map(|(n, counts)| (*n, counts)));
    assert_eq!(without_http, answer.body);
}

#[tokio::test]
async fn nothing_yet_is_shown_as_nothing() {
    let site = Site::new().await;
    let expected = json!({
        "messages": 0, "distinct_users": 0, "bots": 0, "non_bots": 0, "by_server_name": {},
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
