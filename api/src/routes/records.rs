//! GET /events, GET /dead-letters, one dead letter, and its replay: what operators do. The bodies
//! are those of `body::records`, which commands on a directory print too.

use std::sync::Arc;

use agon_edge::{Code, PathParameters, Problem, QueryString};
use agon_ports::EventLog;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::read;
use crate::api::Api;
use crate::body::records;
use crate::rendered::JSON;
use crate::replay::{self, ReplayError};

/// The read side with the log itself.
#[derive(Clone)]
pub(crate) struct Records {
    pub api: Api,
    pub log: Arc<dyn EventLog>,
}

pub(crate) async fn list(
    State(Records { log, .. }): State<Records>,
    query: QueryString,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = read::limit(&query.only(&["limit"])?)?;
    let body = records::events_body(log.as_ref(), limit).await;
    let body = body.map_err(|error| Problem::of_port(&error, Code::LogUnavailable))?;
    Ok(read::answer_body(&headers, body))
}

pub(crate) async fn dead_letters(
    State(Records { api, .. }): State<Records>,
    query: QueryString,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&["limit", "cursor", read::MIN_POSITION])?;
    let limit = read::limit(&query)?;
    let after = query.read("cursor", records::dead_letter_cursor)?;
    read::reach(&api, &query).await?;
    let body = records::dead_letters_body(api.inner().store.as_ref(), after, limit).await;
    Ok(read::answer_body(&headers, body.map_err(|error| read::problem_of_store(&error))?))
}

pub(crate) async fn dead_letter(
    State(Records { api, log }): State<Records>,
    PathParameters(id): PathParameters<String>,
    query: QueryString,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.only(&[read::MIN_POSITION])?;
    let unknown = || Problem::new(Code::NotFound, format!("{id:?} is no dead letter"));
    let position = records::parse_record_id(&id).ok_or_else(unknown)?;
    read::reach(&api, &query).await?;
    let store = api.inner().store.as_ref();
    let body = records::dead_letter_body(log.as_ref(), store, position).await;
    let body = body.map_err(|error| Problem::of_port(&error, Code::LogUnavailable))?;
    Ok(read::answer_body(&headers, body.ok_or_else(unknown)?))
}

pub(crate) async fn replay(
    State(Records { api, log }): State<Records>,
    PathParameters(id): PathParameters<String>,
    query: QueryString,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let unknown = || Problem::new(Code::NotFound, format!("{id:?} is no dead letter"));
    let position = records::parse_record_id(&id).ok_or_else(unknown)?;
    let (store, log) = (api.inner().store.as_ref(), log.as_ref());
    let now_ms = api.inner().clock.now().micros().div_euclid(1000);
    let replayed = replay::replay(log, store, position, now_ms).await;
    let replayed = replayed.map_err(|error| match error {
        ReplayError::Unknown { .. } => unknown(),
        ReplayError::Hopeless { .. } => Problem::new(Code::InvalidField, error.to_string()),
        ReplayError::Store(error) => read::problem_of_store(&error),
        ReplayError::Log(error) => Problem::of_port(&error, Code::LogUnavailable),
    })?;
    let body = replay::replayed_body(log.id(), &replayed);
    Ok((StatusCode::ACCEPTED, [(CONTENT_TYPE, JSON)], body).into_response())
}
