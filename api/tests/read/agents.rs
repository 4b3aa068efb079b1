//! GET /agents/{id}/ratings and /agents/{id}/history.

use agon_projections::CellKey;
use agon_schema::BenchmarkId;
use agon_schema::event::{Aggregation, Direction};
use serde_json::json;

use crate::fold::{benchmark, environment, game, run, submission};
use crate::leaderboard::{environment_cell, position};
use crate::site::Site;

async fn site() -> (Site, String) {
    Site::of(&[
        environment("go"),
        environment("chess"),
        benchmark("tasks", Direction::Higher, Aggregation::Mean),
        benchmark("other", Direction::Higher, Aggregation::Best),
        game("go", "m1", 1, &["a", "b"]),
        game("go", "m2", 2, &["b", "=a"]),
        game("chess", "m1", 3, &["c", "a"]),
        submission("tasks", "s1", "a", Some(0.5)),
        run("tasks", "s1", "r1", Some(1.0)),
        submission("other", "s1", "a", None),
    ])
    .await
}

#[tokio::test]
async fn every_board_that_an_agent_stands_on() {
    let (site, last) = site().await;
    let tasks = CellKey::Benchmark(BenchmarkId::new("tasks").unwrap());
    let all = site.read("/api/v1/agents/a/ratings", &last).await;
    let items = all["items"].as_array().unwrap();
    let expected = json!({
        "board": {"environment": "chess", "system": "elo"},
        "rank": 2, "agent": "a", "rating": 1484.0, "games": 1, "wins": 0, "draws": 0, "losses": 1,
        "last_played_at": "2023-11-14T22:13:23Z",
        "as_of": {"position": position(&environment_cell("chess"), items_offset("chess")),
                  "occurred_at": "2023-11-14T22:13:23Z"},
    });
    assert_eq!(items[0], expected);
    assert_eq!(items[1]["board"]["environment"], "go");
    let time = "2023-11-14T22:14:20Z";
    let scored = json!({
        "board": {"benchmark": "tasks", "metric": "accuracy", "direction": "higher"},
        "rank": 1, "agent": "a", "score": 0.75, "metrics": {"accuracy": 1.0},
        "submission_id": "s1", "submissions": 1, "last_submitted_at": time,
        "as_of": {"position": items[2]["as_of"]["position"], "occurred_at": time},
    });
    assert_eq!(items[2], scored);
    let token = items[2]["as_of"]["position"].as_str().unwrap();
    assert!(token.starts_with(position(&tasks, 0).split('.').next().unwrap()), "{token}");
    assert_eq!(items.len(), 3, "a submission that waits for its score stands on no board");

    let (mut met, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = site.read(&format!("/api/v1/agents/a/ratings?limit=1{cursor}"), &last).await;
        met.extend(page["items"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(met, *items);
}

/// The offset of the last event of `chess` in its partition, as the folder gave it out.
fn items_offset(id: &str) -> u64 {
    let source = environment_cell(id).source(crate::fold::PARTITIONS);
    let keys = ["go", "chess", "go", "go", "chess"];
    let same =
        keys.iter().filter(|key| environment_cell(key).source(crate::fold::PARTITIONS) == source);
    same.count() as u64 - 1
}

#[tokio::test]
async fn a_history_comes_newest_first() {
    let (site, last) = site().await;
    let all = site.read("/api/v1/agents/a/history?environment=go", &last).await;
    let items = all["items"].as_array().unwrap();
    let results: Vec<_> = items.iter().map(|item| (&item["match_id"], &item["result"])).collect();
    assert_eq!(results, [(&json!("m2"), &json!("draw")), (&json!("m1"), &json!("win"))]);
    let first = json!({
        "match_id": "m1", "result": "win", "rating_before": 1500.0, "rating_after": 1516.0,
        "occurred_at": "2023-11-14T22:13:21Z", "position": items[1]["position"],
    });
    assert_eq!(items[1], first);
    let page = site.read("/api/v1/agents/a/history?environment=go&limit=1", &last).await;
    assert_eq!(page["items"], json!([items[0]]));
    let cursor = page["next_cursor"].as_str().unwrap();
    let path = format!("/api/v1/agents/a/history?environment=go&cursor={cursor}");
    assert_eq!(site.read(&path, &last).await, json!({"items": [items[1]], "next_cursor": null}));
    let other = site.get(&format!("/api/v1/agents/b/history?environment=go&cursor={cursor}")).await;
    assert_eq!(other.problem(), (400, "invalid_parameter".to_owned()));

    let runs = site.read("/api/v1/agents/a/history?benchmark=tasks", &last).await;
    let expected = json!({
        "submission_id": "s1", "value": 1.0, "score_after": 0.75,
        "occurred_at": "2023-11-14T22:14:20Z", "position": runs["items"][0]["position"],
    });
    assert_eq!(runs["items"][0], expected);
    assert_eq!(runs["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn who_is_not_there_is_404() {
    let (site, last) = site().await;
    site.read("/api/v1/agents/a/ratings", &last).await;
    let check = async |path: &str, status: u16, code: &str| {
        let answer = site.get(&format!("/api/v1/agents/{path}")).await;
        assert_eq!(answer.problem(), (status, code.to_owned()), "{path}");
    };
    check("nobody/ratings", 404, "unknown_agent").await;
    check("%20a/ratings", 404, "unknown_agent").await;
    check("a/ratings?limit=101", 400, "invalid_parameter").await;
    check("a/ratings?cursor=AAAA", 400, "invalid_parameter").await;
    check("nobody/history?environment=go", 404, "unknown_agent").await;
    check("c/history?environment=go", 404, "unknown_agent").await;
    check("a/history?environment=shogi", 404, "unknown_environment").await;
    check("a/history?benchmark=shogi", 404, "unknown_benchmark").await;
    check("a/history", 400, "invalid_parameter").await;
    check("a/history?environment=go&benchmark=tasks", 400, "invalid_parameter").await;
    check("%FF/history?environment=go", 400, "malformed_request").await;
    check("a%2Fb/history?environment=go", 404, "unknown_agent").await;
}
