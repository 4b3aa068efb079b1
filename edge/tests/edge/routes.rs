//! The policy table, and what a request meets before and after its handler.

use std::collections::BTreeSet;

use crate::site::Site;
use agon_edge::{Limits, Route, RouteError, Routes, Who};
use axum::body::Body;
use axum::http::{Method, Request};

#[tokio::test]
async fn each_row_is_served_where_it_says_and_nowhere_else() {
    let site = Site::new().await;
    let rows: BTreeSet<String> =
        site.table.iter().map(|row| format!("{} {} {}", row.method, row.path, row.who)).collect();
    for row in [
        "GET /api/v1/open anyone",
        "GET /open anyone",
        "GET /livez anyone",
        "GET /api/v1/mine any token",
        "POST /api/v1/write producer",
        "GET /api/v1/admin admin",
        "POST /login anyone",
        "POST /api/v1/login anyone",
    ] {
        assert!(rows.contains(row), "{row}");
    }
    for row in &site.table {
        let path = row.path.replace("{id}", "7");
        let request = Request::builder().method(row.method.clone()).uri(&path);
        let answer = site.call(request.body(Body::empty()).unwrap()).await;
        let let_in = answer.status != 401;
        assert_eq!(let_in, row.who == Who::Anyone, "{} {path}: {}", row.method, answer.status);
        assert!(![404, 405].contains(&answer.status), "{} {path}", row.method);
    }
    for path in ["/", "/api/v1", "/api/v1/livez", "/mine", "/api/v1/open/", "/api/v1//open"] {
        assert_eq!(site.get(path).await.problem(), "not_found", "{path}");
    }
}

#[tokio::test]
async fn roles_open_what_they_grant() {
    let site = Site::new().await;
    for (roles, write, admin) in [
        (&[][..], 403, 403),
        (&[agon_edge::Role::Viewer], 403, 403),
        (&[agon_edge::Role::Author], 403, 403),
        (&[agon_edge::Role::Producer], 200, 403),
        (&[agon_edge::Role::Operator], 200, 403),
        (&[agon_edge::Role::Admin], 200, 200),
    ] {
        let token = site.auth.service_token("test", roles).unwrap().token;
        let mine = site.get_with_token("/api/v1/mine", &token).await;
        assert_eq!((mine.status, mine.text()), (200, "service:test"));
        let wrote = site.post_with_token("/api/v1/write", &token, r#"{"name":"x"}"#).await;
        assert_eq!(wrote.status, write, "{roles:?}");
        let read = site.get_with_token("/api/v1/admin", &token).await;
        assert_eq!(read.status, admin, "{roles:?}");
        if admin == 403 {
            assert_eq!(read.problem(), "forbidden");
        }
    }
}

#[tokio::test]
async fn another_method_is_405_and_names_those_that_are_served() {
    let site = Site::new().await;
    let call = async |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        site.call(request).await
    };
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        let answer = call(method, "/api/v1/open").await;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"), "{method}");
        assert_eq!(answer.problem(), "method_not_allowed");
    }
    assert_eq!(call("GET", "/login").await.header("allow"), "POST");
    let overridden = Request::get("/login").header("x-http-method-override", "POST");
    assert_eq!(site.call(overridden.body(Body::empty()).unwrap()).await.status, 405);

    let head = call("HEAD", "/open").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let head = call("HEAD", "/nowhere").await;
    assert_eq!((head.status, head.body.len()), (404, 0));
    assert_eq!(call("HEAD", "/api/v1/mine").await.status, 401);
}

#[tokio::test]
async fn the_same_route_twice_is_refused() {
    let site = Site::new().await;
    let edge = || {
        let metrics = agon_edge::HttpMetrics::register(&prometheus::Registry::new()).unwrap();
        let clock = std::sync::Arc::new(site.clock.clone());
        agon_edge::Edge::new(clock, site.auth.clone(), metrics, Limits::default())
    };
    let route = || Route::new(Method::GET, "/open", Who::AnyToken);
    let twice = crate::site::routes().merge(Routes::new().add(route(), || async { "again" }));
    let path = "/api/v1/open".to_owned();
    assert_eq!(
        twice.into_router(edge()).err(),
        Some(RouteError::Twice { method: Method::GET, path })
    );
}

#[tokio::test]
async fn every_failure_is_a_problem_that_tells_nothing_of_the_inside() {
    let site = Site::new().await;
    let panic = site.get("/api/v1/panic").await;
    assert_eq!((panic.status, panic.problem().as_str()), (500, "internal"));
    assert!(!panic.text().contains("secret-of-the-stack"), "{}", panic.text());
    assert_eq!(site.get("/open").await.status, 200);

    let never = site.get("/api/v1/never").await;
    assert_eq!((never.status, never.problem().as_str()), (503, "request_timeout"));

    let plain = site.get("/api/v1/plain").await;
    assert_eq!((plain.status, plain.problem().as_str()), (400, "malformed_request"));
    assert!(!plain.text().contains("host-7"), "{}", plain.text());
    assert_eq!(plain.json()["instance"], "/api/v1/plain");
}

#[tokio::test]
async fn every_answer_carries_one_sane_request_id() {
    let site = Site::new().await;
    let call = async |id: &[u8]| {
        let request = Request::get("/open").header("x-request-id", id).body(Body::empty()).unwrap();
        let answer = site.call(request).await;
        assert_eq!(answer.headers.get_all("x-request-id").iter().count(), 1);
        answer.header("x-request-id").to_owned()
    };
    assert_eq!(call(b"trace-7.a:b_c").await, "trace-7.a:b_c");
    for bad in [&b"a b"[..], b"x\tlevel=error", b"\"}{\"level\":\"error\"", &[b'a'; 65], b"\xff"] {
        let id = call(bad).await;
        assert_eq!(id.parse::<uuid::Uuid>().unwrap().get_version_num(), 7);
    }
    for path in ["/open", "/nowhere", "/api/v1/mine", "/api/v1/panic"] {
        let answer = site.get(path).await;
        assert_eq!(answer.header("x-request-id").len(), 36, "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
    }
}

#[tokio::test]
async fn requests_are_counted_by_template() {
    let site = Site::new().await;
    let count = |method: &str, route: &str, status: &str| {
        let labels = format!("{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}");
        site.sample(&format!("agon_http_requests_total{labels}"))
    };
    let template = "/api/v1/things/{id}";
    assert_eq!(count("GET", template, "200").as_deref(), Some("0"), "begins at 0");
    for id in 0..5 {
        site.get(&format!("/api/v1/things/{id}")).await;
        site.get(&format!("/nowhere/{id}")).await;
        let method = format!("BREW{id}");
        let request = Request::builder().method(method.as_str()).uri("/api/v1/things/1");
        site.call(request.body(Body::empty()).unwrap()).await;
    }
    assert_eq!(count("GET", template, "200").as_deref(), Some("5"));
    assert_eq!(count("GET", "unmatched", "404").as_deref(), Some("5"));
    assert_eq!(count("other", template, "405").as_deref(), Some("5"));
    let timed = "agon_http_request_duration_seconds_count{method=\"GET\",route=\"unmatched\"}";
    assert_eq!(site.sample(timed).as_deref(), Some("5"));
}
