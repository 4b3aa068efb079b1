//! The entrants of a cell: a number (slot) for each id, from 0 in the order of their first events,
//! and a value for each slot.
//!
//! A match touches two entrants somewhere in a large table, and waiting for memory costs more than
//! the arithmetic. So an entrant's value stands beside the mark by which it is recognised, in one
//! line of the cache, and the index before it holds nothing but slots.

use std::hash::BuildHasher;

use agon_schema::AgentId;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Bytes of an id that is its own mark.
const SHORT_BYTES: usize = 16;

/// What an id is recognised by: the id itself, filled up with zero bytes, which no id holds; of a
/// longer one a zero and its hash, and then the ids must be compared as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Mark(u64, u64);

impl Mark {
    /// In two loads: bytes that are copied one by one and read as words make the processor wait.
    fn of_short(id: &[u8]) -> Option<Mark> {
        match (id.first_chunk(), id.last_chunk()) {
            (Some(first), Some(last)) if id.len() <= SHORT_BYTES => {
                // Bytes of the last eight that stand in the first word already are shifted out.
                let twice = 8 * (SHORT_BYTES - id.len()) as u32;
                let rest = u64::from_le_bytes(*last).checked_shr(twice).unwrap_or(0);
                Some(Mark(u64::from_le_bytes(*first), rest))
            }
            (None, _) => {
                let word = id.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
                Some(Mark(word, 0))
            }
            _ => None,
        }
    }

    fn is_id(self) -> bool {
        self.0 != 0
    }
}

/// An entrant in one line of the cache.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Entrant<T> {
    mark: Mark,
    value: T,
}

/// A slot and a value for each entrant.
#[derive(Clone, Debug)]
pub(crate) struct Slots<T> {
    // Only looked up, never walked: its order is chance.
    index: HashTable<u32>,
    hasher: RandomState,
    entrants: Vec<Entrant<T>>,
    ids: Vec<AgentId>,
}

impl<T> Default for Slots<T> {
    fn default() -> Slots<T> {
        Slots {
            index: HashTable::new(),
            hasher: RandomState::default(),
            entrants: Vec::new(),
            ids: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    /// How many there are: slots from 0 to this, exclusive.
    pub(crate) fn len(&self) -> u32 {
        self.ids.len() as u32
    }

    /// The slot of an id, if it has one.
    pub(crate) fn find(&self, id: &AgentId) -> Option<u32> {
        let mark = self.mark(id);
        let same = |slot: &u32| {
            let slot = *slot as usize;
            self.entrants[slot].mark == mark && (mark.is_id() || self.ids[slot] == *id)
        };
        self.index.find(self.hasher.hash_one(mark), same).copied()
    }

    /// Gives the next slot to an id that has none.
    pub(crate) fn add(&mut self, id: AgentId, value: T) -> u32 {
        let (slot, mark) = (self.len(), self.mark(&id));
        self.ids.push(id);
        self.entrants.push(Entrant { mark, value });
        let (entrants, hasher) = (&self.entrants, &self.hasher);
        let hash_of = |slot: &u32| hasher.hash_one(entrants[*slot as usize].mark);
        self.index.insert_unique(hash_of(&slot), slot, hash_of);
        slot
    }

    /// The id of a slot that was given.
    pub(crate) fn id(&self, slot: u32) -> &AgentId {
        &self.ids[slot as usize]
    }

    /// The value of a slot that was given.
    pub(crate) fn value(&self, slot: u32) -> &T {
        &self.entrants[slot as usize].value
    }

    /// The value of a slot that was given.
    pub(crate) fn value_mut(&mut self, slot: u32) -> &mut T {
        &mut self.entrants[slot as usize].value
    }

    fn mark(&self, id: &AgentId) -> Mark {
        let long = || Mark(0, self.hasher.hash_one(id.as_str()));
        Mark::of_short(id.as_str().as_bytes()).unwrap_or_else(long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Rating;

    #[test]
    fn a_rating_and_its_mark_fill_one_line() {
        assert_eq!(size_of::<Entrant<Rating>>(), 64);
    }

    #[test]
    fn ids_of_every_length_keep_their_slot() {
        let id = |n: usize| {
            let text = format!("{n}{}", "x".repeat(n % 40));
            AgentId::new(text).unwrap()
        };
        let mut slots = Slots::default();
        for n in 0..2_000 {
            assert_eq!(slots.find(&id(n)), None);
            assert_eq!(slots.add(id(n), n), n as u32);
        }
        assert_eq!(slots.len(), 2_000);
        for n in 0..2_000 {
            let slot = slots.find(&id(n)).unwrap();
            *slots.value_mut(slot) += 1;
            assert_eq!((slots.id(slot), slots.value(slot)), (&id(n), &(n + 1)));
        }
    }

    #[test]
    fn a_short_mark_is_the_id_filled_up() {
        for length in 0..=SHORT_BYTES {
            let bytes = &b"0123456789abcdef"[..length];
            let mut filled = [0; SHORT_BYTES];
            filled[..length].copy_from_slice(bytes);
            let both = u128::from_le_bytes(filled);
            let want = Mark(both as u64, (both >> 64) as u64);
            assert_eq!(Mark::of_short(bytes), Some(want), "{length} bytes");
        }
        assert_eq!(Mark::of_short(b"0123456789abcdefg"), None);
    }

    /// A short id that is the beginning of another, and bytes that only fill up.
    #[test]
    fn neighbours_are_told_apart() {
        let texts = ["a", "aa", "aaaaaaaa", "aaaaaaaaa", "aaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaa"];
        let mut slots = Slots::default();
        for (slot, text) in texts.iter().enumerate() {
            let id = AgentId::new(*text).unwrap();
            assert_eq!(slots.find(&id), None);
            assert_eq!(slots.add(id, ()), slot as u32);
        }
        for (slot, text) in texts.iter().enumerate() {
            assert_eq!(slots.find(&AgentId::new(*text).unwrap()), Some(slot as u32));
        }
    }
}
