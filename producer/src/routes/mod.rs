//! The HTTP intake: POST /environments, /benchmarks, /matches, /submissions, /scores and
//! /recentchanges, each with one object, an array, or a value a line.

mod answer;
mod bodies;
mod idempotency;
mod items;

use std::sync::Arc;

use agon_edge::{Caller, FieldError, Payload, Problem, Role, Route, Routes, Who};
use agon_schema::json::{
    BenchmarkBody, EnvironmentBody, Filling, MatchBody, ScoreBody, SubmissionBody,
};
use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::response::Response;

use crate::intake::{Entry, Intake, OnConflict};
use answer::Fault;
use bodies::{ChangeBody, WriteBody};
use idempotency::Ids;
use items::{ITEMS_MAX, Items};

/// Bytes of one body.
const BODY_BYTES_MAX: u64 = 8 << 20;

/// The routes of the write side, each with the role it needs.
pub fn routes(intake: Intake) -> Routes {
    let route = |path| {
        Route::new(Method::POST, path, Who::Role(Role::Producer)).body_bytes_max(BODY_BYTES_MAX)
    };
    Routes::new()
        .add(route("/environments"), write::<EnvironmentBody>)
        .add(route("/benchmarks"), write::<BenchmarkBody>)
        .add(route("/matches").also_at_root(), write::<MatchBody>)
        .add(route("/submissions").also_at_root(), write::<SubmissionBody>)
        .add(route("/scores"), write::<ScoreBody>)
        .add(route("/recentchanges"), write::<ChangeBody>)
        .with_state(intake)
}

/// Answers a write after the log has what is new of it.
async fn write<B: WriteBody>(
    State(intake): State<Intake>,
    caller: Caller,
    headers: HeaderMap,
    payload: Payload,
) -> Result<Response, Problem> {
    let ids = Ids::of(&headers, caller.name(), B::ROUTE)?;
    match Items::of(&payload)? {
        Items::One(bytes) => one::<B>(&intake, &ids, bytes).await,
        Items::Many(items) => many::<B>(&intake, &ids, &items).await,
        Items::TooMany => {
            let detail = format!("at most {ITEMS_MAX} items are taken at once; send fewer");
            Err(Problem::new(agon_edge::Code::BodyTooLarge, detail))
        }
    }
}

fn read<B: WriteBody>(
    intake: &Intake,
    ids: &Ids,
    index: usize,
    bytes: &[u8],
) -> Result<Accepted, Fault> {
    let fill = Filling { natural_id: ids.natural_id(index), now: intake.clock().now() };
    B::read(bytes, &fill)
}

/// An item that goes to the intake.
pub(crate) struct Accepted {
    pub entry: Entry,
    /// Why it counts as rejected although it is kept.
    pub fault: Option<Fault>,
}

async fn one<B: WriteBody>(intake: &Intake, ids: &Ids, bytes: &[u8]) -> Result<Response, Problem> {
    let Accepted { entry, fault } = read::<B>(intake, ids, 0, bytes)?;
    let submitted = submit(intake, vec![entry]).await?;
    if let Some(fault) = fault {
        return Err(fault.into());
    }
    let Some(outcome) = submitted.into_iter().next() else {
        return Err(Problem::internal("the intake answered nothing for one event"));
    };
    answer::one(intake.log_id(), &outcome)
}

async fn many<B: WriteBody>(
    intake: &Intake,
    ids: &Ids,
    items: &[&[u8]],
) -> Result<Response, Problem> {
    let mut entries = Vec::with_capacity(items.len());
    let mut places = Vec::with_capacity(items.len());
    let mut rejected = Vec::new();
    for (index, bytes) in items.iter().enumerate() {
        match read::<B>(intake, ids, index, bytes) {
            Ok(Accepted { entry, fault }) => {
                entries.push(entry);
                places.push((index, fault));
            }
            Err(fault) => rejected.push((index, fault)),
        }
    }
    let submitted = match entries.is_empty() {
        true => Vec::new(),
        false => submit(intake, entries).await?,
    };
    answer::many(intake.log_id(), places, &submitted, rejected)
}

async fn submit(
    intake: &Intake,
    entries: Vec<Entry>,
) -> Result<Vec<crate::intake::Submitted>, Problem> {
    let ticket = intake.admit(Arc::new(entries), OnConflict::Refuse, None).await;
    let submitted = match ticket {
        Ok(ticket) => ticket.wait().await,
        Err(error) => Err(error),
    };
    submitted.map_err(|error| answer::not_taken(&error))
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Problem {
        let problem = Problem::new(fault.code, fault.detail.as_str());
        if fault.pointer.is_empty() {
            return problem;
        }
        problem.error(FieldError::new(fault.pointer, fault.word, fault.detail))
    }
}
