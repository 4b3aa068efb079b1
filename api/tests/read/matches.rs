//! GET /matches, one match, one submission.

use agon_projections::CellKey;
use agon_schema::event::{Aggregation, Context, Direction};
use agon_schema::{BenchmarkId, Event};
use serde_json::{Value, json};

use crate::fold::{benchmark, environment, game, run, submission};
use crate::leaderboard::{environment_cell, position};
use crate::site::Site;

#[tokio::test]
async fn a_match_is_exactly_this() {
    let mut first = game("go", "final/1 é", 1, &["a", "b"]);
    if let Event::MatchFinished(event) = &mut first {
        event.context = Some(Context::new(r#"{"round":"final"}"#).unwrap());
    }
    let (site, last) = Site::of(&[environment("go"), first]).await;
    let player = |agent: &str, placement: u32, after: f64| {
        json!({"agent": agent, "placement": placement, "score": null, "home": false,
               "rating_before": 1500.0, "rating_after": after})
    };
    let expected = json!({
        "match_id": "final/1 é", "environment": "go", "occurred_at": "2023-11-14T22:13:21Z",
        "players": [player("a", 1, 1516.0), player("b", 2, 1484.0)],
        "context": {"round": "final"},
        "position": position(&environment_cell("go"), 1),
    });
    let path = "/api/v1/environments/go/matches/final%2F1%20%C3%A9";
    assert_eq!(site.read(path, &last).await, expected);
    let list = site.read("/matches?environment=go", &last).await;
    assert_eq!(list, json!({"items": [expected], "next_cursor": null}));
}

fn ids(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|m| m["match_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn matches_come_newest_first_by_pages() {
    let mut events = vec![environment("go"), environment("chess")];
    for n in 0..9 {
        let other = if n % 3 == 0 { "c" } else { "b" };
        // Times run backwards: the order of the log counts.
        events.push(game("go", &format!("m{n}"), 100 - n, &["a", other]));
        events.push(game("chess", &format!("x{n}"), n, &["a", "b"]));
    }
    let (site, last) = Site::of(&events).await;
    let all = ["m8", "m7", "m6", "m5", "m4", "m3", "m2", "m1", "m0"];
    for (query, expected) in
        [("", &all[..]), ("&agent=a", &all[..]), ("&agent=c", &["m6", "m3", "m0"][..])]
    {
        for limit in [1, 2, 3, 9, 50] {
            let (mut met, mut cursor) = (Vec::new(), String::new());
            loop {
                let path = format!("/matches?environment=go{query}&limit={limit}{cursor}");
                let page = site.read(&path, &last).await;
                met.extend(ids(&page).into_iter().map(str::to_owned));
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!(met, expected, "{query} {limit}");
        }
    }
    let nobody = site.read("/matches?environment=go&agent=nobody", &last).await;
    assert_eq!(nobody, json!({"items": [], "next_cursor": null}));
}

#[tokio::test]
async fn the_first_of_two_with_one_id_is_shown() {
    let (site, last) = Site::of(&[
        environment("go"),
        game("go", "m1", 1, &["a", "b"]),
        game("go", "m1", 1, &["b", "a"]),
    ])
    .await;
    let shown = site.read("/api/v1/environments/go/matches/m1", &last).await;
    assert_eq!(shown["players"][0]["agent"], "a");
    assert_eq!(ids(&site.read("/matches?environment=go", &last).await), ["m1"]);
}

#[tokio::test]
async fn a_submission_is_exactly_this() {
    let (site, last) = Site::of(&[
        benchmark("tasks", Direction::Higher, Aggregation::Best),
        submission("tasks", "s/1", "a", None),
        run("tasks", "s/1", "r1", None),
        run("tasks", "s/1", "r2", Some(0.5)),
    ])
    .await;
    let cell = CellKey::Benchmark(BenchmarkId::new("tasks").unwrap());
    let expected = json!({
        "submission_id": "s/1", "benchmark": "tasks", "agent": "a", "artifact": null,
        "occurred_at": "2023-11-14T22:13:20Z", "metrics": {"accuracy": 0.5},
        "runs_completed": 1, "runs_failed": 1, "position": position(&cell, 3),
    });
    let path = "/api/v1/benchmarks/tasks/submissions/s%2F1";
    assert_eq!(site.read(path, &last).await, expected);
}

#[tokio::test]
async fn what_is_not_there_is_404_by_its_name() {
    let events = [
        environment("go"),
        game("go", "m1", 1, &["a", "b"]),
        benchmark("tasks", Direction::Higher, Aggregation::Best),
    ];
    let (site, last) = Site::of(&events).await;
    site.read("/leaderboard?environment=go", &last).await;
    let check = async |path: &str, status: u16, code: &str| {
        let answer = site.get(path).await;
        assert_eq!(answer.problem(), (status, code.to_owned()), "{path}");
    };
    check("/api/v1/environments/go/matches/m2", 404, "unknown_match").await;
    check("/api/v1/environments/go/matches/%20", 404, "unknown_match").await;
    check("/api/v1/environments/chess/matches/m1", 404, "unknown_environment").await;
    check("/api/v1/environments/go/matches/%FF", 400, "malformed_request").await;
    check("/api/v1/benchmarks/tasks/submissions/s1", 404, "unknown_submission").await;
    check("/api/v1/benchmarks/tasks/submissions/%20", 404, "unknown_submission").await;
    check("/api/v1/benchmarks/other/submissions/s1", 404, "unknown_benchmark").await;
    check("/matches", 400, "invalid_parameter").await;
    check("/matches?agent=a", 400, "invalid_parameter").await;
    check("/matches?environment=chess", 404, "unknown_environment").await;
    check("/matches?environment=go&limit=1001", 400, "invalid_parameter").await;
    check("/matches?environment=go&benchmark=tasks", 400, "unknown_parameter").await;
}

/// A store without transactions may hold the rows beside a cell before the cell itself.
#[tokio::test]
async fn rows_above_what_the_cell_applied_are_not_shown() {
    let (site, last) = Site::of(&[
        environment("go"),
        game("go", "m1", 1, &["a", "b"]),
        benchmark("tasks", Direction::Higher, Aggregation::Best),
        submission("tasks", "s1", "a", None),
    ])
    .await;
    let whole = |path: &'static str| site.read(path, &last);
    let list = whole("/matches?environment=go").await;
    let of_agent = whole("/matches?environment=go&agent=a").await;
    let history = whole("/api/v1/agents/a/history?environment=go").await;
    let later = [game("go", "m2", 2, &["a", "b", "new"]), run("tasks", "s1", "r1", Some(1.0))];
    site.source.store_side_rows(&later).await;
    let answer = site.get("/api/v1/environments/go/matches/m2").await;
    assert_eq!(answer.problem(), (404, "unknown_match".to_owned()));
    assert_eq!(whole("/matches?environment=go").await, list);
    assert_eq!(whole("/matches?environment=go&agent=a").await, of_agent);
    assert_eq!(whole("/api/v1/agents/a/history?environment=go").await, history);
    let new = site.get("/api/v1/agents/new/history?environment=go").await;
    assert_eq!(new.problem(), (404, "unknown_agent".to_owned()));
    let torn = site.get("/api/v1/benchmarks/tasks/submissions/s1").await;
    assert_eq!(torn.problem(), (503, "store_unavailable".to_owned()));
}
