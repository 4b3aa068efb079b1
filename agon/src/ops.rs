//! What operators ask of every role: alive, ready, where it stands, what it is, what it counts.

use std::sync::Arc;

use agon_api::Api;
use agon_consumer::{Consumer, PartitionStatus};
use agon_edge::{Code, Problem, Route, Routes, Who};
use agon_ports::EventLog;
use agon_schema::{LogId, Position, PositionToken};
use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use prometheus::{Encoder, IntGaugeVec, Opts, Registry, TextEncoder};
use serde::Serialize;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

/// What the routes of this module look at.
#[derive(Clone)]
pub struct Ops {
    /// Where every counter is registered.
    pub registry: Registry,
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// The read side.
    pub api: Api,
    /// The consumer, for as long as it runs.
    pub consumer: Arc<RwLock<Option<Consumer>>>,
    /// Cancelled once everything that was in the log at the start is folded.
    pub caught_up: CancellationToken,
    /// Cancelled when the process is to stop.
    pub stop: CancellationToken,
}

/// The routes; `/metrics` only when it has no address of its own.
pub fn routes(ops: Ops, with_metrics: bool) -> Routes {
    let at_root = |path| Route::new(Method::GET, path, Who::Anyone).only_at_root();
    let routes = Routes::new()
        .add(at_root("/livez"), livez)
        .add(at_root("/readyz"), readyz)
        .add(at_root("/status"), status)
        .add(at_root("/version"), version);
    let routes = if with_metrics { routes.add(at_root("/metrics"), metrics) } else { routes };
    routes.with_state(ops)
}

/// `/metrics` alone, for an address of its own.
pub fn metrics_routes(ops: Ops) -> Routes {
    let route = Route::new(Method::GET, "/metrics", Who::Anyone).only_at_root();
    Routes::new().add(route, metrics).with_state(ops)
}

/// Registers `agon_build_info`.
///
/// # Errors
/// When the name is taken.
pub fn register_build_info(registry: &Registry) -> Result<(), prometheus::Error> {
    let opts = Opts::new("agon_build_info", "The running version; always 1.");
    let info = IntGaugeVec::new(opts, &["version", "fold_version"])?;
    registry.register(Box::new(info.clone()))?;
    let fold_version = agon_projections::FOLD_VERSION.to_string();
    info.with_label_values(&[env!("CARGO_PKG_VERSION"), &fold_version]).set(1);
    Ok(())
}

/// The process answers; nothing else is asked.
async fn livez() -> &'static str {
    "ok\n"
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

/// Whether requests should come here: the log answers, what was there at the start is folded, and
/// the process is not stopping.
async fn readyz(State(ops): State<Ops>) -> Response {
    let log = match ops.log.ends().await {
        Ok(ends) => (true, format!("{} records", ends.values().sum::<u64>())),
        Err(error) => (false, error.to_string()),
    };
    let folded = match ops.caught_up.is_cancelled() {
        true => "what was in the log at the start is folded",
        false => "still folding what was in the log at the start",
    };
    let reads = ops.api.readiness();
    let stale = format!("{} boards wait to be read again", reads.cells_stale);
    let stopping = ops.stop.is_cancelled();
    let checks = vec![
        Check { name: "log", ok: log.0, detail: log.1 },
        Check { name: "folded", ok: ops.caught_up.is_cancelled(), detail: folded.into() },
        Check { name: "boards", ok: reads.is_ready(), detail: stale },
        Check { name: "running", ok: !stopping, detail: format!("stopping: {stopping}") },
    ];
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, checks })).into_response()
}

#[derive(Serialize)]
struct Status {
    version: &'static str,
    fold_version: u32,
    generation: u32,
    log: LogId,
    position: String,
    records: u64,
    lag_records: u64,
    partitions: Vec<PartitionLine>,
}

#[derive(Serialize)]
struct PartitionLine {
    topic: &'static str,
    partition: u32,
    applied: Option<u64>,
    end: u64,
    lag_records: u64,
}

fn line(status: &PartitionStatus) -> PartitionLine {
    PartitionLine {
        topic: status.source.topic.name(),
        partition: status.source.partition,
        applied: status.applied,
        end: status.end,
        lag_records: status.end.saturating_sub(status.applied.map_or(0, |applied| applied + 1)),
    }
}

/// Where every partition stands; those without records are left out.
async fn status(State(ops): State<Ops>) -> Result<Json<Status>, Problem> {
    let consumer = ops.consumer.read().await;
    let Some(consumer) = consumer.as_ref() else {
        return Err(Problem::new(Code::Overloaded, "the consumer has stopped").retry_after(1));
    };
    let partitions =
        consumer.status().await.map_err(|error| Problem::of_port(&error, Code::LogUnavailable))?;
    let log = ops.log.id();
    let positions = partitions
        .iter()
        .filter_map(|status| Some(Position { source: status.source, offset: status.applied? }));
    let position = PositionToken::of(log, positions).to_string();
    let lines: Vec<_> = partitions.iter().filter(|status| status.end > 0).map(line).collect();
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        fold_version: agon_projections::FOLD_VERSION,
        generation: agon_projections::GENERATION,
        log,
        position,
        records: lines.iter().map(|line| line.end).sum(),
        lag_records: lines.iter().map(|line| line.lag_records).sum(),
        partitions: lines,
    }))
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
    fold_version: u32,
}

async fn version() -> Json<Version> {
    let version = env!("CARGO_PKG_VERSION");
    Json(Version { version, fold_version: agon_projections::FOLD_VERSION })
}

/// Everything counted, in Prometheus' text format.
async fn metrics(State(ops): State<Ops>) -> Result<Response, Problem> {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    encoder.encode(&ops.registry.gather(), &mut text).map_err(Problem::internal)?;
    Ok(([(CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response())
}
