//! A small intake on a real socket: it takes what INTERFACE.md says, keeps what was sent, and
//! fails as it is told to.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub authorization: String,
    pub body: Bytes,
    /// The status it was answered with; 0 when the answer never left.
    pub status: u16,
}

/// How a request fares before its content is looked at.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    Taken,
    /// 503 with this `Retry-After`, nothing taken.
    Away(u64),
    /// 429 with `Retry-After: 0`, nothing taken.
    TooMany,
    /// Taken, and then answered with 503: an acknowledgement that got lost.
    TakenButLost,
    /// Refused for good, with this status and code.
    Refused(u16, &'static str),
}

type Fates = Box<dyn FnMut(&Request, usize) -> Fate + Send>;

/// What the intake has seen and taken.
#[derive(Default)]
pub struct Seen {
    pub requests: Vec<Request>,
    /// Items by path and id, with their content, in the order of taking.
    pub taken: Vec<(String, String, Value)>,
}

impl Seen {
    pub fn taken_at(&self, path: &str) -> Vec<&Value> {
        self.taken.iter().filter(|(p, ..)| p == path).map(|(.., body)| body).collect()
    }
}

/// A running intake.
#[derive(Clone)]
pub struct Intake {
    pub base_url: String,
    pub stop: CancellationToken,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    seen: Seen,
    known: BTreeMap<(String, String), Value>,
    fates: Fates,
    refused_ids: BTreeSet<String>,
    matches_max: usize,
    stop: CancellationToken,
}

impl Intake {
    /// Starts an intake that cancels `stop` once it has taken so many matches. `fates` is asked
    /// for each request, with the number of requests before it.
    pub async fn start(
        matches_max: usize,
        fates: impl FnMut(&Request, usize) -> Fate + Send + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base_url = format!("http://{}", listener.local_addr().expect("an address"));
        let stop = CancellationToken::new();
        let inner = Inner {
            seen: Seen::default(),
            known: BTreeMap::new(),
            fates: Box::new(fates),
            refused_ids: BTreeSet::new(),
            matches_max,
            stop: stop.clone(),
        };
        let intake = Self { base_url, stop, inner: Arc::new(Mutex::new(inner)) };
        let routes = Router::new().fallback(take).with_state(intake.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.expect("serving") });
        intake
    }

    /// Refuses the match with this id, and takes the others of its batch.
    pub fn refuse(&self, match_id: &str) {
        self.inner.lock().expect("not poisoned").refused_ids.insert(match_id.to_owned());
    }

    pub fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.inner.lock().expect("not poisoned").seen)
    }
}

/// Fates drawn from a seed: about one request in four fails, never more than three in a row.
pub fn rough(seed: u64) -> impl FnMut(&Request, usize) -> Fate + Send {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut in_row = 0;
    move |_, _| {
        let fate = match dice.random_range(0..12) {
            _ if in_row == 3 => Fate::Taken,
            0 => Fate::Away(0),
            1 => Fate::TooMany,
            2 => Fate::TakenButLost,
            _ => Fate::Taken,
        };
        in_row = if matches!(fate, Fate::Taken) { 0 } else { in_row + 1 };
        fate
    }
}

async fn take(State(intake): State<Intake>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let path = uri.path().strip_prefix("/api/v1").expect("the base of the interface").to_owned();
    let authorization = authorization.unwrap_or_default().to_owned();
    let mut request = Request { path, authorization, body, status: 0 };
    let mut inner = intake.inner.lock().expect("not poisoned");
    let before = inner.seen.requests.len();
    let (status, retry_after, answer) = match (inner.fates)(&request, before) {
        Fate::Taken => inner.answer(&request),
        Fate::Away(seconds) => problem(503, "log_unavailable", Some(seconds)),
        Fate::TooMany => problem(429, "too_many_requests", Some(0)),
        Fate::TakenButLost => {
            inner.answer(&request);
            problem(503, "log_unavailable", Some(0))
        }
        Fate::Refused(status, code) => problem(status, code, None),
    };
    request.status = status;
    inner.seen.requests.push(request);
    // Not after a lost acknowledgement: its repetition is to be seen.
    if status == 202 && inner.seen.taken_at("/matches").len() >= inner.matches_max {
        inner.stop.cancel();
    }
    let status = StatusCode::from_u16(status).expect("a status");
    let mut response = (status, answer.to_string()).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

type Answered = (u16, Option<u64>, Value);

fn problem(status: u16, code: &str, retry_after: Option<u64>) -> Answered {
    let body = json!({
        "type": "about:blank", "title": code, "status": status, "code": code,
        "detail": format!("told to say {code}"), "request_id": "r",
    });
    (status, retry_after, body)
}

impl Inner {
    fn answer(&mut self, request: &Request) -> Answered {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let Value::Array(items) = body else {
            return match self.judge(&request.path, body) {
                Ok(duplicate) => {
                    (202, None, json!({"event_id": "e", "position": "p", "duplicate": duplicate}))
                }
                Err((status, code)) => problem(status, code, None),
            };
        };
        let (mut accepted, mut duplicates, mut rejected) = (0, 0, Vec::new());
        for (index, item) in items.into_iter().enumerate() {
            match self.judge(&request.path, item) {
                Ok(false) => accepted += 1,
                Ok(true) => duplicates += 1,
                Err((_, code)) => rejected.push(
                    json!({"index": index, "code": code, "detail": "told to", "pointer": ""}),
                ),
            }
        }
        let status = if accepted + duplicates == 0 { 400 } else { 202 };
        let answer = json!({
            "accepted": accepted, "duplicates": duplicates, "rejected": rejected, "position": "p",
        });
        (status, None, answer)
    }

    /// Takes one item: whether it was known, or the status and code of its refusal.
    fn judge(&mut self, path: &str, item: Value) -> Result<bool, (u16, &'static str)> {
        let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
        let id = match path {
            "/environments" | "/benchmarks" => text("id"),
            "/matches" => text("match_id"),
            "/submissions" => text("submission_id"),
            "/scores" => text("run_id"),
            _ => return Err((404, "not_found")),
        };
        assert!(!id.is_empty(), "{path} {item}");
        let is_defined = |kind: &str, id: String| self.known.contains_key(&(kind.to_owned(), id));
        if self.refused_ids.contains(&id)
            || (path == "/matches" && !is_defined("/environments", text("environment")))
        {
            return Err((422, "unknown_environment"));
        }
        let key = (path.to_owned(), id.clone());
        match self.known.get(&key) {
            Some(known) if *known == item => Ok(true),
            Some(_) => Err((409, "conflicting_duplicate")),
            None => {
                self.known.insert(key, item.clone());
                self.seen.taken.push((path.to_owned(), id, item));
                Ok(false)
            }
        }
    }
}
