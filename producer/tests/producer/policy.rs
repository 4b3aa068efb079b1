//! The write side's routes alone, as a process without the read side serves them.

use std::sync::Arc;

use agon_edge::{Edge, HttpMetrics, Limits};
use agon_producer::routes::routes;
use axum::body::Body;
use axum::http::{Method, Request};
use prometheus::Registry;

use crate::site::{MATCHES, Site, match_body};

const TABLE: [&str; 8] = [
    "POST /api/v1/benchmarks producer",
    "POST /api/v1/environments producer",
    "POST /api/v1/matches producer",
    "POST /api/v1/recentchanges producer",
    "POST /api/v1/scores producer",
    "POST /api/v1/submissions producer",
    "POST /matches producer",
    "POST /submissions producer",
];

#[tokio::test]
async fn the_write_side_alone_is_exactly_this() {
    let site = Site::new().await;
    let metrics = HttpMetrics::register(&Registry::new()).unwrap();
    let clock = Arc::new(site.world.clock.clone());
    let edge = Edge::new(clock, site.auth.clone(), metrics, Limits::default());
    let (_, rows) = routes(site.world.intake.clone()).into_router(edge).unwrap();
    let mut rows: Vec<String> =
        rows.iter().map(|row| format!("{} {} {}", row.method, row.path, row.who)).collect();
    rows.sort_unstable();
    assert_eq!(rows, TABLE);
}

#[tokio::test]
async fn reads_are_not_served_and_writes_need_no_reader() {
    let mut site = Site::new().await;
    site.define().await;
    assert_eq!(site.post(MATCHES, match_body("m", "ann")).await.status, 202);
    for (path, status, code) in [
        ("/leaderboard?environment=e", 404, "not_found"),
        ("/api/v1/environments/e", 404, "not_found"),
        ("/api/v1/environments", 405, "method_not_allowed"),
        (MATCHES, 405, "method_not_allowed"),
    ] {
        let request = Request::builder().method(Method::GET).uri(path);
        let answer = site.call(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.problem(), (status, code, ""), "{path}");
    }
}
