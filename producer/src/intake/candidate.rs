//! One item of a call, encoded, with all that decides about it.

use agon_projections::CellKey;
use agon_projections::fold::refusal_mark;
use agon_schema::codec::{encode_as, encode_malformed_change};
use agon_schema::{ContentHash, Event, Identity, NaturalId, Record, Topic, TopicPartition};

use crate::judge;
use crate::recent::Key;

/// What is handed in.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// An event.
    Event(Event),
    /// A recent change that is no event: it is kept as a dead letter. The bytes are the line.
    MalformedChange(Vec<u8>),
}

/// An entry on its way.
pub(crate) struct Candidate {
    /// Its place in the call.
    pub index: usize,
    /// By what it is known again: its identity, or the mark of what is no event.
    pub key: Key,
    /// Its `ce_id`.
    pub id: Identity,
    pub content: ContentHash,
    pub cell: CellKey,
    pub source: TopicPartition,
    pub record: Record,
}

impl Candidate {
    pub fn new(index: usize, entry: &Entry, source_name: &str, partitions: u32) -> Candidate {
        match entry {
            Entry::Event(event) => {
                let identity = event.identity();
                let record = encode_as(identity, event, source_name, 0);
                let source = TopicPartition::of_key(event.topic(), &record.key, partitions);
                Candidate {
                    index,
                    key: Key { source, identity },
                    id: identity,
                    // The value is the event's canonical bytes.
                    content: ContentHash::of_bytes(&record.value),
                    cell: CellKey::of(event, source),
                    source,
                    record,
                }
            }
            Entry::MalformedChange(line) => {
                let record = encode_malformed_change(line, source_name, 0);
                let source = TopicPartition::of_key(Topic::RecentChange, &record.key, partitions);
                let mark = refusal_mark(&record);
                let id = record.header("ce_id").and_then(|id| std::str::from_utf8(id).ok());
                let id = id.and_then(|id| id.parse::<uuid::Uuid>().ok()).unwrap_or_default();
                Candidate {
                    index,
                    key: Key { source, identity: Identity(mark.0) },
                    id: Identity(id.into_bytes()),
                    content: mark,
                    cell: CellKey::Stream(source.partition),
                    source,
                    record,
                }
            }
        }
    }
}

/// The submission that a run belongs to.
pub(crate) fn submission_of(event: &Event) -> Option<(&NaturalId, Identity)> {
    match event {
        Event::RunScored(run) => {
            Some((&run.submission_id, judge::submission(&run.benchmark, &run.submission_id)))
        }
        _ => None,
    }
}

/// The identity of the definition of a cell, where it has one.
pub(crate) fn definition_of(cell: &CellKey) -> Option<Identity> {
    match cell {
        CellKey::Environment(id) => Some(judge::environment_definition(id)),
        CellKey::Benchmark(id) => Some(judge::benchmark_definition(id)),
        CellKey::Stream(_) => None,
    }
}
