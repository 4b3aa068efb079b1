//! What a write is answered with.

use agon_edge::{Code, FieldError, JsonError, Problem};
use agon_projections::{Reason, Rejection};
use agon_schema::event::Invalid;
use agon_schema::{LogId, Position, PositionToken};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::intake::{IntakeError, Submitted};

/// What is wrong with one item.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// What a single write is answered with.
    pub code: Code,
    /// The code within a batch and of the field.
    pub word: &'static str,
    /// JSON pointer into the item; empty for the whole.
    pub pointer: String,
    pub detail: String,
}

impl From<JsonError> for Fault {
    fn from(error: JsonError) -> Fault {
        let JsonError { code, pointer, detail } = error;
        Fault { code, word: code.text(), pointer, detail }
    }
}

impl From<Invalid> for Fault {
    fn from(Invalid { pointer, detail }: Invalid) -> Fault {
        let code = Code::InvalidField;
        let detail = format!("{pointer} {detail}");
        Fault { code, word: code.text(), pointer, detail }
    }
}

impl From<&Rejection> for Fault {
    fn from(rejection: &Rejection) -> Fault {
        let (code, pointer) = match rejection.reason {
            Reason::UnknownEnvironment => (Code::UnknownEnvironment, "/environment"),
            Reason::UnknownBenchmark => (Code::UnknownBenchmark, "/benchmark"),
            Reason::UnknownSubmission => (Code::UnknownSubmission, "/submission_id"),
            Reason::ConflictingDuplicate => (Code::ConflictingDuplicate, ""),
            Reason::MissingMetric => (Code::InvalidField, "/metrics"),
            _ => (Code::InvalidField, ""),
        };
        Fault {
            code,
            word: rejection.reason.code(),
            pointer: pointer.to_owned(),
            detail: rejection.detail.clone(),
        }
    }
}

fn conflict(log: LogId, first: Position) -> Fault {
    let code = Code::ConflictingDuplicate;
    let detail = format!(
        "position {} holds other content under this id; send a new id, or what was sent first",
        PositionToken::of(log, [first])
    );
    Fault { code, word: code.text(), pointer: String::new(), detail }
}

/// Where an event stands, or why it does not count.
fn place(log: LogId, outcome: &Submitted) -> Result<(Position, bool), Fault> {
    match outcome {
        Submitted::Appended { position, .. } => Ok((*position, false)),
        Submitted::Duplicate { position, .. } => Ok((*position, true)),
        Submitted::Conflict { first, .. } => Err(conflict(log, *first)),
        Submitted::Refused { rejection, .. } => Err(rejection.into()),
    }
}

/// The answer to a single write.
pub(crate) fn one(log: LogId, outcome: &Submitted) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Answer {
        event_id: String,
        position: String,
        duplicate: bool,
    }
    let (position, duplicate) = place(log, outcome)?;
    let answer = Answer {
        event_id: outcome.id().uuid().to_string(),
        position: PositionToken::of(log, [position]).to_string(),
        duplicate,
    };
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

#[derive(Serialize)]
struct Rejected {
    index: usize,
    code: &'static str,
    detail: String,
    pointer: String,
}

impl Rejected {
    fn new(index: usize, fault: Fault) -> Rejected {
        let pointer = format!("/{index}{}", fault.pointer);
        Rejected { index, code: fault.word, detail: fault.detail, pointer }
    }
}

#[derive(Serialize)]
struct BatchAnswer {
    accepted: usize,
    duplicates: usize,
    rejected: Vec<Rejected>,
    position: String,
}

/// The answer to a batch: `places` are the items that went to the intake, in its order.
pub(crate) fn many(
    log: LogId,
    places: Vec<(usize, Option<Fault>)>,
    submitted: &[Submitted],
    faults: Vec<(usize, Fault)>,
) -> Result<Response, Problem> {
    let mut position = PositionToken::start(log);
    let mut answer =
        BatchAnswer { accepted: 0, duplicates: 0, rejected: Vec::new(), position: String::new() };
    let mut rejected: Vec<Rejected> =
        faults.into_iter().map(|(index, fault)| Rejected::new(index, fault)).collect();
    for ((index, fault), outcome) in places.into_iter().zip(submitted) {
        let placed = place(log, outcome);
        if let Ok((at, _)) = &placed {
            position.raise(*at);
        }
        match (fault, placed) {
            (Some(fault), _) | (None, Err(fault)) => rejected.push(Rejected::new(index, fault)),
            (None, Ok((_, true))) => answer.duplicates += 1,
            (None, Ok((_, false))) => answer.accepted += 1,
        }
    }
    rejected.sort_by_key(|rejected| rejected.index);
    answer.rejected = rejected;
    if answer.accepted + answer.duplicates == 0 {
        return Err(none_accepted(answer));
    }
    answer.position = position.to_string();
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// A problem that carries the members of a batch's answer as well.
fn none_accepted(answer: BatchAnswer) -> Problem {
    let detail = format!("none of {} items was accepted; see errors", answer.rejected.len());
    let rejected = serde_json::to_value(&answer.rejected)
        .unwrap_or_else(|error| unreachable!("strings and numbers are JSON: {error}"));
    let problem = Problem::new(Code::NoneAccepted, detail)
        .member("accepted", answer.accepted.into())
        .member("duplicates", answer.duplicates.into())
        .member("rejected", rejected);
    answer.rejected.into_iter().fold(problem, |problem, rejected| {
        problem.error(FieldError::new(rejected.pointer, rejected.code, rejected.detail))
    })
}

/// A call that the intake did not acknowledge.
pub(crate) fn not_taken(error: &IntakeError) -> Problem {
    let problem = |code, detail: &str| Problem::new(code, detail).cause(error);
    match error {
        IntakeError::Overloaded { .. } => {
            problem(Code::Overloaded, "too many writes wait for the log; try again")
        }
        IntakeError::TooMuch { .. } => Problem::new(Code::BodyTooLarge, error.to_string()),
        IntakeError::LogAway { .. } => {
            problem(Code::LogUnavailable, "nothing is acknowledged; try again with the same ids")
        }
        IntakeError::LogRefused { .. } => Problem::internal(error),
        IntakeError::Closed => problem(Code::NotReady, "the server is on its way down"),
    }
}
