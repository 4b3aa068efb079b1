//! GET /environments, /benchmarks, and one of each.

use agon_projections::CellKey;
use agon_schema::event::{Aggregation, Direction, EnvironmentDefined};
use agon_schema::rating::{Elo, KStep, RatingSystem};
use agon_schema::{BenchmarkId, EnvironmentId, Event};
use serde_json::{Value, json};

use crate::fold::{benchmark, environment, game, submission};
use crate::leaderboard::{environment_cell, position};
use crate::site::Site;

#[tokio::test]
async fn an_environment_is_what_was_posted_and_what_became_of_it() {
    let steps =
        vec![KStep { below_games: Some(10), k: 40.0 }, KStep { below_games: None, k: 24.0 }];
    let elo = Elo::new(1200.0, steps, Some(100.0), 65.0, 0.25).unwrap();
    let chess = Event::EnvironmentDefined(EnvironmentDefined {
        id: EnvironmentId::new("chess").unwrap(),
        version: 1,
        rating: RatingSystem::Elo(elo),
    });
    let (site, last) =
        Site::of(&[chess, environment("go"), game("go", "m1", 1, &["a", "b", "c"])]).await;
    let chess = json!({
        "id": "chess", "version": 1,
        "rating": {"system": "elo", "start": 1200.0, "floor": 100.0, "home_advantage": 65.0,
                   "draw_score": 0.25, "k": [{"below_games": 10, "k": 40.0}, {"k": 24.0}]},
        "matches": 0, "agents": 0, "last_played_at": null,
        "as_of": {"position": position(&environment_cell("chess"), 0), "occurred_at": null},
    });
    assert_eq!(site.read("/api/v1/environments/chess", &last).await, chess);
    let time = "2023-11-14T22:13:21Z";
    let go = site.read("/api/v1/environments/go", &last).await;
    assert_eq!(
        go,
        json!({
            "id": "go", "version": 1,
            "rating": {"system": "elo", "start": 1500.0, "k": 32.0, "floor": null,
                       "home_advantage": 0.0, "draw_score": 0.5},
            "matches": 1, "agents": 3, "last_played_at": time,
            "as_of": {"position": position(&environment_cell("go"), 1), "occurred_at": time},
        })
    );
    let listed = |mut detail: Value| {
        detail.as_object_mut().unwrap().remove("agents");
        detail.as_object_mut().unwrap().remove("as_of");
        detail
    };
    let list = site.read("/api/v1/environments", &last).await;
    assert_eq!(list, json!({"items": [listed(chess), listed(go)], "next_cursor": null}));
}

#[tokio::test]
async fn a_benchmark_is_what_was_posted_and_what_became_of_it() {
    let (site, last) = Site::of(&[
        benchmark("tasks", Direction::Lower, Aggregation::Mean),
        submission("tasks", "s1", "a", Some(1.0)),
        submission("tasks", "s2", "b", None),
    ])
    .await;
    let cell = CellKey::Benchmark(BenchmarkId::new("tasks").unwrap());
    let time = "2023-11-14T22:13:20Z";
    let expected = json!({
        "id": "tasks", "metric": "accuracy", "direction": "lower", "aggregation": "mean",
        "version": 1, "events": 2, "agents": 1, "last_submitted_at": time,
        "as_of": {"position": position(&cell, 2), "occurred_at": time},
    });
    assert_eq!(site.read("/api/v1/benchmarks/tasks", &last).await, expected);
}

#[tokio::test]
async fn lists_are_paged_and_apart() {
    let mut events: Vec<Event> = Vec::new();
    let longest = "z".repeat(64);
    for id in ["A", "a", "a.b", "b_c-9", "zz", longest.as_str()] {
        events.push(environment(id));
        events.push(benchmark(id, Direction::Higher, Aggregation::Best));
    }
    let (site, last) = Site::of(&events).await;
    for kind in ["environments", "benchmarks"] {
        for limit in [1, 2, 4, 6, 1000] {
            let (mut ids, mut cursor) = (Vec::new(), String::new());
            loop {
                let path = format!("/api/v1/{kind}?limit={limit}{cursor}");
                let page = site.read(&path, &last).await;
                let items = page["items"].as_array().unwrap();
                assert!(!items.is_empty() && items.len() <= limit);
                ids.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!(ids, ["A", "a", "a.b", "b_c-9", "zz", longest.as_str()], "{kind} {limit}");
        }
    }
    let page = site.read("/api/v1/environments?limit=1", &last).await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let foreign = site.get(&format!("/api/v1/benchmarks?cursor={cursor}")).await;
    assert_eq!(foreign.problem(), (400, "invalid_parameter".to_owned()));
}

#[tokio::test]
async fn what_is_not_there_is_404_and_an_empty_list_is_a_list() {
    let site = Site::new().await;
    for kind in ["environments", "benchmarks"] {
        let list = site.get(&format!("/api/v1/{kind}")).await;
        assert_eq!(list.json(), json!({"items": [], "next_cursor": null}));
        for id in ["go", "a%2Fb", "%F0%9F%A6%80", &"x".repeat(65)] {
            let answer = site.get(&format!("/api/v1/{kind}/{id}")).await;
            let code = format!("unknown_{}", kind.trim_end_matches('s'));
            assert_eq!(answer.problem(), (404, code), "{kind} {id}");
        }
        let bytes = site.get(&format!("/api/v1/{kind}/%FF")).await;
        assert_eq!(bytes.problem(), (400, "malformed_request".to_owned()));
        let limit = site.get(&format!("/api/v1/{kind}?limit=0")).await;
        assert_eq!(limit.problem(), (400, "invalid_parameter".to_owned()));
        assert_eq!(site.get(&format!("/{kind}")).await.status, 404, "only under the base");
    }
}
