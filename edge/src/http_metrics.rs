//! Requests counted and timed, by route template: what a client types makes no new series.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};

/// Upper bounds of the buckets in seconds: from a cached body to the time limit of a request.
const SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
/// The label of a path that no route has.
pub(crate) const UNMATCHED: &str = "unmatched";

/// `agon_http_requests_total` and `agon_http_request_duration_seconds`.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
}

/// The series of one route, looked up once.
#[derive(Clone, Debug)]
pub(crate) struct RouteMetrics {
    ok: IntCounter,
    seconds: Histogram,
}

impl HttpMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// When the registry has metrics of these names.
    pub fn register(registry: &Registry) -> Result<HttpMetrics, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new("agon_http_requests_total", "Requests answered"),
            &["method", "route", "status"],
        )?;
        let opts = HistogramOpts::new(
            "agon_http_request_duration_seconds",
            "From the request's head to the answer's head",
        );
        let seconds = HistogramVec::new(opts.buckets(SECONDS.to_vec()), &["method", "route"])?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(HttpMetrics { requests, seconds })
    }

    /// The series of one route, which begin at 0, so that a first request shows as a rate.
    pub(crate) fn route(&self, method: &Method, route: &str) -> RouteMetrics {
        let method = method_label(method);
        RouteMetrics {
            ok: self.requests.with_label_values(&[method, route, "200"]),
            seconds: self.seconds.with_label_values(&[method, route]),
        }
    }

    /// Counts an answer of a route.
    pub(crate) fn observe(
        &self,
        method: &Method,
        route: &str,
        known: Option<&RouteMetrics>,
        status: StatusCode,
        took: Duration,
    ) {
        let label = method_label(method);
        match known {
            Some(known) if status == StatusCode::OK => known.ok.inc(),
            _ => self.requests.with_label_values(&[label, route, status.as_str()]).inc(),
        }
        match known {
            Some(known) => known.seconds.observe(took.as_secs_f64()),
            None => {
                self.seconds.with_label_values(&[label, route]).observe(took.as_secs_f64());
            }
        }
    }
}

/// Methods are a fixed set of labels too: a client may send any word.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
