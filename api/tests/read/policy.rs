//! The read side's routes alone, as a process without the write side serves them.

use std::sync::Arc;

use agon_api::{event_routes, replay_routes, routes};
use agon_edge::{Auth, AuthSettings, Edge, HttpMetrics, Limits, Routes};
use agon_memory::{ManualClock, MemoryControl};
use axum::body::Body;
use axum::http::Request;
use prometheus::Registry;

use crate::fold::{environment, game};
use crate::records::Operated;
use crate::site::Site;

const READS: [&str; 14] = [
    "GET /api/v1/agents/{id}/history anyone",
    "GET /api/v1/agents/{id}/ratings anyone",
    "GET /api/v1/benchmarks anyone",
    "GET /api/v1/benchmarks/{id} anyone",
    "GET /api/v1/benchmarks/{id}/submissions/{submission_id} anyone",
    "GET /api/v1/environments anyone",
    "GET /api/v1/environments/{id} anyone",
    "GET /api/v1/environments/{id}/matches/{match_id} anyone",
    "GET /api/v1/leaderboard anyone",
    "GET /api/v1/matches anyone",
    "GET /api/v1/stats any token",
    "GET /leaderboard anyone",
    "GET /matches anyone",
    "GET /stats any token",
];
const EVENTS: [&str; 3] = [
    "GET /api/v1/dead-letters operator",
    "GET /api/v1/dead-letters/{id} operator",
    "GET /api/v1/events operator",
];
const REPLAY: [&str; 1] = ["POST /api/v1/dead-letters/{id}/replay operator"];

async fn table(routes: Routes) -> Vec<String> {
    let clock = Arc::new(ManualClock::at("2027-01-15T08:00:01.5Z".parse().unwrap()));
    let control = Arc::new(MemoryControl::default());
    let auth = Auth::open(control, clock.clone(), AuthSettings::default()).await.unwrap();
    let metrics = HttpMetrics::register(&Registry::new()).unwrap();
    let edge = Edge::new(clock, auth, metrics, Limits::default());
    let (_, rows) = routes.into_router(edge).unwrap();
    let mut rows: Vec<String> =
        rows.iter().map(|row| format!("{} {} {}", row.method, row.path, row.who)).collect();
    rows.sort_unstable();
    rows
}

#[tokio::test]
async fn each_set_of_routes_is_exactly_this() {
    let it = Operated::new().await;
    let (api, log) = (it.site.api.clone(), it.log.clone());
    assert_eq!(table(routes(api.clone())).await, READS);
    assert_eq!(table(event_routes(api.clone(), log.clone())).await, EVENTS);
    assert_eq!(table(replay_routes(api.clone(), log.clone())).await, REPLAY);
    let all = routes(api.clone())
        .merge(event_routes(api.clone(), log.clone()))
        .merge(replay_routes(api, log));
    assert_eq!(table(all).await.len(), READS.len() + EVENTS.len() + REPLAY.len());
}

#[tokio::test]
async fn writes_are_not_served_and_reads_need_no_writer() {
    let (site, last) = Site::of(&[environment("go"), game("go", "m", 1, &["a", "b"])]).await;
    site.read("/leaderboard?environment=go", &last).await;
    for (path, status, code) in [
        ("/matches", 405, "method_not_allowed"),
        ("/api/v1/environments", 405, "method_not_allowed"),
        ("/submissions", 404, "not_found"),
        ("/api/v1/scores", 404, "not_found"),
    ] {
        let answer = site.call(Request::post(path).body(Body::from("{}")).unwrap()).await;
        assert_eq!(answer.problem(), (status, code.to_owned()), "{path}");
    }
}
