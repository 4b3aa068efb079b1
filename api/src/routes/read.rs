//! What all reads share: waiting for a position, pages, ids, rows of the store, and how each fails.

use agon_edge::query::invalid;
use agon_edge::{Code, ETag, Parameters, Problem};
use agon_ports::PortError;
use agon_projections::row::{Head, Row, RowKey, Value};
use agon_projections::{Applied, CellKey};
use agon_schema::ids::BadId;
use agon_schema::{BenchmarkId, EnvironmentId, PositionToken};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use tokio::time::Instant;

use crate::api::{Api, HeldError};
use crate::body::to_json;
use crate::cursor::{self, BadCursor};
use crate::held::slot::LoadError;
use crate::progress;
use crate::rendered::JSON;

/// The parameter that every read has.
pub(crate) const MIN_POSITION: &str = "min_position";

/// Waits until the answer will include `min_position`. Answers until when the read may go on
/// waiting for the cell it shows, if a position was given.
pub(crate) async fn reach(api: &Api, query: &Parameters) -> Result<Option<Instant>, Problem> {
    let Some(token) = query.read(MIN_POSITION, str::parse::<PositionToken>)? else {
        return Ok(None);
    };
    let inner = api.inner();
    if !token.is_of(inner.log.id) {
        let detail = "`min_position` was given out by another log; leave it out";
        return Err(Problem::new(Code::PositionOfAnotherLog, detail));
    }
    if token.positions().any(|position| position.source.partition >= inner.log.partitions) {
        return Err(invalid(MIN_POSITION, "names a partition that the log does not have"));
    }
    let deadline = progress::deadline(inner.config.position_wait_ms_max);
    if inner.progress.reaches(&token, deadline).await {
        return Ok(Some(deadline));
    }
    Err(too_late(api))
}

fn too_late(api: &Api) -> Problem {
    let wait_ms = api.inner().config.position_wait_ms_max;
    let detail = format!("not reached within {wait_ms} ms; ask again with the same position");
    Problem::new(Code::PositionNotReached, detail)
}

/// The problem of a cell that is not there.
pub(crate) fn problem_of_held(api: &Api, key: &CellKey, error: HeldError) -> Problem {
    match error {
        HeldError::TooLate => too_late(api),
        HeldError::Load(LoadError::Unknown) => unknown_cell(key),
        HeldError::Load(LoadError::Store(error)) => problem_of_store(&error),
        HeldError::Load(error @ (LoadError::TooLarge { .. } | LoadError::Unsettled { .. })) => {
            Problem::new(Code::Overloaded, format!("the board is not shown: {error}"))
        }
    }
}

/// The problem of a store that failed.
pub(crate) fn problem_of_store(error: &PortError) -> Problem {
    Problem::of_port(error, Code::StoreUnavailable)
}

/// 404 with the code of the cell's kind.
pub(crate) fn unknown_cell(key: &CellKey) -> Problem {
    let code = match key {
        CellKey::Environment(_) => Code::UnknownEnvironment,
        CellKey::Benchmark(_) => Code::UnknownBenchmark,
        CellKey::Stream(_) => Code::NotFound,
    };
    Problem::new(code, format!("{key} is not defined; define it first"))
}

/// The environment of a path; what cannot be an id is not defined either.
pub(crate) fn environment(id: &str) -> Result<CellKey, Problem> {
    let unknown =
        |error: BadId| Problem::new(Code::UnknownEnvironment, format!("the id {id:?} {error}"));
    EnvironmentId::new(id).map(CellKey::Environment).map_err(unknown)
}

/// The benchmark of a path.
pub(crate) fn benchmark(id: &str) -> Result<CellKey, Problem> {
    let unknown =
        |error: BadId| Problem::new(Code::UnknownBenchmark, format!("the id {id:?} {error}"));
    BenchmarkId::new(id).map(CellKey::Benchmark).map_err(unknown)
}

/// The one cell that `environment` or `benchmark` names.
pub(crate) fn cell(query: &Parameters) -> Result<CellKey, Problem> {
    let environment = query.read("environment", |id| EnvironmentId::new(id))?;
    let benchmark = query.read("benchmark", |id| BenchmarkId::new(id))?;
    match (environment, benchmark) {
        (Some(id), None) => Ok(CellKey::Environment(id)),
        (None, Some(id)) => Ok(CellKey::Benchmark(id)),
        (Some(_), Some(_)) => Err(invalid("benchmark", "cannot stand beside `environment`")),
        (None, None) => Err(invalid("environment", "or `benchmark` must be given")),
    }
}

/// Items of a list when nothing is said, and at most.
const LIST_LIMITS: (u64, u64) = (50, 1000);

/// How many items of a list are asked for.
pub(crate) fn limit(query: &Parameters) -> Result<usize, Problem> {
    let (default, max) = LIST_LIMITS;
    // At most 1,000, so it fits.
    Ok(query.number("limit", 1..=max)?.unwrap_or(default) as usize)
}

/// The offset below which a list in falling order goes on.
pub(crate) fn before(query: &Parameters, list: &str) -> Result<Option<u64>, Problem> {
    query.read("cursor", |text| cursor::offset(list, text))
}

/// The id after which a list goes on.
pub(crate) fn after_text(query: &Parameters, list: &str) -> Result<Option<String>, Problem> {
    query.read("cursor", |text| {
        String::from_utf8(cursor::decode(list, text)?).map_err(|_| BadCursor::Foreign)
    })
}

/// Rows of the store by their keys.
pub(crate) async fn rows<const N: usize>(
    api: &Api,
    keys: [RowKey; N],
) -> Result<[Option<Row>; N], Problem> {
    let rows = api.inner().store.get(keys.to_vec()).await.map_err(|e| problem_of_store(&e))?;
    rows.try_into().map_err(|_| Problem::internal("the store answered other keys than asked"))
}

/// The head of a row, if it is one.
pub(crate) fn head_of(row: Option<Row>) -> Option<Head> {
    match row.map(|row| row.value) {
        Some(Value::Head(head)) => Some(head),
        _ => None,
    }
}

/// Whether a row at this offset may be shown: one above the cell's `applied` is not yet whole.
pub(crate) fn is_shown(offset: u64, applied: Applied) -> bool {
    Some(offset) <= applied
}

/// 200 with the value and its tag, or 304.
pub(crate) fn answer(headers: &HeaderMap, value: &impl Serialize) -> Response {
    answer_body(headers, to_json(value))
}

/// The same of a body that is JSON already.
pub(crate) fn answer_body(headers: &HeaderMap, body: Vec<u8>) -> Response {
    ETag::of_bytes(&body).answer(headers, JSON, Bytes::from(body))
}
