//! What all routes share: limits, identity, metrics and time.

use std::sync::Arc;

use agon_ports::Clock;

use crate::auth::Auth;
use crate::body::BodyBudget;
use crate::http_metrics::HttpMetrics;
use crate::request::RequestIds;

/// The limits of every request, unless a route has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body; 1 MiB. One more is 413.
    pub body_bytes_max: u64,
    /// Bytes of all bodies that are read or worked on at one time; 256 MiB. Beyond it 503.
    pub bodies_bytes_max: u64,
    /// Bytes of a path; 2,048. One more is 414.
    pub path_bytes_max: usize,
    /// Bytes of a query; 8,192. One more is 414.
    pub query_bytes_max: usize,
    /// Milliseconds from the request's head to the answer's head; 30,000. Then 503, or 408 when
    /// it was the body that did not come.
    pub request_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes_max: 1 << 20,
            bodies_bytes_max: 256 << 20,
            path_bytes_max: 2048,
            query_bytes_max: 8192,
            request_ms_max: 30_000,
        }
    }
}

/// What all routes share; one for a router.
pub struct Edge {
    clock: Arc<dyn Clock>,
    auth: Arc<Auth>,
    metrics: HttpMetrics,
    limits: Limits,
    bodies: Arc<BodyBudget>,
    ids: RequestIds,
}

impl Edge {
    /// Joins the parts.
    pub fn new(
        clock: Arc<dyn Clock>,
        auth: Arc<Auth>,
        metrics: HttpMetrics,
        limits: Limits,
    ) -> Arc<Edge> {
        let bodies = BodyBudget::new(limits.bodies_bytes_max);
        Arc::new(Edge { clock, auth, metrics, limits, bodies, ids: RequestIds::default() })
    }

    pub(crate) fn auth(&self) -> &Auth {
        &self.auth
    }

    pub(crate) fn metrics(&self) -> &HttpMetrics {
        &self.metrics
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn bodies(&self) -> &Arc<BodyBudget> {
        &self.bodies
    }

    pub(crate) fn request_id(&self, headers: &axum::http::HeaderMap) -> crate::RequestId {
        self.ids.of(headers, self.clock.now())
    }
}
