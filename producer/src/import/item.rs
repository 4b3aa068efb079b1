//! What a file holds, item by item.

use agon_schema::json::Filling;
use agon_schema::{EnvironmentId, NaturalId, Timestamp};
use uuid::Uuid;

use crate::intake::Entry;

/// One item of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The line it starts on, from 1.
    pub line: u64,
    /// What it is.
    pub parsed: Parsed,
}

/// What a line, a record or a stream event is.
#[derive(Clone, Debug, PartialEq)]
pub enum Parsed {
    /// Something to hand in.
    Entry(Entry),
    /// No event, but kept as a dead letter; with what is wrong.
    Malformed(Entry, String),
    /// A test event of the platform, passed over.
    Canary,
    /// Nothing that can be handed in, and why.
    Bad(String),
}

/// What a matches file is read for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MatchesOf {
    pub environment: EnvironmentId,
    pub now: Timestamp,
}

/// Ids for lines that have none: made from their number and text, so that importing the file
/// again gives the same.
pub(crate) fn filling(line: u64, text: &[u8], now: Timestamp) -> Filling {
    let mut name = format!("{line}\0").into_bytes();
    name.extend_from_slice(text);
    let uuid = Uuid::new_v5(&Uuid::NAMESPACE_OID, &name);
    match NaturalId::new(uuid.to_string()) {
        Ok(natural_id) => Filling { natural_id, now },
        Err(_) => unreachable!("a UUID's text is an id"),
    }
}
