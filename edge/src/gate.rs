//! The gate that every request passes, in and out.
//!
//! In: its row is looked up, its size is looked at, its caller is known. Out: a failure becomes a
//! problem with the request's id, the answer gets its headers, one line is logged and counted.
//! It is one layer rather than a stack of them, since each would cost an allocation a request.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request};
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode, Uri, Version};
use axum::response::{IntoResponse, Response};
use tower::{Layer, Service};
use tracing::Instrument;

use crate::body::{self, BodyShare};
use crate::code::Code;
use crate::edge::Edge;
use crate::http_metrics::UNMATCHED;
use crate::panic::caught;
use crate::policy::Who;
use crate::problem::{PROBLEM_JSON, Problem};
use crate::request::{Peer, RequestId, X_REQUEST_ID};
use crate::rows::{PathRows, Row};
use crate::traced;

/// The rows of all paths, with what all routes share.
pub(crate) struct Gate {
    edge: Arc<Edge>,
    paths: HashMap<String, PathRows>,
}

impl Gate {
    pub fn new(edge: Arc<Edge>) -> Gate {
        Gate { edge, paths: HashMap::new() }
    }

    pub fn add(&mut self, path: String, rows: PathRows) {
        self.paths.insert(path, rows);
    }

    /// Takes a request through to its handler and the answer back out.
    async fn pass<S>(&self, mut request: Request, handler: S) -> Response
    where
        S: Service<Request, Response = Response, Error = Infallible>,
    {
        let seen = Seen {
            began: Instant::now(),
            id: self.edge.request_id(request.headers()),
            method: request.method().clone(),
            uri: request.uri().clone(),
            path: request.extensions().get::<MatchedPath>().cloned(),
        };
        let row = self.row(&seen);
        request.extensions_mut().insert(seen.id.clone());
        let response = match &row {
            Ok(row) => {
                let span = traced::begin(&seen.method, seen.route(), &seen.id, request.headers());
                let admitted = self.admit(&seen, row, request, handler);
                let response = admitted.instrument(span.clone()).await;
                let response = response.unwrap_or_else(Problem::into_response);
                traced::answered(&span, response.status());
                response
            }
            Err(refusal) => refusal.clone().into_response(),
        };
        self.leave(&seen, row.ok(), response)
    }

    /// The row of a request; what has none is refused, whatever the router found.
    fn row(&self, seen: &Seen) -> Result<&Row, Problem> {
        let rows = seen.path.as_ref().and_then(|path| self.paths.get(path.as_str()));
        let not_found = || Problem::new(Code::NotFound, "no such route");
        let rows = rows.ok_or_else(not_found)?;
        rows.of(&seen.method).ok_or_else(|| Problem::method_not_allowed(&rows.allow()))
    }

    /// Everything that may refuse a request before its handler runs, then the handler.
    async fn admit<S>(
        &self,
        seen: &Seen,
        row: &Row,
        mut request: Request,
        mut handler: S,
    ) -> Result<Response, Problem>
    where
        S: Service<Request, Response = Response, Error = Infallible>,
    {
        self.check_head(&request)?;
        if row.who != Who::Anyone {
            let is_write = !(seen.method == Method::GET || seen.method == Method::HEAD);
            let caller = self.edge.auth().caller(request.headers(), is_write).await?;
            if !row.who.lets(caller.roles()) {
                let detail = format!("this needs the role {}; ask an admin", row.who);
                return Err(Problem::new(Code::Forbidden, detail));
            }
            request.extensions_mut().insert(caller);
        }
        let (request, share) = self.limit_body(row, request)?;
        let span = tracing::debug_span!(
            "request",
            method = seen.method.as_str(),
            route = seen.route(),
            request_id = seen.id.as_str(),
        );
        let run = caught(async move { handler.call(request).await }).instrument(span);
        match tokio::time::timeout(row.time_max, run).await {
            Ok(Ok(Ok(response))) => Ok(response),
            Ok(Ok(Err(never))) => match never {},
            Ok(Err(panic)) => Err(Problem::internal(panic)),
            Err(_) => Err(too_slow(share.as_deref(), row.time_max)),
        }
    }

    /// What the head alone shows to be wrong.
    fn check_head(&self, request: &Request) -> Result<(), Problem> {
        let limits = self.edge.limits();
        let (uri, headers) = (request.uri(), request.headers());
        let too_long = |what: &str, limit: usize| {
            Err(Problem::new(Code::UriTooLong, format!("the limit of the {what} is {limit} bytes")))
        };
        if uri.path().len() > limits.path_bytes_max {
            return too_long("path", limits.path_bytes_max);
        }
        if uri.query().unwrap_or_default().len() > limits.query_bytes_max {
            return too_long("query", limits.query_bytes_max);
        }
        let over_socket = request.extensions().get::<Peer>().is_some();
        let hosts = headers.get_all(HOST).iter().count();
        if over_socket && request.version() == Version::HTTP_11 && hosts != 1 {
            return Err(Problem::new(Code::MalformedRequest, "send one Host header"));
        }
        if headers.get_all(CONTENT_ENCODING).iter().any(|encoding| encoding != "identity") {
            let detail = "requests may not be compressed; send the body as it is";
            let problem = Problem::new(Code::UnsupportedMediaType, detail);
            return Err(problem.header(ACCEPT_ENCODING, HeaderValue::from_static("identity")));
        }
        Ok(())
    }

