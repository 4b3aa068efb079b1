//! What operators ask of every role: alive, ready, where it stands, what it is, what it counts.

use std::sync::Arc;

use agon_api::Api;
use agon_consumer::{Consumer, PartitionStatus};
use agon_edge::{Code, Problem, Route, Routes, Who};
use agon_producer::source::Standing as SourceStanding;
use agon_projections::row::Value;
use agon_projections::{Row, RowKey};
use agon_schema::{LogId, Position, PositionToken, TopicPartition};
use axum::Json;
use axum::extract::State;
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus::{Encoder, Registry, TextEncoder};
use serde::Serialize;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use crate::log_level;
use crate::metrics::OpsMetrics;
use crate::readiness::{checks, readyz};
use crate::roles::Ports;

/// What the routes of this module look at.
#[derive(Clone)]
pub struct Ops {
    /// Where every counter is registered.
    pub registry: Registry,
    /// What is set at each scrape.
    pub metrics: OpsMetrics,
    /// What the roles stand on.
    pub ports: Ports,
    /// The write side, when the process has it.
    pub has_intake: bool,
    /// The read side, when the process has it.
    pub api: Option<Api>,
    /// The consumer, when the process has it, for as long as it runs.
    pub consumer: Option<Arc<RwLock<Option<Consumer>>>>,
    /// Cancelled once everything that was in the log at the start is folded; only where one
    /// process folds everything.
    pub caught_up: Option<CancellationToken>,
    /// The live stream, when the process reads one.
    pub source: Option<SourceStanding>,
    /// Cancelled when requests should go elsewhere: the process is about to stop.
    pub leaving: CancellationToken,
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
    routes.with_state(ops).merge(log_level::routes())
}

/// `/metrics` alone, for an address of its own.
pub fn metrics_routes(ops: Ops) -> Routes {
    let route = Route::new(Method::GET, "/metrics", Who::Anyone).only_at_root();
    Routes::new().add(route, metrics).with_state(ops)
}

/// The process answers; nothing else is asked.
async fn livez() -> &'static str {
    "ok\n"
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

/// Where the partitions stand: of a consumer those that are its own, else all. Those without
/// records are left out where one process folds everything.
async fn status(State(ops): State<Ops>) -> Result<Json<Status>, Problem> {
    let partitions = match &ops.consumer {
        Some(consumer) => of_consumer(consumer).await?,
        None => of_store(&ops.ports).await?,
    };
    let log = ops.ports.log.id();
    let positions = partitions
        .iter()
        .filter_map(|status| Some(Position { source: status.source, offset: status.applied? }));
    let position = PositionToken::of(log, positions).to_string();
    let is_shown = |status: &&PartitionStatus| match ops.caught_up {
        Some(_) => status.end > 0,
        None => status.is_mine,
    };
    let lines: Vec<_> = partitions.iter().filter(is_shown).map(line).collect();
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

async fn of_consumer(consumer: &RwLock<Option<Consumer>>) -> Result<Vec<PartitionStatus>, Problem> {
    let consumer = consumer.read().await;
    let Some(consumer) = consumer.as_ref() else {
        return Err(Problem::new(Code::Overloaded, "the consumer has stopped").retry_after(1));
    };
    consumer.status().await.map_err(|error| Problem::of_port(&error, Code::LogUnavailable))
}

/// What the store and the log say, whoever folds.
async fn of_store(ports: &Ports) -> Result<Vec<PartitionStatus>, Problem> {
    let ends = ports.log.ends().await;
    let ends = ends.map_err(|error| Problem::of_port(&error, Code::LogUnavailable))?;
    let keys = ends.keys().map(|source| RowKey::Progress(*source)).collect();
    let rows = ports.store.get(keys).await;
    let rows = rows.map_err(|error| Problem::of_port(&error, Code::StoreUnavailable))?;
    let of = |((source, end), row): ((TopicPartition, u64), Option<Row>)| {
        let applied = match row.map(|row| row.value) {
            Some(Value::Progress(progress)) => Some(progress.applied),
            _ => None,
        };
        PartitionStatus { source, is_mine: true, applied, end }
    };
    Ok(ends.into_iter().zip(rows).map(of).collect())
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

/// Everything counted, in Prometheus' text format. What `/readyz` looks at is looked at now.
async fn metrics(State(ops): State<Ops>) -> Result<Response, Problem> {
    ops.metrics.set_checks(&checks(&ops).await);
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    encoder.encode(&ops.registry.gather(), &mut text).map_err(Problem::internal)?;
    Ok(([(CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response())
}
