//! A record with what it says: the part of the work that needs no state.

use agon_ports::LogRecord;
use agon_projections::fold::{Marks, read};
use agon_projections::{CellKey, Rejection};
use agon_schema::Event;

/// A record with the event in it, or why there is none.
pub struct Decoded {
    /// As read.
    pub record: LogRecord,
    /// What it says.
    pub event: Result<Told, Rejection>,
}

/// An event with all that is made from it alone.
pub struct Told {
    /// Where it is folded.
    pub cell: CellKey,
    /// The fact.
    pub event: Event,
    /// By what it is known.
    pub marks: Marks,
}

/// Decodes a record of a log with that many partitions a topic.
pub fn decode(record: LogRecord, partitions: u32) -> Decoded {
    let source = record.position.source;
    let event = read(&record.record, source, partitions).map(|event| Told {
        cell: CellKey::of(&event, source),
        marks: Marks::of(&event),
        event,
    });
    Decoded { record, event }
}