    /// Puts the limit on the body. One that announces too much is refused unread.
    fn limit_body(
        &self,
        row: &Row,
        request: Request,
    ) -> Result<(Request, Option<Arc<BodyShare>>), Problem> {
        if request.body().is_end_stream() {
            return Ok((request, None));
        }
        let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let announced = announced.and_then(|digits| digits.parse::<u64>().ok());
        if announced.is_some_and(|bytes| bytes > row.body_bytes_max) {
            return Err(body::too_large(row.body_bytes_max));
        }
        let (parts, inner) = request.into_parts();
        let (limited, share) = body::limit(inner, row.body_bytes_max, self.edge.bodies());
        Ok((Request::from_parts(parts, limited), Some(share)))
    }

    /// The way out.
    fn leave(&self, seen: &Seen, row: Option<&Row>, mut response: Response) -> Response {
        let status = response.status();
        let mut problem = response.extensions_mut().remove::<Problem>();
        if problem.is_none() && (status.is_client_error() || status.is_server_error()) {
            let plain = plain_refusal(status, response);
            problem = Some(plain);
            response = Response::new(Body::empty());
            *response.status_mut() = status;
            response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        }
        if let Some(problem) = &problem {
            let body = problem.body(seen.uri.path(), seen.id.as_str());
            let is_head = seen.method == Method::HEAD;
            *response.body_mut() = if is_head { Body::empty() } else { Body::from(body) };
        }
        let headers = response.headers_mut();
        headers.insert(X_REQUEST_ID, seen.id.header());
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        self.report(seen, row, response.status(), problem.as_ref());
        response
    }

    /// One line and one count a request.
    fn report(
        &self,
        seen: &Seen,
        row: Option<&Row>,
        status: StatusCode,
        problem: Option<&Problem>,
    ) {
        let took = seen.began.elapsed();
        let known = row.filter(|row| row.method == seen.method).map(|row| &row.metrics);
        self.edge.metrics().observe(&seen.method, seen.route(), known, status, took);
        let (method, route) = (seen.method.as_str(), seen.route());
        let (status, duration_ms) = (status.as_u16(), took.as_secs_f64() * 1000.0);
        let request_id = seen.id.as_str();
        if status >= 500 {
            let cause = problem.map_or("", Problem::logged_cause);
            let code = problem.map_or("", |problem| problem.code().text());
            tracing::warn!(method, route, status, duration_ms, request_id, code, ?cause, "failed");
        } else {
            tracing::debug!(method, route, status, duration_ms, request_id, "answered");
        }
    }
}

/// What is kept of a request while its handler has it.
struct Seen {
    began: Instant,
    id: RequestId,
    method: Method,
    uri: Uri,
    path: Option<MatchedPath>,
}

impl Seen {
    fn route(&self) -> &str {
        self.path.as_ref().map_or(UNMATCHED, MatchedPath::as_str)
    }
}

fn too_slow(share: Option<&BodyShare>, limit: Duration) -> Problem {
    let seconds = limit.as_secs_f64();
    if share.is_some_and(|share| !share.is_complete()) {
        return Problem::new(Code::BodyTooSlow, format!("it did not arrive within {seconds} s"));
    }
    let detail = format!("no answer within {seconds} s; what was asked may still take effect");
    Problem::new(Code::RequestTimeout, detail)
}

/// A refusal that did not come as a problem becomes one; its text is not passed on.
fn plain_refusal(status: StatusCode, response: Response) -> Problem {
    drop(response);
    let code = Code::of_status(status);
    if status.is_server_error() {
        return Problem::new(code, "the failure was logged under this request_id");
    }
    Problem::new(code, "the request was refused as it stands")
}

/// Puts the gate before every route and every fallback.
#[derive(Clone)]
pub(crate) struct GateLayer(pub Arc<Gate>);

impl<S> Layer<S> for GateLayer {
    type Service = GateService<S>;

    fn layer(&self, inner: S) -> GateService<S> {
        GateService { gate: Arc::clone(&self.0), inner }
    }
}

/// A handler behind the gate.
#[derive(Clone)]
pub(crate) struct GateService<S> {
    gate: Arc<Gate>,
    inner: S,
}

impl<S> Service<Request> for GateService<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let gate = Arc::clone(&self.gate);
        // The clone stays; the one that was asked whether it is ready goes.
        let clone = self.inner.clone();
        let handler = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move { Ok(gate.pass(request, handler).await) })
    }
}
