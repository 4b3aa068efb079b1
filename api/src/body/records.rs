//! Records and dead letters as JSON, read from the log and the store without any HTTP.
//!
//! Bounded by what is shown: a record is cut to a line as it is read, and nobody holds more lines
//! than were asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agon_ports::{
    Assignment, EventLog, LogRecord, Order, PortError, ProjectionStore, ReadLimits, Scan,
};
use agon_projections::row::{DeadLetter, Row, Value};
use agon_projections::row_bytes::Prefix;
use agon_projections::{RowKey, Table};
use agon_schema::{Position, PositionToken, Record, Timestamp, Topic, TopicPartition, decode};
use serde::Serialize;

use super::{List, to_json};
use crate::cursor::{self, BadCursor};

/// Records or dead letters that one answer holds at most.
pub const RECORDS_MAX: usize = 1000;
/// Bytes of a record's value that are shown.
pub const VALUE_BYTES_MAX: usize = 64 << 10;
/// Bytes of a decoded event, or of a header, that are shown.
const TEXT_BYTES_MAX: usize = 1024;
/// Bytes of a key, type or id that are shown.
const NAME_BYTES_MAX: usize = 128;
/// Headers that are shown; an event has six.
const HEADERS_MAX: usize = 64;
/// How long the log may be silent while records are due.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// The name of the one list that has a cursor.
const LIST: &str = "dead letters";

/// The id of a record: TOPIC/PARTITION/OFFSET.
pub fn record_id(position: Position) -> String {
    format!("{}/{}", position.source, position.offset)
}

/// The place that a record's id names, if it is one.
pub fn parse_record_id(id: &str) -> Option<Position> {
    let mut parts = id.split('/');
    let name = parts.next()?;
    let topic = Topic::ALL.into_iter().find(|topic| topic.name() == name)?;
    let partition = parts.next()?.parse().ok()?;
    let offset = parts.next()?.parse().ok()?;
    let position = Position { source: TopicPartition { topic, partition }, offset };
    // One record has one id: neither `+1` nor `01`.
    (record_id(position) == id).then_some(position)
}

