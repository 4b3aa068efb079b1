//! Opens a file as what it is and reads it item by item, with bounded memory.

use std::path::Path;

use agon_schema::{BenchmarkId, EnvironmentId, Timestamp};
use thiserror::Error;

use super::changes::{self, SseEvents};
use super::csv::{NextRecord, Records, too_long};
use super::item::{Item, MatchesOf, Parsed};
use super::lines::{BytesRead, Lines, Next};
use super::matches::{self, MatchColumns};
use super::submissions::{self, ColumnMap, SubmissionRows};

/// Bytes of what is said of one line, at most.
const REASON_BYTES_MAX: usize = 500;

/// What a file holds, as the command says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Matches of one environment: csv or jsonl.
    Matches {
        /// Which.
        environment: EnvironmentId,
    },
    /// Submissions to benchmarks: csv or jsonl.
    Submissions {
        /// Which, where the file does not say.
        benchmark: Option<BenchmarkId>,
        /// The columns of a csv file.
        map: ColumnMap,
    },
    /// Events of Wikimedia's stream: jsonl or sse.
    RecentChange,
}

/// Why a file cannot be imported at all.
#[derive(Debug, Error)]
pub enum OpenError {
    /// It cannot be opened or read.
    #[error("open {file}: {source}")]
    Open {
        /// Its name.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// Its name does not say what is in it.
    #[error("import {file}: its name must end in {expected}, each also with .gz")]
    Kind {
        /// Its name.
        file: String,
        /// What is read.
        expected: &'static str,
    },
    /// Its first line is not what it must be.
    #[error("{file}:{line}: {reason}")]
    Header {
        /// Its name.
        file: String,
        /// The line.
        line: u64,
        /// What is wrong, and the remedy.
        reason: String,
    },
}

enum Format {
    Matches(Records, Box<MatchColumns>, MatchesOf),
    Submissions(Box<SubmissionRows>),
    Json(Lines, Vec<u8>, JsonOf),
    Sse(SseEvents),
}

enum JsonOf {
    Matches(MatchesOf),
    Submissions(Option<BenchmarkId>, Timestamp),
    Changes,
}

/// A file that is being read.
pub struct Reader {
    file: String,
    format: Format,
    bytes_read: BytesRead,
    bytes_total: u64,
    is_started: bool,
}

impl Reader {
    /// Opens a file. `now` stands in for times that it does not say.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path, content: Content, now: Timestamp) -> Result<Reader, OpenError> {
        let file = path.display().to_string();
        let kind = kind(&file);
        let expected = match &content {
            Content::Matches { .. } | Content::Submissions { .. } => ".csv or .jsonl",
            Content::RecentChange => ".jsonl or .sse",
        };
        let is_csv = !matches!(content, Content::RecentChange);
        if !matches!((kind, is_csv), (Kind::Csv, true) | (Kind::Json, _) | (Kind::Sse, false)) {
            return Err(OpenError::Kind { file, expected });
        }
        let opened =
            Lines::open(path).and_then(|lines| Ok((lines, std::fs::metadata(path)?.len())));
        let ((lines, bytes_read), bytes_total) = match opened {
            Ok(opened) => opened,
            Err(source) => return Err(OpenError::Open { file, source }),
        };
        let header = |line: u64, reason| OpenError::Header { file: file.clone(), line, reason };
        let format = match (content, kind) {
            (Content::Matches { environment }, Kind::Csv) => {
                let mut records = Records::new(lines);
                let columns = MatchColumns::read(&mut records)
                    .map_err(|reason| header(records.line().max(1), reason))?;
                Format::Matches(records, Box::new(columns), MatchesOf { environment, now })
            }
            (Content::Submissions { benchmark, map }, Kind::Csv) => {
                let rows = SubmissionRows::read(Records::new(lines), benchmark, &map, now)
                    .map_err(|reason| header(1, reason))?;
                Format::Submissions(Box::new(rows))
            }
            (Content::Matches { environment }, _) => {
                let of = JsonOf::Matches(MatchesOf { environment, now });
                Format::Json(lines, Vec::new(), of)
            }
            (Content::Submissions { benchmark, .. }, _) => {
                Format::Json(lines, Vec::new(), JsonOf::Submissions(benchmark, now))
            }
            (Content::RecentChange, Kind::Sse) => Format::Sse(SseEvents::new(lines)),
            (Content::RecentChange, _) => Format::Json(lines, Vec::new(), JsonOf::Changes),
        };
        Ok(Reader { file, format, bytes_read, bytes_total, is_started: false })
    }

