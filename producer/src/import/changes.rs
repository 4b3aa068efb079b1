//! Recorded recent changes: an event a line, or the stream as the server sent it.

use std::collections::VecDeque;

use agon_schema::Event;
use agon_schema::wikimedia::{self, Line};

use super::csv::too_long;
use super::item::{Item, Parsed};
use super::lines::{LINE_BYTES_MAX, Lines};
use crate::intake::Entry;
use crate::source::sse::{Parser, Piece};

/// What one event's bytes are. What is no event is kept as a dead letter.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    match wikimedia::parse(bytes) {
        Ok(Line::Change(change)) => Parsed::Entry(Entry::Event(Event::RecentChange(change))),
        Ok(Line::Canary) => Parsed::Canary,
        Err(reason) => Parsed::Malformed(Entry::MalformedChange(bytes.to_vec()), reason),
    }
}

/// The events of a recorded stream of server-sent events.
pub(crate) struct SseEvents {
    lines: Lines,
    parser: Parser,
    /// What the last chunk held.
    ready: VecDeque<Item>,
    is_over: bool,
}

impl SseEvents {
    pub fn new(lines: Lines) -> SseEvents {
        let parser = Parser::new(LINE_BYTES_MAX);
        SseEvents { lines, parser, ready: VecDeque::new(), is_over: false }
    }

    /// The next event that has data. Comments, names and ids are passed over.
    pub fn next(&mut self) -> Option<Item> {
        while self.ready.is_empty() && !self.is_over {
            match self.lines.chunk(self.parser.lines()) {
                // What the file ends with counts as an event; one that was cut is malformed.
                Ok([]) => {
                    self.is_over = true;
                    take(&mut self.parser, b"\n\n", &mut self.ready);
                }
                Ok(chunk) => {
                    take(&mut self.parser, chunk, &mut self.ready);
                    let bytes = chunk.len();
                    self.lines.used(bytes);
                }
                Err(reason) => {
                    self.is_over = true;
                    self.ready.push_back(bad(self.parser.lines() + 1, reason));
                }
            }
        }
        self.ready.pop_front()
    }
}

fn take(parser: &mut Parser, mut chunk: &[u8], ready: &mut VecDeque<Item>) {
    while let Some(piece) = parser.next(&mut chunk) {
        ready.push_back(match piece {
            Piece::Event { line, data } => Item { line, parsed: parse(data) },
            Piece::TooLong { line } => bad(line, too_long()),
            Piece::Retry(_) => continue,
        });
    }
}

fn bad(line: u64, reason: String) -> Item {
    Item { line, parsed: Parsed::Bad(reason) }
}
