//! Cursors: where a list goes on, as text that says nothing to its reader.
//!
//! The bytes are the generation, a check over the list's name and the place, and the place itself.
//! The check is no secret: it finds what was cut, changed or taken from another list.

use agon_projections::GENERATION;
use agon_schema::ContentHash;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;

/// Bytes of the check.
const CHECK_BYTES: usize = 4;
/// Characters of a cursor at most: an id of 128 bytes and what stands around it.
const CURSOR_CHARS_MAX: usize = 256;

/// A text that is no cursor of this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadCursor {
    /// Not what an answer gave.
    #[error("is no cursor of this list; send back `next_cursor` as it came")]
    Foreign,
    /// Of a list that has been folded anew since.
    #[error("is of an earlier generation of this list; start again without a cursor")]
    Outdated,
}

/// The cursor of a place in a list. `list` names the list, and nothing else may have its name.
pub(crate) fn encode(list: &str, place: &[u8]) -> String {
    encode_of(GENERATION, list, place)
}

fn encode_of(generation: u32, list: &str, place: &[u8]) -> String {
    let mut bytes = generation.to_be_bytes().to_vec();
    bytes.extend_from_slice(&check(generation, list, place));
    bytes.extend_from_slice(place);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The place of a cursor in this list.
///
/// # Errors
/// See [`BadCursor`].
pub(crate) fn decode(list: &str, cursor: &str) -> Result<Vec<u8>, BadCursor> {
    if cursor.len() > CURSOR_CHARS_MAX {
        return Err(BadCursor::Foreign);
    }
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| BadCursor::Foreign)?;
    let (generation, rest) = bytes.split_first_chunk::<4>().ok_or(BadCursor::Foreign)?;
    let (found, place) = rest.split_first_chunk::<CHECK_BYTES>().ok_or(BadCursor::Foreign)?;
    let generation = u32::from_be_bytes(*generation);
    if *found != check(generation, list, place) {
        return Err(BadCursor::Foreign);
    }
    if generation != GENERATION {
        return Err(BadCursor::Outdated);
    }
    Ok(place.to_vec())
}

fn check(generation: u32, list: &str, place: &[u8]) -> [u8; CHECK_BYTES] {
    let mut bytes = list.as_bytes().to_vec();
    bytes.push(0);
    bytes.extend_from_slice(&generation.to_be_bytes());
    bytes.extend_from_slice(place);
    let hash = ContentHash::of_bytes(&bytes).0;
    [hash[0], hash[1], hash[2], hash[3]]
}

/// The cursor of a list in the order of offsets.
pub(crate) fn of_offset(list: &str, offset: u64) -> String {
    encode(list, &offset.to_be_bytes())
}

/// The offset of such a cursor.
///
/// # Errors
/// See [`BadCursor`].
pub(crate) fn offset(list: &str, cursor: &str) -> Result<u64, BadCursor> {
    let place = decode(list, cursor)?;
    Ok(u64::from_be_bytes(place.try_into().map_err(|_| BadCursor::Foreign)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_list_alone() {
        let cursor = of_offset("matches of a", 1 << 40);
        assert_eq!(offset("matches of a", &cursor), Ok(1 << 40));
        assert_eq!(offset("matches of b", &cursor), Err(BadCursor::Foreign));
        let longest = encode("board", &[7; 8 + 128]);
        assert_eq!(decode("board", &longest), Ok(vec![7; 136]));
        assert_eq!(offset("board", &longest), Err(BadCursor::Foreign));
    }

    #[test]
    fn what_was_changed_is_refused() {
        let cursor = of_offset("list", 9);
        for at in 0..cursor.len() {
            for other in ["A", "z", "=", "é", " "] {
                let mut changed = cursor.clone();
                changed.replace_range(at..=at, other);
                if changed != cursor {
                    assert_eq!(offset("list", &changed), Err(BadCursor::Foreign), "{changed}");
                }
            }
            assert_eq!(offset("list", &cursor[..at]), Err(BadCursor::Foreign), "{at}");
        }
        assert_eq!(decode("list", &"A".repeat(1 << 20)), Err(BadCursor::Foreign));
    }

    #[test]
    fn another_generation_is_named() {
        let cursor = encode_of(GENERATION + 1, "list", &9_u64.to_be_bytes());
        assert_eq!(offset("list", &cursor), Err(BadCursor::Outdated));
    }
}
