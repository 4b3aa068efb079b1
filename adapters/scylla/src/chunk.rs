//! Chunks: the rows of one flush in one partition of a table, side by side in one value.
//!
//! ```text
//! chunk = version 1 (one byte), then for each row, rising by offset:
//!         offset less the row's before (the first: less the chunk's `first`), length, value
//!         numbers as LEB128
//! ```
//! A chunk holds every row of its partition from its first to its last offset and lies within one
//! window of [`WINDOW`] offsets. After a crash the log is cut into other flushes, and then chunks
//! overlap. That is harmless: at one offset all of them hold the same, and of two that begin alike
//! the longer one, which holds all of the other, has the later stamp. A reader takes all chunks of
//! a window together.

use std::collections::BTreeMap;

/// Offsets of a window. A multiple of it is never crossed.
pub(crate) const WINDOW: u64 = 4096;
/// What stands first in a chunk.
const VERSION: u8 = 1;

/// Rows of a partition, by offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) bytes: Vec<u8>,
}

/// The first offset of the window that holds this one.
pub(crate) fn window_of(offset: u64) -> u64 {
    offset - offset % WINDOW
}

/// Cuts rows, rising by offset, into chunks: where a window ends, and where a chunk would grow past
/// `bytes_max`.
pub(crate) fn cut(rows: impl IntoIterator<Item = (u64, Vec<u8>)>, bytes_max: usize) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    for (offset, value) in rows {
        let goes_on = |chunk: &&mut Chunk| {
            window_of(chunk.first) == window_of(offset)
                && chunk.bytes.len() + value.len() <= bytes_max
        };
        match chunks.last_mut().filter(goes_on) {
            Some(chunk) => chunk.push(offset, &value),
            None => {
                let mut chunk = Chunk { first: offset, last: offset, bytes: vec![VERSION] };
                chunk.push(offset, &value);
                chunks.push(chunk);
            }
        }
    }
    chunks
}

impl Chunk {
    fn push(&mut self, offset: u64, value: &[u8]) {
        push_number(&mut self.bytes, offset - self.last);
        push_number(&mut self.bytes, value.len() as u64);
        self.bytes.extend_from_slice(value);
        self.last = offset;
    }
}

/// Adds the rows of a chunk that begins at `first`; `None` when its bytes are damaged or of another
/// version.
pub(crate) fn read(bytes: &[u8], first: u64, rows: &mut BTreeMap<u64, Vec<u8>>) -> Option<()> {
    let (version, mut rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    let mut offset = first;
    while !rest.is_empty() {
        offset = offset.checked_add(take_number(&mut rest)?)?;
        let length = usize::try_from(take_number(&mut rest)?).ok()?;
        let (value, after) = rest.split_at_checked(length)?;
        rest = after;
        rows.entry(offset).or_insert_with(|| value.to_vec());
    }
    Some(())
}

fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(offset: u64) -> Vec<u8> {
        vec![offset as u8; (offset % 300) as usize]
    }

    /// A store of chunks: of two that begin alike the later stamp stays.
    #[derive(Default)]
    struct Stored(BTreeMap<u64, Chunk>);

    impl Stored {
        fn write(&mut self, chunk: Chunk) {
            let kept = self.0.get(&chunk.first).is_some_and(|kept| kept.last > chunk.last);
            if !kept {
                self.0.insert(chunk.first, chunk);
            }
        }

        fn read(&self) -> BTreeMap<u64, Vec<u8>> {
            let mut rows = BTreeMap::new();
            for chunk in self.0.values() {
                read(&chunk.bytes, chunk.first, &mut rows).unwrap();
            }
            rows
        }
    }

    proptest! {
        /// However the rows were cut into flushes, and whichever of them were sent again with other
        /// cuts, in any order: the same rows are read.
        #[test]
        fn any_cuts_and_overlaps_read_back_the_same(
            steps in prop::collection::vec(1_u64..2_000, 1..60),
            lives in prop::collection::vec(
                (0_usize..60, prop::collection::vec(1_usize..20, 1..12), 20_usize..3_000), 1..6
            ),
        ) {
            let mut offsets = vec![4_090];
            offsets.extend(steps.iter().scan(4_090, |at, step| { *at += step; Some(*at) }));
            let row = |offset: &u64| (*offset, value(*offset));
            let mut stored = Stored::default();
            let whole = (0, vec![7; offsets.len()], 256 << 10);
            for (start, flushes, bytes_max) in lives.iter().chain([&whole]) {
                let mut rest = &offsets[(*start).min(offsets.len())..];
                for count in flushes {
                    let (now, later) = rest.split_at((*count).min(rest.len()));
                    for chunk in cut(now.iter().map(row), *bytes_max) {
                        prop_assert_eq!(window_of(chunk.first), window_of(chunk.last));
                        stored.write(chunk);
                    }
                    rest = later;
                }
            }
            prop_assert_eq!(stored.read(), offsets.iter().map(row).collect());
        }

        /// Damage is an answer, never a panic.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            read(&bytes, u64::MAX - 3, &mut BTreeMap::new());
        }
    }

    #[test]
    fn chunks_end_with_their_window_and_at_their_size() {
        let rows = |offsets: &[u64]| offsets.iter().map(|o| (*o, value(*o))).collect::<Vec<_>>();
        let spans = |chunks: Vec<Chunk>| -> Vec<(u64, u64)> {
            chunks.iter().map(|chunk| (chunk.first, chunk.last)).collect()
        };
        let cut_at_windows = cut(rows(&[0, 1, 4_095, 4_096, 8_191, 12_288]), 1 << 20);
        assert_eq!(spans(cut_at_windows), [(0, 4_095), (4_096, 8_191), (12_288, 12_288)]);
        // The third does not fit; one row larger than the limit stands alone.
        assert_eq!(
            spans(cut(rows(&[100, 110, 120, 290]), 230)),
            [(100, 110), (120, 120), (290, 290)]
        );
        assert_eq!(cut([], 100), []);
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let chunk = cut([(5, vec![1; 200]), (900, vec![2; 3])], 1 << 20).remove(0);
        for end in 0..chunk.bytes.len() {
            let is_whole = [1, 1 + 3 + 200].contains(&end);
            let rows = &mut BTreeMap::new();
            assert_eq!(read(&chunk.bytes[..end], 5, rows).is_some(), is_whole, "{end}");
        }
        let other = [&[2], &chunk.bytes[1..]].concat();
        assert_eq!(read(&other, 5, &mut BTreeMap::new()), None);
    }
}
