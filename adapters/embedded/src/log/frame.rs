//! One record as bytes in a segment. Numbers are little-endian.
//!
//! ```text
//! 0     4        8              12      13          17       25               33
//! | crc | length | crc before   | topic | partition | offset | appended_at_ms | body
//!   u32   u32      u32            u8      u32         u64      i64
//! body: key length, key, header count, (name length, name, value length, value)…, record value
//! ```
//! Lengths and counts in the body are LEB128. `length` is that of the whole frame, and `crc`
//! (crc32c) covers everything behind itself. Since that includes the crc of the frame before, a
//! frame can be neither lost nor moved without the next one telling.

use agon_schema::record::{RECORD_BYTES_MAX, header};
use agon_schema::{Record, Topic, TopicPartition};

/// Headers of one record, at most.
pub const HEADERS_MAX: usize = 1024;

/// Bytes before a frame's body.
pub(super) const HEAD_BYTES: usize = 33;

/// Longest LEB128 that the body uses.
const NUMBER_BYTES_MAX: usize = 5;

/// Longest frame: checked before anything is allocated for one.
pub(super) const FRAME_BYTES_MAX: usize =
    HEAD_BYTES + RECORD_BYTES_MAX + (2 + 2 * HEADERS_MAX) * NUMBER_BYTES_MAX;

/// A frame whose checksum, length and link to the one before are right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub target: TopicPartition,
    pub offset: u64,
    pub appended_at_ms: i64,
    /// The frame's own crc: what the next frame carries.
    pub crc: u32,
    /// Bytes of the whole frame.
    pub length: usize,
    body: &'a [u8],
}

/// What stands at a place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Parsed<'a> {
    Frame(Frame<'a>),
    /// No whole frame yet; so many bytes are needed to go on.
    Short(usize),
    /// No frame, and why.
    Bad(&'static str),
}

/// Bytes that a record takes in a segment, at most.
pub(super) fn bytes_at_most(record: &Record) -> usize {
    HEAD_BYTES + record.size_bytes() + (2 + 2 * record.headers.len()) * NUMBER_BYTES_MAX
}

/// Appends a frame to `out`, all but its place in the log, which [`seal`] gives it. The record
/// keeps to the limits of this module.
pub(super) fn encode(out: &mut Vec<u8>, target: TopicPartition, record: &Record) {
    let start = out.len();
    out.extend_from_slice(&[0; 12]);
    out.push(target.topic.code());
    out.extend_from_slice(&target.partition.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&record.appended_at_ms.to_le_bytes());
    put_bytes(out, &record.key);
    put_number(out, record.headers.len());
    for (name, value) in &record.headers {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value);
    }
    out.extend_from_slice(&record.value);
    let length = (out.len() - start) as u32;
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
}

/// Gives an encoded frame its offset and the crc of the frame before, and returns its own.
pub(super) fn seal(frame: &mut [u8], offset: u64, crc_before: u32) -> u32 {
    frame[8..12].copy_from_slice(&crc_before.to_le_bytes());
    frame[17..25].copy_from_slice(&offset.to_le_bytes());
    let crc = crc32c::crc32c(&frame[4..]);
    frame[..4].copy_from_slice(&crc.to_le_bytes());
    crc
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads the frame at the start of `bytes`, which must follow the frame with `crc_before`.
pub(super) fn parse(bytes: &[u8], crc_before: u32) -> Parsed<'_> {
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
        return Parsed::Short(HEAD_BYTES);
    };
    let length = u32_at(head, 4) as usize;
    if !(HEAD_BYTES..=FRAME_BYTES_MAX).contains(&length) {
        return Parsed::Bad("a frame of impossible length");
    }
    let Some(frame) = bytes.get(..length) else {
        return Parsed::Short(length);
    };
    let crc = u32_at(head, 0);
    if crc32c::crc32c(&frame[4..]) != crc {
        return Parsed::Bad("a frame with a wrong checksum");
    }
    if u32_at(head, 8) != crc_before {
        return Parsed::Bad("a frame that does not follow the one before");
    }
    let Some(topic) = Topic::from_code(head[12]) else {
        return Parsed::Bad("a frame of an unknown topic");
    };
    Parsed::Frame(Frame {
        target: TopicPartition { topic, partition: u32_at(head, 13) },
        offset: u64_at(head, 17),
        appended_at_ms: u64_at(head, 25) as i64,
        crc,
        length,
        body: &frame[HEAD_BYTES..],
    })
}

