//! The bytes of the change feed. They outlive a release: readers and writers of two versions meet
//! here during an upgrade, so the first byte says which version it is, and a golden test holds it.
//!
//! ```text
//! version   tenure   number   topic   partition   body
//! 1 byte    postcard …
//! ```
//! Rows are the canonical bytes of the store, which carry generation and fold version: news of
//! another fold are as unreadable as those of a newer version.

use std::sync::Arc;

use agon_ports::Change;
use agon_projections::row_bytes::{key_bytes, key_of_bytes, row_of_bytes, value_bytes};
use agon_projections::{CellKey, RowKey};
use agon_schema::{Topic, TopicPartition};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The version that is written, and the only one that is read.
const VERSION: u8 = 1;

/// One record of the feed.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) stamp: Stamp,
    pub(super) change: Change,
}

/// Which record of which publisher: numbers of a tenure follow each other without a gap, so what
/// is lost is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) source: TopicPartition,
    pub(super) tenure: u64,
    pub(super) number: u64,
}

/// Why a record is none that this version reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Unreadable {
    #[error("it is of version {0}; this software reads version {VERSION}")]
    Version(u8),
    #[error("it is damaged, or of another fold version")]
    Content,
}

#[derive(Serialize, Deserialize)]
struct Head {
    tenure: u64,
    number: u64,
    topic: u8,
    partition: u32,
}

#[derive(Serialize, Deserialize)]
enum Body<'a> {
    Moved {
        /// The key of the cell's head row.
        #[serde(borrow)]
        cell: Bytes<'a>,
        from: Option<u64>,
        to: u64,
        #[serde(borrow)]
        rows: Vec<(Bytes<'a>, Bytes<'a>)>,
    },
    Reload,
    Progress {
        applied: u64,
        appended_at_ms: i64,
    },
}

/// Written as one piece; postcard would take a plain slice byte by byte.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'de [u8]>::deserialize(deserializer).map(Bytes)
    }
}

fn written<T: Serialize>(value: &T) -> Vec<u8> {
    match postcard::to_stdvec(value) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("news are plain data and have bytes: {error}"),
    }
}

/// The bytes of a change without its stamp.
pub(super) fn body(change: &Change) -> Vec<u8> {
    match change {
        Change::Moved { cell, from, to, rows } => {
            let cell = key_bytes(&RowKey::Head(cell.clone()));
            let rows: Vec<(Vec<u8>, Vec<u8>)> =
                rows.iter().map(|row| (key_bytes(&row.key), value_bytes(&row.value))).collect();
            let rows = rows.iter().map(|(key, value)| (Bytes(key), Bytes(value))).collect();
            written(&Body::Moved { cell: Bytes(&cell), from: *from, to: *to, rows })
        }
        Change::Reload { .. } => written(&Body::Reload),
        Change::Progress { applied, appended_at_ms, .. } => {
            written(&Body::Progress { applied: *applied, appended_at_ms: *appended_at_ms })
        }
    }
}

/// A whole record of a body.
pub(super) fn record(stamp: Stamp, body: &[u8]) -> Vec<u8> {
    let Stamp { source, tenure, number } = stamp;
    let topic = source.topic.code();
    let head = written(&Head { tenure, number, topic, partition: source.partition });
    [&[VERSION], head.as_slice(), body].concat()
}

/// Reads a record of a log with so many partitions a topic.
///
/// # Errors
/// What is no record of this version.
pub(super) fn read(bytes: &[u8], partitions: u32) -> Result<Record, Unreadable> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => content(rest, partitions).ok_or(Unreadable::Content),
        Some((version, _)) => Err(Unreadable::Version(*version)),
        None => Err(Unreadable::Content),
    }
}

fn content(bytes: &[u8], partitions: u32) -> Option<Record> {
    let (head, bytes) = postcard::take_from_bytes::<Head>(bytes).ok()?;
    let (body, rest) = postcard::take_from_bytes::<Body<'_>>(bytes).ok()?;
    let topic = Topic::from_code(head.topic)?;
    let source = TopicPartition { topic, partition: head.partition };
    if !rest.is_empty() || source.partition >= partitions {
        return None;
    }
    let change = match body {
        Body::Moved { cell, from, to, rows } => {
            let cell = cell_of(cell.0)?;
            let rows: Option<Vec<_>> =
                rows.iter().map(|(key, value)| row_of_bytes(key.0, value.0)).collect();
            Change::Moved { cell, from, to, rows: Arc::new(rows?) }
        }
        Body::Reload => Change::Reload { source },
        Body::Progress { applied, appended_at_ms } => {
            Change::Progress { source, applied, appended_at_ms }
        }
    };
    let stamp = Stamp { source, tenure: head.tenure, number: head.number };
    Some(Record { stamp, change })
}

fn cell_of(key: &[u8]) -> Option<CellKey> {
    match key_of_bytes(key)? {
        RowKey::Head(cell) => Some(cell),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use agon_projections::row::Value;
    use agon_projections::{FOLD_VERSION, Row};

    use super::*;

    const SOURCE: TopicPartition = TopicPartition { topic: Topic::RecentChange, partition: 3 };
    const STAMP: Stamp = Stamp { source: SOURCE, tenure: 300, number: 5 };

    fn row(count: u64) -> Row {
        let key = RowKey::Server(CellKey::Stream(3), "en".into());
        Row { key, value: Value::Server(count) }
    }

    fn changes() -> [Change; 3] {
        let rows = Arc::new(vec![row(7), row(u64::MAX)]);
        [
            Change::Moved { cell: CellKey::Stream(3), from: None, to: 9, rows },
            Change::Reload { source: SOURCE },
            Change::Progress { source: SOURCE, applied: 9, appended_at_ms: -2 },
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for change in changes() {
            let bytes = record(STAMP, &body(&change));
            let read = read(&bytes, 4).unwrap();
            assert_eq!(read.stamp, STAMP);
            assert_eq!(format!("{:?}", read.change), format!("{change:?}"));
        }
    }

    /// Other processes write and read these very bytes; another layout needs another version.
    #[test]
    fn the_bytes_stay_as_they_are() {
        let hex = |change: &Change| -> String {
            let bytes = record(STAMP, &body(change));
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let [moved, reload, progress] = changes();
        // The keys hold the fold's version, which changes by itself.
        let cell = format!("00000001{FOLD_VERSION:08x}0300000003");
        let rows = format!(
            "01ac02050303000e01{cell}000902\
             1003{cell}656e020307\
             1003{cell}656e0b03ffffffffffffffffff01"
        );
        assert_eq!(hex(&moved), rows);
        assert_eq!(hex(&reload), "01ac0205030301");
        assert_eq!(hex(&progress), "01ac02050303020903");
    }

    #[test]
    fn what_is_no_record_is_refused_and_never_a_panic() {
        for change in changes() {
            let bytes = record(STAMP, &body(&change));
            for end in 0..bytes.len() {
                assert!(read(&bytes[..end], 4).is_err(), "{change:?} cut at {end}");
            }
            let longer = [bytes.as_slice(), &[0]].concat();
            assert_eq!(read(&longer, 4).unwrap_err(), Unreadable::Content);
            assert_eq!(read(&bytes, 3).unwrap_err(), Unreadable::Content, "of another log");
            for index in 0..bytes.len() {
                for bit in 0..8 {
                    let mut flipped = bytes.clone();
                    flipped[index] ^= 1 << bit;
                    let _ = read(&flipped, 4);
                }
            }
            let newer = [&[2], &bytes[1..]].concat();
            assert_eq!(read(&newer, 4).unwrap_err(), Unreadable::Version(2));
        }
    }
}