#[derive(Debug, Serialize)]
struct RecordLine {
    id: String,
    position: String,
    topic: &'static str,
    partition: u32,
    offset: u64,
    appended_at: Option<String>,
    r#type: String,
    event_id: String,
    key: String,
    event: Option<String>,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct DeadLetterLine {
    id: String,
    reason: &'static str,
    detail: String,
    r#type: String,
    event_id: String,
    key: String,
}

#[derive(Debug, Serialize)]
struct WholeDeadLetter {
    #[serde(flatten)]
    line: DeadLetterLine,
    headers: Vec<Header>,
    headers_total: usize,
    value: String,
    value_bytes: usize,
}

#[derive(Debug, Serialize)]
struct Header {
    name: String,
    value: String,
}

/// Bytes as text, up to so many bytes of it.
fn cut(bytes: &[u8], bytes_max: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

fn record_line(log: &dyn EventLog, entry: &LogRecord) -> RecordLine {
    let LogRecord { position, record } = entry;
    let named = |name| cut(record.header(name).unwrap_or_default(), NAME_BYTES_MAX);
    let appended = Timestamp::from_micros(record.appended_at_ms.saturating_mul(1_000));
    let (event, error) = match decode(record) {
        Ok(event) => (Some(format!("{event:?}")), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let short = |text: String| cut(text.as_bytes(), TEXT_BYTES_MAX);
    RecordLine {
        id: record_id(*position),
        position: PositionToken::of(log.id(), [*position]).to_string(),
        topic: position.source.topic.name(),
        partition: position.source.partition,
        offset: position.offset,
        appended_at: appended.ok().map(|at| at.to_string()),
        r#type: named("ce_type"),
        event_id: named("ce_id"),
        key: cut(&record.key, NAME_BYTES_MAX),
        event: event.map(short),
        error: error.map(short),
    }
}

/// The newest records of all partitions as `{"items":[…],"next_cursor":null}`, newest last,
/// merged by the time of appending. At most `limit` of them, and never more than
/// [`RECORDS_MAX`]. Reads as many of each partition.
///
/// # Errors
/// As [`EventLog::read`]; `Retry::Later` when the log is silent for 5 s.
pub async fn events_body(log: &dyn EventLog, limit: usize) -> Result<Vec<u8>, PortError> {
    let limit = limit.min(RECORDS_MAX);
    let ends = log.ends().await?;
    let due = ends.iter().filter(|(_, end)| **end > 0);
    let from: Assignment =
        due.map(|(source, end)| (*source, end.saturating_sub(limit as u64))).collect();
    let mut left: u64 = from.iter().map(|(source, start)| ends[source] - start).sum();
    let mut newest: BTreeMap<(i64, TopicPartition, u64), RecordLine> = BTreeMap::new();
    let mut reader = log.read(from).await?;
    while left > 0 {
        let limits = ReadLimits { records_max: 1_024, bytes_max: 1 << 20 };
        let page = reader.next(limits, SILENCE_MAX).await?;
        if page.is_empty() {
            return Err(PortError::later("read the newest records", "none came for 5 s"));
        }
        // What was appended since would be counted in place of what is due.
        let is_due = |entry: &&LogRecord| entry.position.offset < ends[&entry.position.source];
        for entry in page.iter().filter(is_due) {
            left -= 1;
            let Position { source, offset } = entry.position;
            let key = (entry.record.appended_at_ms, source, offset);
            let is_full = newest.len() >= limit;
            if is_full && newest.first_key_value().is_none_or(|(first, _)| *first > key) {
                continue;
            }
            newest.insert(key, record_line(log, entry));
            if is_full {
                newest.pop_first();
            }
        }
    }
    Ok(to_json(&List { items: newest.into_values().collect(), next_cursor: None }))
}

fn dead_letter_line(position: Position, letter: DeadLetter) -> DeadLetterLine {
    DeadLetterLine {
        id: record_id(position),
        reason: letter.rejection.reason.code(),
        detail: letter.rejection.detail,
        r#type: letter.event_type,
        event_id: letter.event_id,
        key: letter.key,
    }
}

fn dead_letter_of(row: Row) -> Option<(Position, DeadLetter)> {
    match (row.key, row.value) {
        (RowKey::DeadLetter(source, offset), Value::DeadLetter(letter)) => {
            Some((Position { source, offset }, letter))
        }
        _ => None,
    }
}

/// The dead letter after which a list goes on.
///
/// # Errors
/// When an answer gave no such cursor.
pub fn dead_letter_cursor(text: &str) -> Result<Position, BadCursor> {
    let place = String::from_utf8(cursor::decode(LIST, text)?).map_err(|_| BadCursor::Foreign)?;
    parse_record_id(&place).ok_or(BadCursor::Foreign)
}

/// Dead letters as `{"items":[…],"next_cursor":…}`, in the order of their places. At most `limit`
/// of them, and never more than [`RECORDS_MAX`]. What lies above the partition's progress is left
/// out: it is of a flush that did not end yet.
///
/// # Errors
/// As [`ProjectionStore::scan`].
pub async fn dead_letters_body(
    store: &dyn ProjectionStore,
    after: Option<Position>,
    limit: usize,
) -> Result<Vec<u8>, PortError> {
    let limit = limit.min(RECORDS_MAX);
    let scan = Scan {
        prefix: Prefix::Table(Table::DeadLetters),
        after: after.map(|position| RowKey::DeadLetter(position.source, position.offset)),
        order: Order::Rising,
        limit: limit + 1,
    };
    let mut letters: Vec<_> =
        store.scan(scan).await?.into_iter().filter_map(dead_letter_of).collect();
    let has_more = letters.len() > limit;
    letters.truncate(limit);
    let last = letters.last().filter(|_| has_more);
    let next_cursor =
        last.map(|(position, _)| cursor::encode(LIST, record_id(*position).as_bytes()));
    let applied = applied(store, letters.iter().map(|(position, _)| position.source)).await?;
    letters.retain(|(position, _)| Some(position.offset) <= applied.get(&position.source).copied());
    let line = |(position, letter)| dead_letter_line(position, letter);
    Ok(to_json(&List { items: letters.into_iter().map(line).collect(), next_cursor }))
}

/// One dead letter with its record's headers and value, as far as they are shown; `None` when
/// the record counts or is not there.
///
/// # Errors
/// As [`ProjectionStore::get`] and [`EventLog::read`]; `Retry::Later` when the log does not give
/// the record within 5 s.
pub async fn dead_letter_body(
    log: &dyn EventLog,
    store: &dyn ProjectionStore,
    position: Position,
) -> Result<Option<Vec<u8>>, PortError> {
    let Some(letter) = dead_letter_at(store, position).await? else { return Ok(None) };
    let record = record_at(log, position).await?;
    let headers = record.headers.iter().take(HEADERS_MAX).map(|(name, value)| Header {
        name: cut(name.as_bytes(), NAME_BYTES_MAX),
        value: cut(value, TEXT_BYTES_MAX),
    });
    Ok(Some(to_json(&WholeDeadLetter {
        line: dead_letter_line(position, letter),
        headers: headers.collect(),
        headers_total: record.headers.len(),
        value: cut(&record.value, VALUE_BYTES_MAX),
        value_bytes: record.value.len(),
    })))
}

/// The dead letter of a record, if it is one.
pub(crate) async fn dead_letter_at(
    store: &dyn ProjectionStore,
    Position { source, offset }: Position,
) -> Result<Option<DeadLetter>, PortError> {
    let row = store.get(vec![RowKey::DeadLetter(source, offset)]).await?.pop().flatten();
    let Some((_, letter)) = row.and_then(dead_letter_of) else { return Ok(None) };
    let applied = applied(store, [source]).await?.remove(&source);
    Ok((Some(offset) <= applied).then_some(letter))
}

/// How far these partitions are folded, where they are.
async fn applied(
    store: &dyn ProjectionStore,
    sources: impl IntoIterator<Item = TopicPartition>,
) -> Result<BTreeMap<TopicPartition, u64>, PortError> {
    let sources: BTreeSet<TopicPartition> = sources.into_iter().collect();
    let rows = store.get(sources.into_iter().map(RowKey::Progress).collect()).await?;
    let of = |row: Row| match (row.key, row.value) {
        (RowKey::Progress(source), Value::Progress(progress)) => Some((source, progress.applied)),
        _ => None,
    };
    Ok(rows.into_iter().flatten().filter_map(of).collect())
}

/// A record of the log.
pub(crate) async fn record_at(log: &dyn EventLog, position: Position) -> Result<Record, PortError> {
    let attempted = || format!("read record {}", record_id(position));
    let mut reader = log.read(Assignment::from([(position.source, position.offset)])).await?;
    let limits = ReadLimits { records_max: 1, bytes_max: 1 };
    match reader.next(limits, SILENCE_MAX).await?.into_iter().next() {
        Some(entry) if entry.position == position => Ok(entry.record),
        Some(entry) => {
            let reason = format!("the log gave {}; it is gone", record_id(entry.position));
            Err(PortError::never(attempted(), reason))
        }
        None => Err(PortError::later(attempted(), "the log did not give it for 5 s")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_form() {
        let source = TopicPartition { topic: Topic::Submissions, partition: 7 };
        for offset in [0, 12, u64::MAX] {
            let position = Position { source, offset };
            assert_eq!(parse_record_id(&record_id(position)), Some(position));
        }
        let name = Topic::Submissions.name();
        for wrong in ["", "x/0/0", "/0/0", &format!("{name}/0")] {
            assert_eq!(parse_record_id(wrong), None, "{wrong}");
        }
        for rest in ["0/-1", "0/+1", "00/1", "0/01", "0/1/", "0/1/2", "4294967296/0", "0/1 "] {
            assert_eq!(parse_record_id(&format!("{name}/{rest}")), None, "{rest}");
        }
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("aé".as_bytes(), 2), "a");
        assert_eq!(cut("aé".as_bytes(), 3), "aé");
        assert_eq!(cut(b"a\xffb", 64), "a\u{fffd}b");
    }
}
