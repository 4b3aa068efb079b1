//! What the log holds, and positions in it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

use crate::codec;
use crate::topic::{Topic, TopicPartition};

/// Bytes of a record's key, headers and value together, at most. Larger ones are refused by the
/// intake and by every log.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// One record as the log keeps it: CloudEvents attributes as headers, the event as value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What decides the partition: the id of the environment or benchmark, or the user.
    pub key: Vec<u8>,
    /// Header names and values in the order they were written.
    pub headers: Vec<Header>,
    /// The protobuf message, or what a source sent that could not become one.
    pub value: Vec<u8>,
    /// Time of appending in milliseconds since the epoch. Never folded.
    pub appended_at_ms: i64,
}

/// Name and value of a header. [`header`] makes one.
pub type Header = (Cow<'static, str>, Cow<'static, [u8]>);

/// Names that every record of ours bears, and values that many bear: they take no memory of their
/// own, which is most of what reading a record costs otherwise.
const NAMES: [&str; 7] =
    ["ce_id", "ce_type", "ce_source", "ce_time", "ce_specversion", "content-type", "traceparent"];
const VALUES: [&str; 9] = [
    "1.0",
    codec::PROTOBUF,
    codec::JSON,
    "agon.match.finished.v1",
    "agon.recentchange.observed.v1",
    "agon.run.scored.v1",
    "agon.submission.received.v1",
    "agon.environment.defined.v1",
    "agon.benchmark.defined.v1",
];

/// A header of this name and value.
pub fn header(name: &str, value: &[u8]) -> Header {
    let known_name = NAMES.iter().find(|known| **known == name);
    let known_value = VALUES.iter().find(|known| known.as_bytes() == value);
    (
        known_name.map_or_else(|| Cow::Owned(name.to_owned()), |known| Cow::Borrowed(*known)),
        known_value.map_or_else(|| Cow::Owned(value.to_vec()), |known| known.as_bytes().into()),
    )
}

impl Record {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| &value[..])
    }

    /// Bytes that count against [`RECORD_BYTES_MAX`].
    pub fn size_bytes(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key.len() + headers + self.value.len()
    }

    /// A hash of everything but the time of appending: what a resume compares with the record it
    /// finds at its position.
    pub fn hash(&self) -> RecordHash {
        let mut hasher = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(&self.key);
        part(&self.value);
        for (name, value) in &self.headers {
            part(name.as_bytes());
            part(value);
        }
        let digest = hasher.finalize();
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        RecordHash(hash)
    }
}

/// The first 16 bytes of a record's SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordHash(pub [u8; 16]);

/// Which log this is: made once, when the log is, so that a position of another log is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogId(pub Uuid);

impl LogId {
    /// The eight digits that stand in position tokens.
    fn short(self) -> String {
        self.0.simple().to_string()[..8].to_owned()
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where one record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The partition.
    pub source: TopicPartition,
    /// The offset in it, from 0.
    pub offset: u64,
}

/// An opaque set of positions with the log's identity, as answers carry it and `min_position`
/// takes it: `1f2e3d4c-m5.120-s0.7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionToken {
    log: String,
    offsets: BTreeMap<TopicPartition, u64>,
}

/// Partitions that one token may name.
const TOKEN_PARTITIONS_MAX: usize = 1024;

impl PositionToken {
    /// The token of nothing yet in this log.
    pub fn start(log: LogId) -> PositionToken {
        PositionToken { log: log.short(), offsets: BTreeMap::new() }
    }

    /// The token of some positions.
    pub fn of(log: LogId, positions: impl IntoIterator<Item = Position>) -> PositionToken {
        let mut token = PositionToken::start(log);
        for position in positions {
            token.raise(position);
        }
        token
    }

    /// Makes the token cover this position too.
    pub fn raise(&mut self, position: Position) {
        let offset = self.offsets.entry(position.source).or_insert(position.offset);
        *offset = (*offset).max(position.offset);
    }

    /// Whether the token speaks of this log.
    pub fn is_of(&self, log: LogId) -> bool {
        self.log == log.short()
    }

    /// What must have been folded before the token is reached.
    pub fn positions(&self) -> impl Iterator<Item = Position> + '_ {
        self.offsets.iter().map(|(source, offset)| Position { source: *source, offset: *offset })
    }
}

impl fmt::Display for PositionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.log)?;
        for (source, offset) in &self.offsets {
            write!(f, "-{}{}.{offset}", source.topic.letter(), source.partition)?;
        }
        Ok(())
    }
}

/// A text that is no position token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not a position; send back what an answer's `position` held")]
pub struct BadToken;

impl FromStr for PositionToken {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<PositionToken, BadToken> {
        let mut parts = text.split('-');
        let log = parts.next().ok_or(BadToken)?;
        if log.len() != 8 || !log.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BadToken);
        }
        let mut offsets = BTreeMap::new();
        for part in parts {
            let letter = part.chars().next().ok_or(BadToken)?;
            let topic = Topic::from_letter(letter).ok_or(BadToken)?;
            let (partition, offset) = part[1..].split_once('.').ok_or(BadToken)?;
            let partition = partition.parse().map_err(|_| BadToken)?;
            let offset = offset.parse().map_err(|_| BadToken)?;
            offsets.insert(TopicPartition { topic, partition }, offset);
            if offsets.len() > TOKEN_PARTITIONS_MAX {
                return Err(BadToken);
            }
        }
        Ok(PositionToken { log: log.to_owned(), offsets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text() {
        let log = LogId(Uuid::from_u128(0x1f2e_3d4c_0000_0000_0000_0000_0000_0001));
        let at = |topic, partition, offset| Position {
            source: TopicPartition { topic, partition },
            offset,
        };
        let token = PositionToken::of(
            log,
            [at(Topic::Matches, 5, 120), at(Topic::Submissions, 0, 7), at(Topic::Matches, 5, 3)],
        );
        assert_eq!(token.to_string(), "1f2e3d4c-m5.120-s0.7");
        assert_eq!(token.to_string().parse(), Ok(token.clone()));
        assert!(token.is_of(log));
        assert!(!token.is_of(LogId(Uuid::nil())));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in
            ["", "x", "1f2e3d4c-", "1f2e3d4c-q1.2", "1f2e3d4c-m1", "1f2e3d4c-m.1", "é2e3d4c"]
        {
            assert_eq!(text.parse::<PositionToken>(), Err(BadToken), "{text}");
        }
    }
}
