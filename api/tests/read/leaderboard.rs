//! GET /leaderboard: shapes, windows, ties, and everything that can be asked wrongly.

use agon_api::{BoardQuery, leaderboard_body};
use agon_ports::scan_all;
use agon_projections::board::Board;
use agon_projections::row_bytes::Prefix;
use agon_projections::{CellKey, Table};
use agon_schema::event::{Aggregation, Direction};
use agon_schema::{BenchmarkId, EnvironmentId, Event};
use serde_json::{Value, json};

use crate::fold::{PARTITIONS, benchmark, environment, game, run, submission};
use crate::site::{LOG, Site};

pub fn environment_cell(id: &str) -> CellKey {
    CellKey::Environment(EnvironmentId::new(id).unwrap())
}

pub fn position(cell: &CellKey, offset: u64) -> String {
    LOG.token(cell.source(PARTITIONS), Some(offset))
}

/// Five agents: a above b, c and d, which are equal, above e.
fn five() -> Vec<Event> {
    vec![
        environment("go"),
        game("go", "m1", 1, &["a", "e"]),
        game("go", "m2", 2, &["b", "=c", "=d"]),
    ]
}

fn names(body: &Value) -> Vec<String> {
    let name = |entry: &Value| format!("{} {}", entry["rank"], entry["agent"].as_str().unwrap());
    body["entries"].as_array().unwrap().iter().map(name).collect()
}

#[tokio::test]
async fn an_environments_board_is_exactly_this() {
    let (site, last) = Site::of(&five()).await;
    let cell = environment_cell("go");
    let entry = |rank: u32, agent: &str, rating: f64, counts: [u32; 3], at: &str| {
        json!({"rank": rank, "agent": agent, "rating": rating, "games": 1, "wins": counts[0],
               "draws": counts[1], "losses": counts[2], "last_played_at": at})
    };
    let (first, second) = ("2023-11-14T22:13:21Z", "2023-11-14T22:13:22Z");
    let expected = json!({
        "board": {"environment": "go", "system": "elo"},
        "total": 5,
        "as_of": {"position": position(&cell, 2), "occurred_at": second},
        "entries": [
            entry(1, "a", 1516.0, [1, 0, 0], first),
            entry(2, "b", 1500.0, [0, 1, 0], second),
            entry(2, "c", 1500.0, [0, 1, 0], second),
            entry(2, "d", 1500.0, [0, 1, 0], second),
            entry(5, "e", 1484.0, [0, 0, 1], first),
        ],
        "next_cursor": null,
    });
    for path in ["/leaderboard?environment=go", "/api/v1/leaderboard?environment=go&system=elo"] {
        assert_eq!(site.read(path, &last).await, expected, "{path}");
    }
}

#[tokio::test]
async fn a_benchmarks_board_is_exactly_this() {
    let (site, last) = Site::of(&[
        benchmark("tasks", Direction::Higher, Aggregation::Best),
        submission("tasks", "s1", "x", Some(0.5)),
        submission("tasks", "s2", "y", None),
        submission("tasks", "s3", "x", Some(0.25)),
        submission("tasks", "s4", "z", None),
        run("tasks", "s2", "r1", Some(0.75)),
        run("tasks", "s4", "r1", None),
    ])
    .await;
    let cell = CellKey::Benchmark(BenchmarkId::new("tasks").unwrap());
    let expected = json!({
        "board": {"benchmark": "tasks", "metric": "accuracy", "direction": "higher"},
        "total": 2,
        "as_of": {"position": position(&cell, 6), "occurred_at": "2023-11-14T22:14:20Z"},
        "entries": [
            {"rank": 1, "agent": "y", "score": 0.75, "metrics": {"accuracy": 0.75},
             "submission_id": "s2", "submissions": 1,
             "last_submitted_at": "2023-11-14T22:14:20Z"},
            {"rank": 2, "agent": "x", "score": 0.5, "metrics": {"accuracy": 0.5},
             "submission_id": "s1", "submissions": 2,
             "last_submitted_at": "2023-11-14T22:13:20Z"},
        ],
        "next_cursor": null,
    });
    assert_eq!(site.read("/leaderboard?benchmark=tasks", &last).await, expected);
}

