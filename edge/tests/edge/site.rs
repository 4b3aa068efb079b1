//! A small site behind the real gate: one route of each kind, on memory adapters.

use std::sync::Arc;

use agon_edge::{
    Auth, AuthSettings, Caller, Edge, HttpMetrics, JsonBody, Limits, Payload, PolicyRow, Problem,
    QueryString, Role, Route, Routes, Who, login,
};
use agon_memory::{FaultRates, Faults, Faulty, ManualClock, MemoryControl};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use prometheus::Registry;
use serde::Deserialize;
use serde_json::Value;
use tower::ServiceExt;

pub struct Site {
    pub router: Router,
    pub table: Vec<PolicyRow>,
    pub auth: Arc<Auth>,
    pub clock: ManualClock,
    pub store: MemoryControl,
    pub faults: Arc<Faults>,
    pub registry: Registry,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    pub name: String,
    #[serde(default)]
    pub points: i64,
}

pub fn routes() -> Routes {
    Routes::new()
        .add(Route::new(Method::GET, "/open", Who::Anyone).also_at_root(), open)
        .add(Route::new(Method::GET, "/things/{id}", Who::Anyone), || async { "a thing" })
        .add(Route::new(Method::GET, "/livez", Who::Anyone).only_at_root(), || async { "ok" })
        .add(Route::new(Method::GET, "/mine", Who::AnyToken), mine)
        .add(Route::new(Method::POST, "/write", Who::Role(Role::Producer)), write)
        .add(Route::new(Method::POST, "/echo", Who::Anyone).also_at_root(), echo)
        .add(Route::new(Method::POST, "/big", Who::Anyone).body_bytes_max(4 << 20), big)
        .add(Route::new(Method::GET, "/admin", Who::Role(Role::Admin)), || async { "all" })
        .add(Route::new(Method::GET, "/panic", Who::Anyone), panics)
        .add(Route::new(Method::GET, "/never", Who::Anyone).time_ms_max(20), never)
        .add(Route::new(Method::POST, "/stalled", Who::Anyone).time_ms_max(200), big)
        .add(Route::new(Method::GET, "/plain", Who::Anyone), plain)
        .add(Route::new(Method::GET, "/flood", Who::Anyone), || async { vec![b'x'; 64 << 20] })
        .add(Route::new(Method::GET, "/wait", Who::Anyone), wait)
}

async fn open(query: QueryString) -> Result<&'static str, Problem> {
    query.only(&["limit"])?.number("limit", 1..=1000)?;
    Ok("open")
}

async fn mine(caller: Caller) -> String {
    caller.name().to_owned()
}

async fn write(caller: Caller, JsonBody(written): JsonBody<Written>) -> String {
    format!("{} wrote {}", caller.name(), written.name)
}

async fn echo(JsonBody(written): JsonBody<Written>) -> String {
    format!("{} {}", written.name, written.points)
}

async fn big(payload: Payload) -> String {
    payload.bytes.len().to_string()
}

async fn panics() -> &'static str {
    panic!("secret-of-the-stack")
}

async fn never() -> &'static str {
    std::future::pending().await
}

async fn wait() -> &'static str {
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    "waited"
}

async fn plain() -> (StatusCode, &'static str) {
    (StatusCode::BAD_REQUEST, "host-7 said no")
}

impl Site {
    pub async fn new() -> Site {
        Site::with(AuthSettings::default(), Limits::default()).await
    }

    pub async fn with(settings: AuthSettings, limits: Limits) -> Site {
        let clock = ManualClock::at("2026-11-21T10:00:00Z".parse().unwrap());
        let store = MemoryControl::default();
        let registry = Registry::new();
        let shared = Arc::new(clock.clone());
        let faults = Faults::new(1, FaultRates::default());
        let faulty = Arc::new(Faulty::new(store.clone(), faults.clone()));
        let auth = Auth::open(faulty, shared.clone(), settings).await.unwrap();
        let metrics = HttpMetrics::register(&registry).unwrap();
        let edge = Edge::new(shared, auth.clone(), metrics, limits);
        let all = routes().merge(login::routes(auth.clone()));
        let (router, table) = all.into_router(edge).unwrap();
        Site { router, table, auth, clock, store, faults, registry }
    }

    /// Calls the router without a socket.
    pub async fn call(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub async fn get_with_token(&self, path: &str, token: &str) -> Answer {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        self.call(request.body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post(path).header("content-type", "application/json");
        self.call(request.body(body.into()).unwrap()).await
    }

    pub async fn post_with_token(&self, path: &str, token: &str, body: &str) -> Answer {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("authorization", format!("bearer {token}"));
        self.call(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    pub async fn login(&self, name: &str, password: &str) -> Answer {
        let body = serde_json::json!({"username": name, "password": password});
        self.post("/login", body.to_string()).await
    }

    /// The value of a sample in the metrics' text, if there is one.
    pub fn sample(&self, line_start: &str) -> Option<String> {
        let text =
            prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        let line = text.lines().find(|line| line.starts_with(line_start))?;
        line.rsplit(' ').next().map(str::to_owned)
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Holds it against the contract of every problem, and returns its code.
    pub fn problem(&self) -> String {
        let json = self.json();
        let member = |name: &str| json[name].as_str().unwrap_or_else(|| panic!("{name}: {json}"));
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(json["status"], self.status);
        assert_eq!(member("type"), format!("/problems/{}", member("code")));
        assert_eq!(member("request_id"), self.header("x-request-id"));
        assert!(member("instance").starts_with('/'), "{json}");
        assert!(!member("title").is_empty() && json["errors"].is_array(), "{json}");
        assert_eq!(self.header("x-content-type-options"), "nosniff");
        if self.status == 401 {
            assert_eq!(self.header("www-authenticate"), "Bearer");
        }
        if matches!(self.status, 429 | 503) {
            assert!(self.header("retry-after").parse::<u32>().unwrap() > 0);
        }
        member("code").to_owned()
    }
}
