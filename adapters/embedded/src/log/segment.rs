//! A segment: a file of the log, with a header that says which log and which part of it it is.
//!
//! ```text
//! 0       8         12           16       32       40             48    52
//! | magic | version | partitions | log id | number | bytes before | crc | crc of the header
//! ```
//! `bytes before` is the length of the segment before, and `crc` that of its last frame (0 in the
//! first), so a segment can be neither cut nor exchanged nor left out.

use std::io;
use std::path::{Path, PathBuf};

use agon_schema::LogId;
use uuid::Uuid;

use super::frame::{u32_at, u64_at};
use crate::files::DataFile;

/// Version of the log's files that this code reads and writes.
pub const FORMAT_VERSION: u32 = 1;

/// Bytes before the first frame.
pub(super) const HEADER_BYTES: u64 = 56;

const MAGIC: &[u8; 8] = b"agon.seg";
const SUFFIX: &str = ".seg";

/// A point in the log: a segment's number, from 1, and a byte in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub segment: u64,
    pub byte: u64,
}

impl Place {
    /// Where the first frame of a segment stands.
    pub(super) fn first(segment: u64) -> Place {
        Place { segment, byte: HEADER_BYTES }
    }
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub id: LogId,
    pub partitions: u32,
    pub number: u64,
    /// Length of the segment before, bytes; 0 in the first.
    pub bytes_before: u64,
    /// The crc of the last frame before this segment; 0 when there is none.
    pub crc_before: u32,
}

/// What a header can be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderRead {
    Header(Header),
    /// Written by other code.
    Version(u32),
    /// Too short, or not what it was.
    Bad,
}

/// The file of a segment.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}{SUFFIX}"))
}

/// The number of a segment by its file's name: `Some(None)` for a segment without a number, and
/// `None` for what is no segment.
pub(super) fn number(name: &str) -> Option<Option<u64>> {
    let digits = name.strip_suffix(SUFFIX)?;
    let number = digits.parse().ok().filter(|number| *number > 0);
    Some(number.filter(|number| format!("{number:020}") == digits))
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.partitions.to_le_bytes());
        bytes.extend_from_slice(self.id.0.as_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.bytes_before.to_le_bytes());
        bytes.extend_from_slice(&self.crc_before.to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of a file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn read(file: &dyn DataFile) -> io::Result<HeaderRead> {
        let mut bytes = [0; HEADER_BYTES as usize];
        let read = file.read_at(&mut bytes, 0)?;
        Ok(Header::decode(&bytes[..read]))
    }

    fn decode(bytes: &[u8]) -> HeaderRead {
        if bytes.len() < HEADER_BYTES as usize {
            return HeaderRead::Bad;
        }
        let version = u32_at(bytes, 8);
        if bytes.starts_with(MAGIC) && version != FORMAT_VERSION {
            return HeaderRead::Version(version);
        }
        if !bytes.starts_with(MAGIC) || crc32c::crc32c(&bytes[..52]) != u32_at(bytes, 52) {
            return HeaderRead::Bad;
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[16..32]);
        HeaderRead::Header(Header {
            id: LogId(Uuid::from_bytes(id)),
            partitions: u32_at(bytes, 12),
            number: u64_at(bytes, 32),
            bytes_before: u64_at(bytes, 40),
            crc_before: u32_at(bytes, 48),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            id: LogId(Uuid::from_u128(0x1234_5678_9abc_def0)),
            partitions: 16,
            number: 3,
            bytes_before: 900,
            crc_before: 77,
        }
    }

    #[test]
    fn a_header_is_read_as_written_and_no_flipped_bit_goes_unseen() {
        let mut bytes = header().encode();
        assert_eq!(bytes.len() as u64, HEADER_BYTES);
        assert_eq!(Header::decode(&bytes), HeaderRead::Header(header()));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(Header::decode(&bytes), HeaderRead::Header(_)), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for cut in 0..bytes.len() {
            assert_eq!(Header::decode(&bytes[..cut]), HeaderRead::Bad);
        }
        bytes[8] = 2;
        assert_eq!(Header::decode(&bytes), HeaderRead::Version(2));
    }

    #[test]
    fn names_and_numbers_agree() {
        let name = |number| path(Path::new(""), number).display().to_string();
        assert_eq!(name(1), "00000000000000000001.seg");
        for (text, expected) in [
            (name(1).as_str(), Some(Some(1))),
            (name(u64::MAX).as_str(), Some(Some(u64::MAX))),
            ("00000000000000000000.seg", Some(None)),
            ("1.seg", Some(None)),
            ("+0000000000000000001.seg", Some(None)),
            ("copy of 1.seg", Some(None)),
            ("watermark", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }
}