#[tokio::test]
async fn the_best_of_a_lower_is_better_board_is_the_lowest() {
    let (site, last) = Site::of(&[
        benchmark("time", Direction::Lower, Aggregation::Best),
        submission("time", "s1", "slow", Some(9.0)),
        submission("time", "s2", "fast", Some(-1.5)),
    ])
    .await;
    let body = site.read("/leaderboard?benchmark=time", &last).await;
    assert_eq!(names(&body), ["1 fast", "2 slow"]);
}

#[tokio::test]
async fn windows_and_ties() {
    let (site, last) = Site::of(&five()).await;
    let check = async |query: &str, expected: &[&str], has_more: bool| {
        let body = site.read(&format!("/leaderboard?environment=go&{query}"), &last).await;
        assert_eq!(names(&body), expected, "{query}");
        assert_eq!(body["next_cursor"].is_string(), has_more, "{query}");
        assert_eq!(body["total"], 5);
    };
    check("limit=2", &["1 a", "2 b"], true).await;
    check("limit=5", &["1 a", "2 b", "2 c", "2 d", "5 e"], false).await;
    check("ties=dense", &["1 a", "2 b", "2 c", "2 d", "3 e"], false).await;
    check("ties=ordinal", &["1 a", "2 b", "3 c", "4 d", "5 e"], false).await;
    check("rank_from=2&limit=1", &["2 b"], true).await;
    check("rank_from=3", &["5 e"], false).await;
    check("rank_from=3&ties=dense", &["3 e"], false).await;
    check("rank_from=3&ties=ordinal", &["3 c", "4 d", "5 e"], false).await;
    check("rank_from=6", &[], false).await;
    check("rank_from=4294967295", &[], false).await;
    check("around=c&span=1", &["2 b", "2 c", "2 d"], false).await;
    check("around=c&span=1&ties=ordinal", &["2 b", "3 c", "4 d"], false).await;
    check("around=a", &["1 a", "2 b", "2 c", "2 d", "5 e"], false).await;
    check("around=e&span=1", &["2 d", "5 e"], false).await;
    check("around=e&span=0", &["5 e"], false).await;
    check("around=e&span=1&limit=3", &["2 d", "5 e"], false).await;
    check("around=a&span=499", &["1 a", "2 b", "2 c", "2 d", "5 e"], false).await;
    check("agent=e&agent=b&agent=e&agent=nobody", &["2 b", "5 e"], false).await;
    check("agent=nobody", &[], false).await;
}

#[tokio::test]
async fn fields_are_chosen_by_name() {
    let (site, last) = Site::of(&five()).await;
    let body = site.read("/leaderboard?environment=go&limit=1&fields=rating,agent", &last).await;
    assert_eq!(body["entries"], json!([{"agent": "a", "rating": 1516.0}]));
}

