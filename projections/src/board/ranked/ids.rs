//! Entrants' ids, each kept once: a dense number (slot) for an id, and the id for a slot.
//!
//! Append-only. The text of 256 ids stands in one string, so an id costs its bytes, two bytes
//! for where it ends, and six to eight in the hash index.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use super::index::Index;

/// Longest id, in bytes of UTF-8.
pub const ID_BYTES_MAX: usize = 128;

/// Ids of one group. `GROUP * ID_BYTES_MAX` must fit the `u16` that says where an id ends.
const GROUP: usize = 256;
const _: () = assert!(GROUP * ID_BYTES_MAX <= u16::MAX as usize);

/// An append-only table of ids, numbered from 0 in the order of their arrival.
///
/// The hash is keyed with a random seed of the process (SipHash), so whoever chooses the ids
/// cannot make look-ups slow. Neither slots nor any order depend on the seed.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    groups: Vec<Group>,
    index: Index,
    hasher: RandomState,
}

/// The text of up to `GROUP` ids, one after the other, and where each ends.
#[derive(Clone, Debug, Default)]
struct Group {
    text: String,
    ends: Vec<u16>,
}

/// Why an id was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdError {
    /// The id has no or too many bytes.
    Length {
        /// Bytes of the refused id.
        id_bytes: usize,
    },
    /// Every `u32` slot is taken.
    Full,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { id_bytes } => write!(
                f,
                "cannot keep an entrant's id of {id_bytes} bytes: an id has 1 to {ID_BYTES_MAX}; \
                 check the id where it comes in"
            ),
            Self::Full => write!(
                f,
                "cannot keep another entrant's id: all {} slots are taken; divide the board",
                u32::MAX
            ),
        }
    }
}

impl std::error::Error for IdError {}

impl Ids {
    /// An empty table. Allocates nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many ids there are; slots are `0..len`.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no id yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The slot of an id, if it was interned.
    pub fn slot_of(&self, id: &str) -> Option<u32> {
        self.find(self.hash(id), id)
    }

    /// The slot of an id, a new one if the id is new.
    ///
    /// Amortised O(1); the index grows by a quarter now and then, which hashes all ids again.
    ///
    /// # Errors
    /// `Length` unless the id has 1 to [`ID_BYTES_MAX`] bytes; `Full` after `u32::MAX` ids.
    pub fn intern(&mut self, id: &str) -> Result<u32, IdError> {
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            return Err(IdError::Length { id_bytes: id.len() });
        }
        let hash = self.hash(id);
        if let Some(slot) = self.find(hash, id) {
            return Ok(slot);
        }
        let slot = u32::try_from(self.len()).ok().filter(|&slot| slot < u32::MAX);
        let slot = slot.ok_or(IdError::Full)?;
        self.append(id);
        let (groups, hasher) = (&self.groups, &self.hasher);
        self.index.insert(hash, slot, |slot| hasher.hash_one(text(groups, slot)));
        Ok(slot)
    }

    /// The id of a slot; empty (which no id is) for a slot that was never handed out.
    pub fn id(&self, slot: u32) -> &str {
        text(&self.groups, slot)
    }

    /// Whether the slot was handed out.
    pub fn holds(&self, slot: u32) -> bool {
        (slot as usize) < self.len()
    }

    /// Bytes on the heap, from capacities.
    pub fn bytes(&self) -> usize {
        let texts: usize = self.groups.iter().map(Group::bytes).sum();
        texts + self.groups.capacity() * size_of::<Group>() + self.index.bytes()
    }

    fn hash(&self, id: &str) -> u64 {
        self.hasher.hash_one(id)
    }

    fn find(&self, hash: u64, id: &str) -> Option<u32> {
        self.index.find(hash, |slot| text(&self.groups, slot) == id)
    }

    fn append(&mut self, id: &str) {
        if self.len().is_multiple_of(GROUP) {
            if let Some(full) = self.groups.last_mut() {
                full.text.shrink_to_fit();
                full.ends.shrink_to_fit();
            }
            self.groups.push(Group::default());
        }
        if let Some(group) = self.groups.last_mut() {
            group.text.push_str(id);
            // Fits: the assertion beside `GROUP`.
            group.ends.push(group.text.len() as u16);
        }
    }
}

impl Group {
    fn bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<u16>()
    }
}

fn text(groups: &[Group], slot: u32) -> &str {
    let (group, at) = (slot as usize / GROUP, slot as usize % GROUP);
    let Some(group) = groups.get(group) else { return "" };
    let Some(&end) = group.ends.get(at) else { return "" };
    let start = if at == 0 { 0 } else { group.ends[at - 1] };
    &group.text[usize::from(start)..usize::from(end)]
}
