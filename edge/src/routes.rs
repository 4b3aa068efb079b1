//! The one way to serve a route: with the row that says who may.
//!
//! Services hand over [`Routes`]; the binary joins them and makes the router. There is no way to
//! add a handler without a row, and what the router does not find in the rows it refuses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use thiserror::Error;

use crate::edge::Edge;
use crate::gate::{Gate, GateLayer};
use crate::policy::{PolicyRow, Who};
use crate::rows::{PathRows, Row};

/// The base of every route that does not stand at the root alone.
pub const BASE: &str = "/api/v1";

/// Where a route stands, who may use it, and what it may cost.
#[derive(Clone, Debug)]
pub struct Route {
    method: Method,
    path: &'static str,
    who: Who,
    at_base: bool,
    at_root: bool,
    body_bytes_max: Option<u64>,
    time_ms_max: Option<u64>,
}

impl Route {
    /// A route under the base: `/leaderboard` is served as `/api/v1/leaderboard`. A route of GET
    /// answers HEAD too.
    pub fn new(method: Method, path: &'static str, who: Who) -> Route {
        Route {
            method,
            path,
            who,
            at_base: true,
            at_root: false,
            body_bytes_max: None,
            time_ms_max: None,
        }
    }

    /// Serves it without the base as well.
    pub fn also_at_root(self) -> Route {
        Route { at_root: true, ..self }
    }

    /// Serves it without the base only.
    pub fn only_at_root(self) -> Route {
        Route { at_root: true, at_base: false, ..self }
    }

    /// Another limit for the body than that of all routes.
    pub fn body_bytes_max(self, bytes: u64) -> Route {
        Route { body_bytes_max: Some(bytes), ..self }
    }

    /// Another limit for the time to the answer's head than that of all routes.
    pub fn time_ms_max(self, milliseconds: u64) -> Route {
        Route { time_ms_max: Some(milliseconds), ..self }
    }

    fn paths(&self) -> impl Iterator<Item = String> + use<> {
        let base = self.at_base.then(|| format!("{BASE}{}", self.path));
        let root = self.at_root.then(|| self.path.to_owned());
        base.into_iter().chain(root)
    }
}

/// Why routes cannot be joined.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RouteError {
    /// Two of them answer the same method at the same path.
    #[error("{method} {path} is served twice")]
    Twice {
        /// The method.
        method: Method,
        /// The whole path.
        path: String,
    },
    /// The method is none that a router knows.
    #[error("{method} {path}: the method cannot be served")]
    Method {
        /// The method.
        method: Method,
        /// The path.
        path: String,
    },
}

/// Routes with their rows, before they become a router.
pub struct Routes<S = ()> {
    routes: Vec<(Route, Handles<S>)>,
}

/// Puts the handler under a method; made where its type is known.
type Handles<S> = Box<dyn FnOnce(MethodFilter) -> MethodRouter<S> + Send>;

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No routes yet.
    pub fn new() -> Routes<S> {
        Routes { routes: Vec::new() }
    }

    /// Adds a route and what answers it.
    pub fn add<H, T>(mut self, route: Route, handler: H) -> Routes<S>
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.routes.push((route, Box::new(move |filter| on(filter, handler))));
        self
    }

    /// Gives all of them their state, so that they can be merged with others.
    pub fn with_state(self, state: S) -> Routes {
        let routes = self.routes.into_iter().map(|(route, handles)| {
            let state = state.clone();
            let handles: Handles<()> = Box::new(move |filter| handles(filter).with_state(state));
            (route, handles)
        });
        Routes { routes: routes.collect() }
    }

    /// These and those.
    pub fn merge(mut self, others: Routes<S>) -> Routes<S> {
        self.routes.extend(others.routes);
        self
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Routes<S> {
        Routes::new()
    }
}

impl Routes {
    /// The router that serves them, and the policy table it serves them by, in the order of path
    /// and method.
    ///
    /// # Errors
    /// When two routes are the same. (Two templates that differ in a parameter's name alone are
    /// a mistake that stops the router from being made.)
    pub fn into_router(self, edge: Arc<Edge>) -> Result<(Router, Vec<PolicyRow>), RouteError> {
        let mut paths: BTreeMap<String, (PathRows, MethodRouter)> = BTreeMap::new();
        for (route, handles) in self.routes {
            let bad_method = |_| RouteError::Method {
                method: route.method.clone(),
                path: route.path.to_owned(),
            };
            let filter = MethodFilter::try_from(route.method.clone()).map_err(bad_method)?;
            let methods = handles(filter);
            for path in route.paths() {
                let row = row_of(&route, &path, &edge);
                let (rows, served) = paths.entry(path.clone()).or_default();
                if !rows.add(row) {
                    return Err(RouteError::Twice { method: route.method, path });
                }
                *served = std::mem::take(served).merge(methods.clone());
            }
        }
        let mut router = Router::new();
        let mut gate = Gate::new(edge);
        let mut table = Vec::new();
        for (path, (rows, methods)) in paths {
            table.extend(rows.policy(&path));
            router = router.route(&path, methods);
            gate.add(path, rows);
        }
        Ok((router.layer(GateLayer(Arc::new(gate))), table))
    }
}

fn row_of(route: &Route, path: &str, edge: &Edge) -> Row {
    let limits = edge.limits();
    Row {
        method: route.method.clone(),
        who: route.who,
        body_bytes_max: route.body_bytes_max.unwrap_or(limits.body_bytes_max),
        time_max: Duration::from_millis(route.time_ms_max.unwrap_or(limits.request_ms_max)),
        metrics: edge.metrics().route(&route.method, path),
    }
}