#[tokio::test]
async fn what_is_asked_wrongly_is_named() {
    let (site, last) = Site::of(&five()).await;
    site.tell(&[benchmark("tasks", Direction::Higher, Aggregation::Best)]).await;
    site.read("/leaderboard?environment=go", &last).await;
    let check = async |query: &str, status: u16, code: &str, named: &str| {
        let answer = site.get(&format!("/leaderboard?{query}")).await;
        assert_eq!(answer.problem(), (status, code.to_owned()), "{query}: {}", answer.text());
        assert!(answer.text().contains(named), "{query}: {}", answer.text());
    };
    let bad = "invalid_parameter";
    check("", 400, bad, "?environment").await;
    check("environment=go&benchmark=tasks", 400, bad, "?benchmark").await;
    check("environment=go&environment=go", 400, bad, "?environment").await;
    check("environment=a%20b", 400, bad, "?environment").await;
    check("environment=chess", 404, "unknown_environment", "chess").await;
    check("benchmark=go", 404, "unknown_benchmark", "go").await;
    check("environment=go&around=nobody", 404, "unknown_agent", "nobody").await;
    check("environment=go&around=%20x", 400, bad, "?around").await;
    check("environment=go&agent=", 400, bad, "?agent").await;
    for limit in ["0", "1001", "-1", "ten", ""] {
        check(&format!("environment=go&limit={limit}"), 400, bad, "?limit").await;
    }
    check("environment=go&rank_from=0", 400, bad, "?rank_from").await;
    check("environment=go&rank_from=4294967296", 400, bad, "?rank_from").await;
    check("environment=go&around=a&span=500", 400, bad, "?span").await;
    check("environment=go&span=3", 400, bad, "?span").await;
    check("environment=go&rank_from=1&span=3", 400, bad, "?span").await;
    check("environment=go&around=a&span=2&limit=4", 400, bad, "?limit").await;
    check("environment=go&agent=a&agent=b&limit=1", 400, bad, "?limit").await;
    check("environment=go&rank_from=1&around=a", 400, bad, "?around").await;
    check("environment=go&around=a&agent=a", 400, bad, "?agent").await;
    check("environment=go&cursor=x&rank_from=1", 400, bad, "?rank_from").await;
    check("environment=go&ties=best", 400, bad, "?ties").await;
    check("environment=go&system=glicko2", 400, bad, "?system").await;
    check("benchmark=tasks&system=elo", 400, bad, "?system").await;
    check("environment=go&system=%0a", 400, bad, "?system").await;
    check("environment=go&fields=rank,score", 400, bad, "?fields").await;
    check("environment=go&fields=", 400, bad, "?fields").await;
    check("environment=go&as_of=2026-11-21", 400, "unknown_parameter", "as_of").await;
    check("environment=go&offset=3", 400, "unknown_parameter", "offset").await;
}

#[tokio::test]
async fn ids_may_hold_any_character() {
    let agent = "a/b?c&d=é+🦀%41";
    let (site, last) =
        Site::of(&[environment("go"), game("go", "m1", 1, &[agent, "\"\\\u{fffd}"])]).await;
    let encoded = "a%2Fb%3Fc%26d%3D%C3%A9%2B%F0%9F%A6%80%2541";
    let one = site.read(&format!("/leaderboard?environment=go&agent={encoded}"), &last).await;
    assert_eq!(names(&one), [format!("1 {agent}")]);
    let first = site.read("/leaderboard?environment=go&limit=1", &last).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let next = site.read(&format!("/leaderboard?environment=go&cursor={cursor}"), &last).await;
    assert_eq!(names(&next), ["2 \"\\\u{fffd}"]);
    let ratings = site.read(&format!("/api/v1/agents/{encoded}/ratings"), &last).await;
    assert_eq!(ratings["items"][0]["agent"], agent);
}

#[tokio::test]
async fn the_same_body_comes_without_http() {
    let (site, last) = Site::of(&five()).await;
    let answer = site.get(&format!("/leaderboard?environment=go&min_position={last}")).await;
    let cell = environment_cell("go");
    let mut rows = Vec::new();
    for table in [Table::Heads, Table::Entrants] {
        let prefix = Prefix::Cell(table, cell.clone());
        rows.extend(scan_all(&site.source.store.inner, prefix).await.unwrap());
    }
    let board = Board::from_rows(cell.clone(), rows);
    assert_eq!(leaderboard_body(&board, LOG, &BoardQuery::of(cell.clone())).unwrap(), answer.body);
    let empty = Board::from_rows(cell.clone(), Vec::new());
    let error = leaderboard_body(&empty, LOG, &BoardQuery::of(cell)).unwrap_err();
    assert_eq!(error.to_string(), "environment go is not defined");
}
