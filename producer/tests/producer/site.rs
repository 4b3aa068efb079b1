//! The write routes behind the real gate.

use std::sync::Arc;

use agon_edge::{Auth, AuthSettings, Edge, HttpMetrics, Limits, Role};
use agon_memory::MemoryControl;
use agon_producer::routes::routes;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::world::World;

pub struct Site {
    pub world: World,
    pub router: Router,
    pub auth: Arc<Auth>,
    pub token: String,
}

impl Site {
    pub async fn new() -> Site {
        Site::of(World::new()).await
    }

    pub async fn of(world: World) -> Site {
        let clock = Arc::new(world.clock.clone());
        let control = Arc::new(MemoryControl::default());
        let auth = Auth::open(control, clock.clone(), AuthSettings::default()).await.unwrap();
        let metrics = HttpMetrics::register(&world.registry).unwrap();
        let edge = Edge::new(clock, auth.clone(), metrics, Limits::default());
        let (router, _) = routes(world.intake.clone()).into_router(edge).unwrap();
        let token = auth.service_token("test", &[Role::Producer]).unwrap().token;
        Site { world, router, auth, token }
    }

    pub fn token_of(&self, name: &str, role: Role) -> String {
        self.auth.service_token(name, &[role]).unwrap().token
    }

    pub async fn call(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let json = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&bytes)));
        Answer { status: parts.status.as_u16(), headers: parts.headers, json }
    }

    pub async fn send(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        let mut request = Request::post(path);
        let defaults = [
            ("content-type", "application/json"),
            ("authorization", &format!("Bearer {}", self.token)),
        ];
        let is_given = |name: &str| headers.iter().any(|(given, _)| *given == name);
        for (name, value) in defaults.iter().filter(|(name, _)| !is_given(name)).chain(headers) {
            request = request.header(*name, *value);
        }
        self.call(request.body(Body::from(body.into())).unwrap()).await
    }

    pub async fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.send(path, &[], body).await
    }

    pub async fn lines(&self, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.send(path, &[("content-type", "application/x-ndjson")], body).await
    }

    pub async fn define(&mut self) {
        let environment = self.post("/api/v1/environments", r#"{"id":"e"}"#).await;
        assert_eq!(environment.status, 202, "{}", environment.json);
        let body = r#"{"id":"b","metric":"m","direction":"higher","aggregation":"best"}"#;
        assert_eq!(self.post("/api/v1/benchmarks", body).await.status, 202);
        self.world.folder.fold().await;
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub json: Value,
}

impl Answer {
    pub fn text(&self, member: &str) -> &str {
        self.json[member].as_str().unwrap_or_else(|| panic!("{member}: {}", self.json))
    }

    /// Status, code, and the pointer of the first error.
    pub fn problem(&self) -> (u16, &str, &str) {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.json);
        if self.status == 503 {
            assert!(self.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
        }
        assert!(!self.text("detail").is_empty());
        let pointer = self.json["errors"][0]["pointer"].as_str().unwrap_or_default();
        (self.status, self.text("code"), pointer)
    }
}

pub const MATCHES: &str = "/api/v1/matches";

/// A match of environment `e` with this id and winner.
pub fn match_body(id: &str, winner: &str) -> String {
    let players =
        format!(r#"[{{"agent":"{winner}","placement":1}},{{"agent":"loser","placement":2}}]"#);
    format!(r#"{{"match_id":"{id}","environment":"e","players":{players}}}"#)
}

/// The same without an id.
pub fn anonymous_match(winner: &str) -> String {
    match_body("x", winner).replace(r#""match_id":"x","#, "")
}
