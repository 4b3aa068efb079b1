//! Recorded recent changes: an event a line, or the stream as the server sent it.

use agon_schema::Event;
use agon_schema::wikimedia::{self, Line};

use super::csv::too_long;
use super::item::{Item, Parsed};
use super::lines::{LINE_BYTES_MAX, Lines, Next};
use crate::intake::Entry;

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
    line: Vec<u8>,
    data: Vec<u8>,
    /// Where the data began, while there are any.
    first_line: Option<u64>,
    is_over: bool,
}

impl SseEvents {
    pub fn new(lines: Lines) -> SseEvents {
        SseEvents { lines, line: Vec::new(), data: Vec::new(), first_line: None, is_over: false }
    }

    /// The next event that has data. Comments, names and ids are passed over.
    pub fn next(&mut self) -> Option<Item> {
        while !self.is_over {
            self.line.clear();
            let next = self.lines.next(&mut self.line);
            let line = self.lines.number();
            match next {
                Next::Line if self.line.is_empty() => {}
                Next::Line => {
                    if let Some(reason) = self.take_field(line) {
                        return Some(bad(line, reason));
                    }
                    continue;
                }
                Next::TooLong => {
                    self.clear();
                    return Some(bad(line, too_long()));
                }
                Next::Broken(reason) => {
                    self.is_over = true;
                    return Some(bad(line + 1, reason));
                }
                // What the file ends with counts as an event; one that was cut is malformed.
                Next::End => self.is_over = true,
            }
            if let Some(line) = self.first_line.take() {
                let parsed = parse(&self.data);
                self.clear();
                return Some(Item { line, parsed });
            }
        }
        None
    }

    /// Takes in a line of the form `field: value`.
    fn take_field(&mut self, line: u64) -> Option<String> {
        let value = self.line.strip_prefix(b"data:")?;
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if self.first_line.is_some() {
            self.data.push(b'\n');
        }
        self.first_line.get_or_insert(line);
        self.data.extend_from_slice(value);
        if self.data.len() > LINE_BYTES_MAX {
            self.clear();
            return Some(too_long());
        }
        None
    }

    fn clear(&mut self) {
        self.data.clear();
        self.first_line = None;
    }
}

fn bad(line: u64, reason: String) -> Item {
    Item { line, parsed: Parsed::Bad(reason) }
}
