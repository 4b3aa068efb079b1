//! Server-sent events, read from bytes that may be cut anywhere; pure, and bounded by one limit.
//!
//! As the HTML standard has it: lines end with CR, LF or CRLF, a byte order mark at the start is
//! no content, lines that begin with a colon are comments, several `data` lines are one text.
//! Two departures, both so that nothing is skipped or grows: a line over the limit spoils its
//! event and is passed over, and an id that could not be sent back leaves the one before in place.

use std::sync::Arc;

const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];
/// Bytes of an id that is taken; servers refuse longer headers.
const ID_BYTES_MAX: usize = 4096;

/// What the bytes say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// An event: an empty line ended it.
    Event {
        /// The line of its first data, from 1.
        line: u64,
        /// Its data lines, joined by line feeds.
        data: &'a [u8],
    },
    /// A line, or the lines of an event, that are over the limit and were passed over.
    TooLong {
        /// The line, from 1.
        line: u64,
    },
    /// How long to wait before connecting again, in milliseconds.
    Retry(u64),
}

/// Reads one stream from its start.
pub(crate) struct Parser {
    bytes_max: usize,
    line: Vec<u8>,
    /// Lines that are over.
    lines: u64,
    /// The rest of the line is passed over.
    is_skipping: bool,
    /// A line feed that comes now belongs to the line before.
    is_after_cr: bool,
    data: Vec<u8>,
    /// Where the data began, while there are any.
    data_line: Option<u64>,
    /// The data were handed out.
    is_out: bool,
    /// The event has a line that was passed over.
    is_spoilt: bool,
    /// The server reports an error of its own under this event.
    is_error: bool,
    /// The id of the event that is not over yet.
    id: Option<Arc<str>>,
    last_id: Option<Arc<str>>,
}

impl Parser {
    /// A parser of lines, and of the data of an event, of at most so many bytes.
    pub fn new(bytes_max: usize) -> Parser {
        Parser {
            bytes_max,
            line: Vec::new(),
            lines: 0,
            is_skipping: false,
            is_after_cr: false,
            data: Vec::new(),
            data_line: None,
            is_out: false,
            is_spoilt: false,
            is_error: false,
            id: None,
            last_id: None,
        }
    }

    /// The id by which a stream is resumed behind the events that were handed out.
    pub fn last_id(&self) -> Option<&Arc<str>> {
        self.last_id.as_ref()
    }

    /// Lines that were read to their end.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Takes from `input` up to the next piece; `None` when it is used up.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Piece<'_>> {
        if std::mem::take(&mut self.is_out) {
            self.data.clear();
        }
        while let Some(is_whole) = self.take_line(input) {
            if !is_whole {
                self.spoil();
                return Some(Piece::TooLong { line: self.lines });
            }
            let line = std::mem::take(&mut self.line);
            let said = self.take_field(strip_bom(&line, self.lines));
            self.line = line;
            self.line.clear();
            match said {
                Said::Nothing => {}
                Said::TooLong => return Some(Piece::TooLong { line: self.lines }),
                Said::Retry(retry_ms) => return Some(Piece::Retry(retry_ms)),
                Said::Event(line) => {
                    self.is_out = true;
                    return Some(Piece::Event { line, data: &self.data });
                }
            }
        }
        None
    }

    /// Reads a line to its end; answers whether it was kept, or `None` when the input is used up.
    fn take_line(&mut self, input: &mut &[u8]) -> Option<bool> {
        if input.is_empty() {
            return None;
        }
        if std::mem::take(&mut self.is_after_cr) && input[0] == b'\n' {
            *input = &input[1..];
        }
        let end = memchr::memchr2(b'\n', b'\r', input);
        let (part, rest) = input.split_at(end.unwrap_or(input.len()));
        if self.line.len() + part.len() > self.bytes_max {
            self.is_skipping = true;
            self.line.clear();
        }
        if !self.is_skipping {
            self.line.extend_from_slice(part);
        }
        let (ending, rest) = rest.split_at(usize::from(end.is_some()));
        *input = rest;
        self.is_after_cr = *ending.first()? == b'\r';
        self.lines += 1;
        Some(!std::mem::take(&mut self.is_skipping))
    }

    fn take_field(&mut self, line: &[u8]) -> Said {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            _ if line.is_empty() => return self.dispatch(),
            b"data" if !self.is_spoilt => return self.take_data(value),
            b"event" => self.is_error = value == b"error",
            b"id" => self.id = sendable(value).or(self.id.take()),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let text = String::from_utf8_lossy(value);
                return Said::Retry(text.parse().unwrap_or(u64::MAX));
            }
            _ => {}
        }
        Said::Nothing
    }

    fn take_data(&mut self, value: &[u8]) -> Said {
        if self.data.len() + value.len() + 1 > self.bytes_max {
            self.spoil();
            return Said::TooLong;
        }
        if self.data_line.is_some() {
            self.data.push(b'\n');
        }
        self.data_line.get_or_insert(self.lines);
        self.data.extend_from_slice(value);
        Said::Nothing
    }

    fn spoil(&mut self) {
        self.is_spoilt = true;
        self.data.clear();
        self.data_line = None;
    }

    fn dispatch(&mut self) -> Said {
        if let Some(id) = self.id.take() {
            self.last_id = Some(id);
        }
        self.is_spoilt = false;
        let is_error = std::mem::take(&mut self.is_error);
        match self.data_line.take() {
            Some(line) if !is_error => Said::Event(line),
            _ => {
                self.data.clear();
                Said::Nothing
            }
        }
    }
}