impl Frame<'_> {
    /// The record in it; `None` when the body is not one, which no writer of this log makes.
    pub(super) fn record(&self) -> Option<Record> {
        let mut rest = self.body;
        let key = take_bytes(&mut rest)?.to_vec();
        let count = take_number(&mut rest)?;
        if count > HEADERS_MAX {
            return None;
        }
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            let name = std::str::from_utf8(take_bytes(&mut rest)?).ok()?;
            headers.push(header(name, take_bytes(&mut rest)?));
        }
        Some(Record { key, headers, value: rest.to_vec(), appended_at_ms: self.appended_at_ms })
    }
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_number(rest)?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

fn take_number(rest: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    for shift in 0..NUMBER_BYTES_MAX {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= usize::from(byte & 0x7f) << (7 * shift);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The number at a place that lies inside `bytes`.
pub(super) fn u32_at(bytes: &[u8], place: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[place..place + 4]);
    u32::from_le_bytes(word)
}

/// The number at a place that lies inside `bytes`.
pub(super) fn u64_at(bytes: &[u8], place: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[place..place + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target() -> TopicPartition {
        TopicPartition { topic: Topic::Submissions, partition: 7 }
    }

    fn records() -> impl Strategy<Value = Record> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..300);
        let name_and_value = (".{0,20}", bytes());
        let named = name_and_value.prop_map(|(name, value)| header(&name, &value));
        let headers = prop::collection::vec(named, 0..5);
        (bytes(), headers, bytes(), any::<i64>()).prop_map(
            |(key, headers, value, appended_at_ms)| Record { key, headers, value, appended_at_ms },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(record in records(), offset: u64, before: u32) {
            let mut bytes = Vec::new();
            encode(&mut bytes, target(), &record);
            let crc = seal(&mut bytes, offset, before);
            prop_assert!(bytes.len() <= bytes_at_most(&record));
            let Parsed::Frame(frame) = parse(&bytes, before) else { panic!("no frame") };
            prop_assert_eq!((frame.target, frame.offset, frame.crc), (target(), offset, crc));
            prop_assert_eq!(frame.length, bytes.len());
            prop_assert_eq!(frame.record(), Some(record));
            prop_assert!(matches!(parse(&bytes, before ^ 1), Parsed::Bad(_)));
            for cut in 0..bytes.len() {
                prop_assert!(matches!(parse(&bytes[..cut], before), Parsed::Short(_)));
            }
        }

        #[test]
        fn any_bytes_are_parsed_without_panic(bytes: Vec<u8>, before: u32) {
            if let Parsed::Frame(frame) = parse(&bytes, before) {
                frame.record();
            }
            let body = Frame {
                target: target(), offset: 0, appended_at_ms: 0, crc: 0, length: 0, body: &bytes,
            };
            body.record();
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let record = Record {
            key: b"football".to_vec(),
            headers: vec![header("ce_id", b"1")],
            value: b"value".to_vec(),
            appended_at_ms: 5,
        };
        let mut bytes = Vec::new();
        encode(&mut bytes, target(), &record);
        seal(&mut bytes, 3, 9);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(parse(&bytes, 9), Parsed::Frame(_)), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    /// Logs are kept for ever, so these bytes are read for ever.
    #[test]
    fn the_bytes_of_version_1_stay() {
        let record = Record {
            key: b"football".to_vec(),
            headers: vec![header("ce_id", b"1")],
            value: vec![9; 3],
            appended_at_ms: 0x0102_0304,
        };
        let mut bytes = Vec::new();
        encode(&mut bytes, target(), &record);
        seal(&mut bytes, 5, 0xaabb_ccdd);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = "71a356fc36000000ddccbbaa020700000005000000000000000403020100000000\
            08666f6f7462616c6c010563655f69640131090909";
        assert_eq!(hex, expected);
    }
}
