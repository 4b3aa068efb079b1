//! `/log-level`: what this process logs, to be looked at and changed while it runs. The change ends
//! with the process; what it starts with is `--log-level`.

use agon_edge::{Caller, Code, FieldError, JsonBody, Problem, RequestId, Role, Route, Routes, Who};
use axum::Json;
use axum::http::Method;
use serde::{Deserialize, Serialize};

use crate::telemetry::{AUDIT, LogLevel};

/// The routes; lines may show what callers send, so they are an admin's.
pub fn routes() -> Routes {
    let route = |method| Route::new(method, "/log-level", Who::Role(Role::Admin));
    Routes::new().add(route(Method::GET), get).add(route(Method::PUT), put)
}

/// A filter as `--log-level` takes it.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Level {
    filter: String,
}

fn of_process() -> Result<&'static LogLevel, Problem> {
    LogLevel::of_process().ok_or_else(|| Problem::internal("logging was not started"))
}

async fn get() -> Result<Json<Level>, Problem> {
    Ok(Json(Level { filter: of_process()?.filter() }))
}

async fn put(
    caller: Caller,
    id: RequestId,
    JsonBody(level): JsonBody<Level>,
) -> Result<Json<Level>, Problem> {
    let before = of_process()?.set(&level.filter).map_err(|reason| {
        let error = FieldError::new("/filter", Code::InvalidField.text(), reason.as_str());
        Problem::new(Code::InvalidField, reason).error(error)
    })?;
    let (by, after, request_id) = (caller.name(), level.filter.as_str(), id.as_str());
    tracing::info!(target: AUDIT, by, before, after, request_id, "the log level was changed");
    Ok(Json(level))
}