/// What a line says.
enum Said {
    Nothing,
    Event(u64),
    TooLong,
    Retry(u64),
}

fn strip_bom(line: &[u8], number: u64) -> &[u8] {
    if number == 1 { line.strip_prefix(&BOM).unwrap_or(line) } else { line }
}

/// An id that can be sent back in a header; an empty one would ask for the stream from now on.
fn sendable(value: &[u8]) -> Option<Arc<str>> {
    let text = std::str::from_utf8(value).ok()?;
    let is_sendable = !text.is_empty()
        && text.len() <= ID_BYTES_MAX
        && !text.bytes().any(|byte| byte.is_ascii_control());
    is_sendable.then(|| Arc::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 64;

    /// Everything that the chunks say, and the id behind each piece.
    fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut parser = Parser::new(MAX);
        let mut said = Vec::new();
        for mut chunk in chunks {
            while let Some(piece) = parser.next(&mut chunk) {
                let text = match piece {
                    Piece::Event { line, data } => {
                        format!("{line}:{}", String::from_utf8_lossy(data))
                    }
                    Piece::TooLong { line } => format!("{line}!"),
                    Piece::Retry(retry_ms) => format!("retry {retry_ms}"),
                };
                let id = parser.last_id().map_or("-", |id| id);
                said.push(format!("{text} [{id}]"));
            }
            assert!(parser.line.capacity() <= 4 * MAX && parser.data.capacity() <= 4 * MAX);
        }
        said
    }

    fn check(bytes: &str, expected: &[&str]) {
        assert_eq!(read([bytes.as_bytes()]), expected, "{bytes:?}");
    }

    #[test]
    fn lines_end_in_three_ways_and_fields_have_one_space() {
        for end in ["\n", "\r", "\r\n"] {
            let text = "\u{feff}:ok||event: message|id: 7|data: a|data:  b|data|nothing||data:c||";
            check(&text.replace('|', end), &["5:a\n b\n [7]", "10:c [7]"]);
        }
        check("data:\n\ndata\n\n\n", &["1: [-]", "3: [-]"]);
        check("data: a\n\u{feff}data: b\n\n", &["1:a [-]"]);
        check("data: cut", &[]);
    }

    #[test]
    fn an_id_counts_from_the_end_of_its_event() {
        check("id: 1\ndata: a\n\nid: 2\ndata: b\n", &["2:a [1]"]);
        check("id: 1\n\ndata: a\n\n", &["3:a [1]"]);
        let long = "x".repeat(MAX);
        let text = format!("id: 1\ndata: a\n\nid\nid: \u{1}\nid: {long}\ndata: b\n\n");
        check(&text, &["2:a [1]", "6! [1]"]);
    }

    #[test]
    fn what_is_too_long_spoils_its_event_alone() {
        let long = "x".repeat(MAX + 1);
        check(&format!("id: 1\ndata: a\n{long}\ndata: b\n\ndata: c\n\n"), &["3! [-]", "6:c [1]"]);
        let half = "x".repeat(MAX / 2);
        let text = format!("data: {half}\ndata: {half}\ndata: b\n\ndata: c\n\n");
        check(&text, &["2! [-]", "5:c [-]"]);
        check(&format!("{}\n\n", "y".repeat(MAX)), &[]);
    }

    #[test]
    fn the_server_says_how_long_to_wait() {
        check("retry: 250\nretry: x\nretry:\nretry: -1\n", &["retry 250 [-]"]);
        check("retry: 99999999999999999999\n", &[&format!("retry {} [-]", u64::MAX)]);
        check("event: error\ndata: ours\n\ndata: a\n\n", &["4:a [-]"]);
    }

    #[test]
    fn a_line_of_a_hundred_megabytes_is_held_nowhere() {
        let mut parser = Parser::new(1 << 20);
        let chunk = vec![b'x'; 64 << 10];
        for _ in 0..1600 {
            assert_eq!(parser.next(&mut chunk.as_slice()), None);
        }
        assert!(parser.line.capacity() <= 2 << 20);
        let mut rest: &[u8] = b"\n\ndata: a\n\n";
        assert_eq!(parser.next(&mut rest), Some(Piece::TooLong { line: 1 }));
        assert_eq!(parser.next(&mut rest), Some(Piece::Event { line: 3, data: b"a" }));
    }

    /// Pieces of streams, so that chance meets what matters.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            Just(b"data: {}".to_vec()),
            Just(b"data".to_vec()),
            Just(b"id: [1]".to_vec()),
            Just(b"retry: 5".to_vec()),
            Just(b":".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\n\n".to_vec()),
            Just(BOM.to_vec()),
            prop::collection::vec(any::<u8>(), 0..2 * MAX),
        ];
        prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn any_cut_of_the_bytes_says_the_same(
            bytes in stream(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let mut start = 0;
            let chunks = cuts.into_iter().map(|end| {
                let chunk = &bytes[start..end];
                start = end;
                chunk
            });
            let whole = read([bytes.as_slice()]);
            prop_assert_eq!(&read(chunks.collect::<Vec<_>>()), &whole);
            prop_assert_eq!(&read(bytes.chunks(1)), &whole);
        }
    }
}