    /// The file's name, as it stands before each bad line.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// How much of the file was read, to be looked at from elsewhere.
    pub fn bytes_read(&self) -> BytesRead {
        self.bytes_read.clone()
    }

    /// The file's size in bytes.
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    /// The metric by which a benchmark is scored that nobody defined.
    pub fn first_metric(&self) -> Option<&str> {
        match &self.format {
            Format::Submissions(rows) => rows.first_metric(),
            _ => None,
        }
    }

    /// The next item. Blocks on the file.
    pub fn next_item(&mut self) -> Option<Item> {
        let item = match &mut self.format {
            Format::Matches(records, columns, of) => next_match(records, columns, of),
            Format::Submissions(rows) => rows.next(),
            Format::Json(lines, text, of) => next_json(lines, text, of),
            Format::Sse(events) => events.next(),
        };
        let is_first = !std::mem::replace(&mut self.is_started, true);
        match item {
            None if is_first => {
                Some(Item { line: 1, parsed: Parsed::Bad("there is nothing to import".to_owned()) })
            }
            item => item.map(cut),
        }
    }
}

/// Reasons quote what the file says, so they are cut.
fn cut(mut item: Item) -> Item {
    if let Parsed::Bad(reason) | Parsed::Malformed(_, reason) = &mut item.parsed
        && reason.len() > REASON_BYTES_MAX
    {
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        reason.push('…');
    }
    item
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Csv,
    Json,
    Sse,
    Unknown,
}

fn kind(file: &str) -> Kind {
    let name = file.strip_suffix(".gz").unwrap_or(file);
    match name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).as_deref() {
        Some("csv") => Kind::Csv,
        Some("jsonl" | "ndjson") => Kind::Json,
        Some("sse") => Kind::Sse,
        _ => Kind::Unknown,
    }
}

fn next_match(records: &mut Records, columns: &MatchColumns, of: &MatchesOf) -> Option<Item> {
    let next = records.next();
    let line = records.line();
    let parsed = match next {
        NextRecord::Record => columns.event(records, of).map_or_else(Parsed::Bad, Parsed::Entry),
        NextRecord::Bad(reason) => Parsed::Bad(reason),
        NextRecord::Broken(reason) => {
            return Some(Item { line: line + 1, parsed: Parsed::Bad(reason) });
        }
        NextRecord::End => return None,
    };
    Some(Item { line, parsed })
}

fn next_json(lines: &mut Lines, text: &mut Vec<u8>, of: &JsonOf) -> Option<Item> {
    loop {
        text.clear();
        let next = lines.next(text);
        let line = lines.number();
        let parsed = match next {
            Next::Line if text.trim_ascii().is_empty() => continue,
            Next::Line => match of {
                JsonOf::Matches(of) => {
                    matches::from_json(line, text, of).map_or_else(Parsed::Bad, Parsed::Entry)
                }
                JsonOf::Submissions(benchmark, now) => {
                    submissions::from_json(line, text, benchmark.as_ref(), *now)
                        .map_or_else(Parsed::Bad, Parsed::Entry)
                }
                JsonOf::Changes => changes::parse(text),
            },
            Next::TooLong => Parsed::Bad(too_long()),
            Next::Broken(reason) => {
                return Some(Item { line: line + 1, parsed: Parsed::Bad(reason) });
            }
            Next::End => return None,
        };
        return Some(Item { line, parsed });
    }
}
