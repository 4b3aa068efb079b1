//! Reads chunks, on its own: what the store wrote is looked at with other eyes than its reader's.

use std::collections::BTreeMap;

/// Chunks never cross a multiple of so many offsets.
pub(super) const WINDOW: u64 = 4096;

/// Adds the rows of a chunk; of one that cannot be read no row, so that its rows are missing.
pub(super) fn add(first: i64, chunk: &[u8], rows: &mut BTreeMap<u64, Vec<u8>>) {
    rows.extend(decode(first as u64, chunk).unwrap_or_default());
}

fn decode(first: u64, chunk: &[u8]) -> Option<Vec<(u64, Vec<u8>)>> {
    let mut rest = chunk.strip_prefix(&[1])?;
    let (mut rows, mut offset) = (Vec::new(), first);
    while !rest.is_empty() {
        offset = offset.checked_add(number(&mut rest)?)?;
        let length = usize::try_from(number(&mut rest)?).ok()?;
        let (value, after) = rest.split_at_checked(length)?;
        rows.push((offset, value.to_vec()));
        rest = after;
    }
    Some(rows)
}

/// Seven bits a byte, the least first.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let length = rest.iter().position(|byte| *byte < 0x80)? + 1;
    let (bytes, after) = rest.split_at(length);
    *rest = after;
    let add = |number: u64, byte: &u8| {
        number.checked_mul(0x80).map(|number| number | u64::from(byte & 0x7f))
    };
    bytes.iter().rev().try_fold(0, add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_the_store_writes_and_nothing_else() {
        let written: Vec<(u64, Vec<u8>)> = [(5, 0), (6, 300), (900, 1), (4_000, 127), (4_095, 128)]
            .map(|(offset, length)| (offset, vec![offset as u8; length]))
            .into();
        let chunk = crate::chunk::cut(written.clone(), 1 << 20).remove(0);
        assert_eq!(decode(chunk.first, &chunk.bytes), Some(written));
        assert_eq!(decode(5, &chunk.bytes[..chunk.bytes.len() - 1]), None);
        assert_eq!(decode(5, &[]), None);
        assert_eq!(decode(5, &[2, 0, 0]), None);
        assert_eq!(decode(u64::MAX, &[1, 1, 0]), None);
        assert_eq!(decode(0, &[&[1][..], &[0xff; 10], &[1]].concat()), None);
    }
}
