//! What operators ask of every role: alive, ready, where it stands, what it is, what it counts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agon_api::Api;
use agon_consumer::{Consumer, PartitionStatus, Standing};
use agon_edge::{Code, Problem, Route, Routes, Who};
use agon_ports::PortError;
use agon_producer::source::Standing as SourceStanding;
use agon_projections::row::Value;
use agon_projections::{Row, RowKey};
use agon_schema::{LogId, Position, PositionToken, Topic, TopicPartition};
use axum::Json;
use axum::extract::State;
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus::{Encoder, IntGaugeVec, Opts, Registry, TextEncoder};
use serde::Serialize;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use crate::roles::Ports;

/// What the routes of this module look at.
#[derive(Clone)]
pub struct Ops {
    /// Where every counter is registered.
    pub registry: Registry,
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

#[derive(Debug, Serialize)]
struct Ready {
    ready: bool,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    /// Whether requests should go elsewhere while it is not ok.
    required: bool,
    detail: String,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.detail)
    }
}

impl Check {
    fn of(name: &'static str, required: bool, found: Result<String, String>) -> Check {
        let ok = found.is_ok();
        Check { name, ok, required, detail: found.unwrap_or_else(|reason| reason) }
    }
}

/// How long a check waits for a server.
const CHECK_WAIT: Duration = Duration::from_secs(2);

async fn answered<T>(call: impl Future<Output = Result<T, PortError>>) -> Result<T, String> {
    match tokio::time::timeout(CHECK_WAIT, call).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", CHECK_WAIT.as_secs())),
    }
}

/// Whether requests should come here: what its roles cannot do without is there, and the process
/// is not stopping. What they can do without is shown all the same.
async fn readyz(State(ops): State<Ops>) -> Result<Json<Ready>, Problem> {
    let (log, store) = tokio::join!(log_check(&ops), store_check(&ops));
    let stopping = ops.stop.is_cancelled();
    let running = if stopping { Err("stopping".to_owned()) } else { Ok("running".to_owned()) };
    let mut checks = vec![log, store];
    checks.extend(folded_check(&ops));
    checks.extend(share_check(&ops).await);
    checks.extend(boards_check(&ops));
    checks.extend(feed_check(&ops));
    checks.extend(source_check(&ops));
    checks.push(Check::of("running", true, running));
    ready(checks)
}

/// All checks, in a problem when one fails that requests should go elsewhere for.
fn ready(checks: Vec<Check>) -> Result<Json<Ready>, Problem> {
    let fails = |check: &&Check| check.required && !check.ok;
    let failing: Vec<String> = checks.iter().filter(fails).map(Check::to_string).collect();
    if failing.is_empty() {
        return Ok(Json(Ready { ready: true, checks }));
    }
    let checks = serde_json::to_value(checks).map_err(Problem::internal)?;
    let problem = Problem::new(Code::NotReady, failing.join("; ")).retry_after(1);
    Err(problem.member("ready", false.into()).member("checks", checks))
}

/// Writes and folds need the log; boards are read without it.
async fn log_check(ops: &Ops) -> Check {
    let ends = answered(ops.ports.log.ends()).await;
    let found = ends.map(|ends| format!("{} records", ends.values().sum::<u64>()));
    Check::of("log", ops.has_intake || ops.consumer.is_some(), found)
}

/// Folds need the store; writes and boards in memory go on without it.
async fn store_check(ops: &Ops) -> Check {
    let first = TopicPartition { topic: Topic::Matches, partition: 0 };
    let answer = answered(ops.ports.store.get(vec![RowKey::Progress(first)])).await;
    Check::of("store", ops.consumer.is_some(), answer.map(|_| "answers".to_owned()))
}

fn folded_check(ops: &Ops) -> Option<Check> {
    let found = match ops.caught_up.as_ref()?.is_cancelled() {
        true => Ok("what was in the log at the start is folded".to_owned()),
        false => Err("still folding what was in the log at the start".to_owned()),
    };
    Some(Check::of("folded", true, found))
}

/// A member of a group is ready when it has its share, be it an empty one, and stands where the
/// store does.
async fn share_check(ops: &Ops) -> Option<Check> {
    if ops.caught_up.is_some() {
        return None;
    }
    let consumer = ops.consumer.as_ref()?.read().await;
    let found = match consumer.as_ref().map(Consumer::standing) {
        Some(standing) if standing.is_ready() => {
            Ok(format!("{} partitions", standing.partitions.len()))
        }
        Some(Standing { phase, hindrance: None, .. }) => Err(phase.name().to_owned()),
        Some(Standing { phase, hindrance: Some(reason), .. }) => {
            Err(format!("{}: {reason}", phase.name()))
        }
        None => Err("the consumer has stopped".to_owned()),
    };
    Some(Check::of("share", true, found))
}

fn boards_check(ops: &Ops) -> Option<Check> {
    let reads = ops.api.as_ref()?.readiness();
    let stale = format!("{} boards wait to be read again", reads.cells_stale);
    let found = if reads.is_ready() { Ok(stale) } else { Err(stale) };
    Some(Check::of("boards", true, found))
}

/// How old what is shown may be: boards are served on when nobody tells of news.
fn feed_check(ops: &Ops) -> Option<Check> {
    let reads = ops.api.as_ref()?.readiness();
    let silence = format!(
        "silent for {} ms of at most {}, {} partitions too long",
        reads.silence_ms, reads.staleness_ms_max, reads.partitions_silent
    );
    Some(Check::of("feed", false, if reads.is_fresh() { Ok(silence) } else { Err(silence) }))
}

/// Reads and writes go on while the stream of another is waited for.
fn source_check(ops: &Ops) -> Option<Check> {
    Some(Check::of("source", false, ops.source.as_ref()?.get()))
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

/// Everything counted, in Prometheus' text format.
async fn metrics(State(ops): State<Ops>) -> Result<Response, Problem> {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    encoder.encode(&ops.registry.gather(), &mut text).map_err(Problem::internal)?;
    Ok(([(CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_and_what_is_not_required_is_only_told() {
        let check = |name, required, ok| {
            let found = if ok { Ok("answers".to_owned()) } else { Err("is away".to_owned()) };
            Check::of(name, required, found)
        };
        let told = ready(vec![check("log", true, true), check("store", false, false)]).unwrap();
        assert!(told.ready && told.checks.len() == 2);

        let problem = ready(vec![check("log", true, false), check("store", false, false)]);
        let problem = problem.unwrap_err();
        assert_eq!((problem.code(), problem.detail()), (Code::NotReady, "log: is away"));
        let named = serde_json::json!([
            {"name": "log", "ok": false, "required": true, "detail": "is away"},
            {"name": "store", "ok": false, "required": false, "detail": "is away"},
        ]);
        let expected = Problem::new(Code::NotReady, "log: is away").retry_after(1);
        assert_eq!(problem, expected.member("ready", false.into()).member("checks", named));
    }
}
