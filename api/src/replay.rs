//! A dead letter once more: its record is appended again under its own id. What it missed may be
//! there by now; only events that took effect are remembered, so it counts then, and once.

use agon_ports::{Append, EventLog, PortError, ProjectionStore};
use agon_projections::Rejection;
use agon_projections::fold::read;
use agon_schema::{LogId, Position, PositionToken, Record};
use serde::Serialize;
use thiserror::Error;

use crate::body::records::{self, record_id};
use crate::body::to_json;

/// Why a dead letter was not appended again.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The record counts, or is not there.
    #[error("replay {id}: it is no dead letter; list them by `agon events dead-letters list`")]
    Unknown {
        /// The record's id.
        id: String,
    },
    /// Whatever comes, the same record would be rejected again.
    #[error(
        "replay {id}: it would only be rejected again ({}: {}); send what is right under a new id",
        .rejection.reason, .rejection.detail
    )]
    Hopeless {
        /// The record's id.
        id: String,
        /// Why.
        rejection: Rejection,
    },
    /// The store could not be read.
    #[error(transparent)]
    Store(PortError),
    /// The log gave nothing or took nothing.
    #[error(transparent)]
    Log(PortError),
}

/// A record that was appended again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Its `ce_id`, the same as before.
    pub event_id: String,
    /// Where the copy stands.
    pub position: Position,
}

/// Appends the record behind a dead letter again: the same key, headers and value to the same
/// partition, with this time of appending (milliseconds since the epoch).
///
/// # Errors
/// See [`ReplayError`]; nothing was appended, unless the log lost its answer.
pub async fn replay(
    log: &dyn EventLog,
    store: &dyn ProjectionStore,
    position: Position,
    appended_at_ms: i64,
) -> Result<Replayed, ReplayError> {
    let id = record_id(position);
    let letter = records::dead_letter_at(store, position).await.map_err(ReplayError::Store)?;
    let Some(letter) = letter else { return Err(ReplayError::Unknown { id }) };
    if letter.rejection.reason.is_final() {
        return Err(ReplayError::Hopeless { id, rejection: letter.rejection });
    }
    let record = records::record_at(log, position).await.map_err(ReplayError::Log)?;
    let target = position.source;
    if let Err(rejection) = read(&record, target, log.partitions()) {
        return Err(ReplayError::Hopeless { id, rejection });
    }
    let event_id = String::from_utf8_lossy(record.header("ce_id").unwrap_or_default()).into_owned();
    let record = Record { appended_at_ms, ..record };
    let appended = log.append(vec![Append { target, record }]).await.map_err(ReplayError::Log)?;
    let Some(position) = appended.into_iter().next() else {
        let error = PortError::never(format!("append {id} again"), "the log answered no position");
        return Err(ReplayError::Log(error));
    };
    Ok(Replayed { event_id, position })
}

/// What was appended again, as any write is answered.
pub fn replayed_body(log: LogId, replayed: &Replayed) -> Vec<u8> {
    #[derive(Serialize)]
    struct Answer<'a> {
        event_id: &'a str,
        position: String,
        duplicate: bool,
    }
    let position = PositionToken::of(log, [replayed.position]).to_string();
    to_json(&Answer { event_id: &replayed.event_id, position, duplicate: false })
}
