//! A leaderboard in memory: who stands where, for any entrant, any rank and any page.
//!
//! Entries stand in order in blocks of a few hundred; running totals over the blocks give ranks.
//! Looking up, paging and moving an entrant take O(log entries) steps and one short copy. An
//! entry costs about 13 bytes, its id in [`Ids`] about 10 and its own length.

mod block;
mod ids;
mod index;
mod sums;
mod ties;

#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use block::{BLOCK_MAX, BLOCK_MIN, Block, Entry};
use sums::{Count, Sums};

pub use ids::{ID_BYTES_MAX, IdError, Ids};
pub use ties::{Standing, Ties};

/// Entrants in the order of (key, id bytes), the smaller key first.
///
/// An entrant is a slot of the [`Ids`] given to each call, which must be the same table every
/// time. The board does not remember an entrant's key: the caller keeps it, and gives the old one
/// to move or remove the entrant. Ordinals count from 0.
#[derive(Clone, Debug, Default)]
pub struct Ranked {
    /// Never an empty one, and never two neighbours below `BLOCK_MIN`.
    blocks: Vec<Block>,
    /// The first entry of each block, side by side to be searched without touching the blocks.
    firsts: Vec<Entry>,
    sums: Sums,
    len: usize,
}

/// How the id of another slot compares with this slot's. Reads ids, which are far apart in memory,
/// only where keys are equal and slots are not.
fn by_id(ids: &Ids, slot: u32) -> impl Fn(u32) -> Ordering + '_ {
    move |other| {
        if other == slot { Ordering::Equal } else { ids.id(other).cmp(ids.id(slot)) }
    }
}

/// Where an entry stands or would stand.
#[derive(Clone, Copy)]
struct Place {
    block: usize,
    at: usize,
    found: bool,
}

impl Ranked {
    /// An empty board. Allocates nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A board of many (slot, key) at once, in any order. O(n log n).
    ///
    /// Equal pairs count once; slots that `ids` does not hold are left out.
    pub fn build(ids: &Ids, entrants: impl IntoIterator<Item = (u32, u64)>) -> Self {
        let known = |&(slot, _): &(u32, u64)| ids.holds(slot);
        let mut entries: Vec<Entry> =
            entrants.into_iter().filter(known).map(|(slot, key)| Entry::new(key, slot)).collect();
        entries.sort_unstable_by(|a, b| a.compare(b.key(), by_id(ids, b.slot)));
        entries.dedup();

        let mut board = Self { len: entries.len(), ..Self::default() };
        // Room for growth in each, and all of one size, so only the last may be small.
        let blocks = entries.len().div_ceil(BLOCK_MAX / 4 * 3).max(1);
        let mut before = None;
        for chunk in entries.chunks(entries.len().div_ceil(blocks).max(1)) {
            board.firsts.extend(chunk.first());
            board.blocks.push(Block::new(chunk, before));
            before = chunk.last().map(Entry::key);
        }
        board.resum();
        board
    }

    /// How many entrants stand on the board.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody stands on the board.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an entrant; false, and nothing is changed, when it stands there already with this
    /// key or `ids` does not hold the slot.
    pub fn insert(&mut self, ids: &Ids, slot: u32, key: u64) -> bool {
        let place = self.locate(key, by_id(ids, slot));
        if place.found || !ids.holds(slot) {
            return false;
        }
        self.insert_at(place, Entry::new(key, slot));
        true
    }

    /// Takes an entrant away; false when it does not stand there with this key.
    pub fn remove(&mut self, ids: &Ids, slot: u32, key: u64) -> bool {
        let place = self.locate(key, by_id(ids, slot));
        if place.found {
            self.remove_at(place, key);
        }
        place.found
    }

    /// Moves an entrant to another key; false, and nothing is changed, when it does not stand
    /// there with the old key or already with the new one.
    pub fn update(&mut self, ids: &Ids, slot: u32, old_key: u64, new_key: u64) -> bool {
        let old = self.locate(old_key, by_id(ids, slot));
        if !old.found || old_key == new_key {
            return old.found;
        }
        self.remove_at(old, old_key);
        // Located after the removal, which may have merged blocks.
        let new = self.locate(new_key, by_id(ids, slot));
        if new.found {
            let old = self.locate(old_key, by_id(ids, slot));
            self.insert_at(old, Entry::new(old_key, slot));
            return false;
        }
        self.insert_at(new, Entry::new(new_key, slot));
        true
    }

    /// The ordinal of an entrant, if it stands there with this key.
    pub fn rank_of(&self, ids: &Ids, slot: u32, key: u64) -> Option<usize> {
        self.ordinal(self.locate(key, by_id(ids, slot))).ok()
    }

    /// The ordinal of (key, id); as an error the ordinal it would have, as after a cursor whose
    /// entrant has moved on.
    pub fn position(&self, ids: &Ids, key: u64, id: &str) -> Result<usize, usize> {
        self.ordinal(self.locate(key, |slot| ids.id(slot).cmp(id)))
    }

    /// The slot at an ordinal.
    pub fn at(&self, ordinal: usize) -> Option<u32> {
        self.entry_at(ordinal).map(|entry| entry.slot)
    }

    /// (slot, key) in order from an ordinal on; nothing when the board is shorter.
    pub fn iter_from(&self, ordinal: usize) -> impl Iterator<Item = (u32, u64)> + '_ {
        let (block, at) = self.sums.find(ordinal);
        let rest = self.blocks.get(block..).unwrap_or_default();
        rest.iter().flat_map(|b| b.entries()).skip(at).map(|entry| (entry.slot, entry.key()))
    }

    /// How many entries have a strictly smaller key.
    pub fn count_better(&self, key: u64) -> usize {
        let (block, at) = self.lower_bound(key);
        self.sums.before(block).entries + at
    }

    /// How many distinct keys are strictly smaller. Reads one block besides the totals.
    pub fn distinct_better(&self, key: u64) -> usize {
        let (block, at) = self.lower_bound(key);
        let Some(b) = self.blocks.get(block) else { return 0 };
        self.sums.before(block).runs + block::runs(self.last_key_before(block), &b.entries()[..at])
    }

    /// Bytes on the heap, from capacities; without the ids.
    pub fn bytes(&self) -> usize {
        let entries: usize = self.blocks.iter().map(Block::bytes).sum();
        entries
            + self.blocks.capacity() * size_of::<Block>()
            + self.firsts.capacity() * size_of::<Entry>()
            + self.sums.bytes()
    }

    /// Looks at every invariant. O(n), for tests.
    ///
    /// # Errors
    /// The invariant that does not hold, and where.
    pub fn check(&self, ids: &Ids) -> Result<(), String> {
        let (mut sum, mut before, mut last) = (Count::default(), None, None::<Entry>);
        for (n, block) in self.blocks.iter().enumerate() {
            let entries = block.entries();
            let small = |b: Option<&Block>| b.is_some_and(|b| b.entries().len() < BLOCK_MIN);
            let rules = [
                (!entries.is_empty() && entries.len() <= BLOCK_MAX, "a block has a fair size"),
                (!small(Some(block)) || !small(self.blocks.get(n + 1)), "no two small neighbours"),
                (self.firsts.get(n) == entries.first(), "firsts are the first entries"),
                (self.sums.before(n) == sum, "totals are sums of blocks"),
                (block.runs == block::runs(before, entries), "runs are counted"),
            ];
            if let Some((_, rule)) = rules.iter().find(|(holds, _)| !holds) {
                return Err(format!("block {n}: {rule}"));
            }
            for entry in entries {
                let tie = by_id(ids, entry.slot);
                if last.is_some_and(|last| last.compare(entry.key(), tie) != Ordering::Less) {
                    return Err(format!("block {n}: entries are in order, {entry:?} is not"));
                }
                last = Some(*entry);
            }
            before = last.map(|entry| entry.key());
            sum.entries += entries.len();
            sum.runs += block.runs;
        }
        let whole = self.sums.before(usize::MAX) == sum && self.len == sum.entries;
        let whole = whole && self.firsts.len() == self.blocks.len();
        if whole {
            Ok(())
        } else {
            Err(format!("totals of the board: {} is not {sum:?}", self.len))
        }
    }
}

impl Ranked {
    fn locate(&self, key: u64, tie: impl Fn(u32) -> Ordering) -> Place {
        let up_to = |first: &Entry| first.compare(key, &tie) != Ordering::Greater;
        let block = self.firsts.partition_point(up_to).saturating_sub(1);
        let Some(b) = self.blocks.get(block) else { return Place { block, at: 0, found: false } };
        match b.entries().binary_search_by(|entry| entry.compare(key, &tie)) {
            Ok(at) => Place { block, at, found: true },
            Err(at) => Place { block, at, found: false },
        }
    }

    fn ordinal(&self, place: Place) -> Result<usize, usize> {
        let ordinal = self.sums.before(place.block).entries + place.at;
        if place.found { Ok(ordinal) } else { Err(ordinal) }
    }

    /// Block and place of the first entry whose key is not smaller; the place may be the block's
    /// end.
    fn lower_bound(&self, key: u64) -> (usize, usize) {
        let block = self.firsts.partition_point(|first| first.key() < key).saturating_sub(1);
        let at = self.blocks.get(block).map_or(0, |b| b.lower_bound(key));
        (block, at)
    }

    fn entry_at(&self, ordinal: usize) -> Option<&Entry> {
        let (block, at) = self.sums.find(ordinal);
        self.blocks.get(block)?.entries().get(at)
    }

    fn last_key_before(&self, block: usize) -> Option<u64> {
        self.blocks.get(block.checked_sub(1)?)?.entries().last().map(Entry::key)
    }

    fn insert_at(&mut self, place: Place, entry: Entry) {
        let Place { block, at, .. } = place;
        self.len += 1;
        if self.blocks.is_empty() {
            self.blocks.push(Block::new(&[entry], None));
            self.firsts.push(entry);
            return self.resum();
        }
        self.count(block, at, at, entry.key(), 1);
        self.blocks[block].insert(at, entry);
        if at == 0 {
            self.firsts[block] = entry;
        }
        if self.blocks[block].entries().len() > BLOCK_MAX {
            self.split(block, at);
        }
    }

    fn remove_at(&mut self, place: Place, key: u64) {
        let Place { block, at, .. } = place;
        self.len -= 1;
        self.count(block, at, at + 1, key, -1);
        self.blocks[block].remove(at);
        match self.blocks[block].entries().first() {
            None => {
                self.blocks.remove(block);
                self.firsts.remove(block);
                self.resum();
            }
            Some(&first) => {
                self.firsts[block] = first;
                if self.blocks[block].entries().len() < BLOCK_MIN {
                    self.merge(block);
                }
            }
        }
    }

    /// Counts an entry that comes (`by` 1, `next == at`) or goes (`by` -1, `next == at + 1`).
    ///
    /// It starts a run when the key before it differs; then it takes the start from the entry
    /// after it, or leaves it there, when that has the same key.
    fn count(&mut self, block: usize, at: usize, next: usize, key: u64, by: isize) {
        let entries = self.blocks[block].entries();
        let before = match at.checked_sub(1) {
            Some(before) => Some(entries[before].key()),
            None => self.last_key_before(block),
        };
        if before == Some(key) {
            return self.sums.add(block, by, 0);
        }
        let (after_block, after) = match entries.get(next) {
            Some(after) => (block, Some(after)),
            None => (block + 1, self.firsts.get(block + 1)),
        };
        let shared = after.is_some_and(|after| after.key() == key);
        if shared && after_block == block {
            return self.sums.add(block, by, 0);
        }
        self.add_runs(block, by);
        self.sums.add(block, by, by);
        if shared {
            self.add_runs(after_block, -by);
            self.sums.add(after_block, 0, -by);
        }
    }

    fn add_runs(&mut self, block: usize, by: isize) {
        let runs = &mut self.blocks[block].runs;
        *runs = runs.wrapping_add_signed(by);
    }

    /// Divides a block that has one entry too many, which came in at `at`.
    fn split(&mut self, block: usize, at: usize) {
        let len = self.blocks[block].entries().len();
        // Who always adds at one end leaves full blocks behind, not half empty ones.
        let cut = match at {
            0 if block == 0 => 1,
            _ if at + 1 == len && block + 1 == self.blocks.len() => at,
            _ => len / 2,
        };
        let before = self.last_key_before(block);
        let right = self.blocks[block].split_off(cut, before);
        self.firsts.insert(block + 1, right.entries()[0]);
        self.blocks.insert(block + 1, right);
        self.resum();
    }

    /// Joins a small block to a neighbour, if the two leave room to grow.
    fn merge(&mut self, block: usize) {
        let mut block = block;
        while self.blocks[block].entries().len() < BLOCK_MIN {
            let fits = |left: &usize| {
                let pair = self.blocks.get(*left..*left + 2).unwrap_or_default();
                let len: usize = pair.iter().map(|b| b.entries().len()).sum();
                pair.len() == 2 && len <= BLOCK_MAX / 4 * 3
            };
            let Some(left) = block.checked_sub(1).filter(fits).or(Some(block).filter(fits)) else {
                return;
            };
            let right = self.blocks.remove(left + 1);
            self.firsts.remove(left + 1);
            self.blocks[left].append(right);
            self.resum();
            block = left;
        }
    }

    fn resum(&mut self) {
        let count = |b: &Block| Count { entries: b.entries().len(), runs: b.runs };
        self.sums.rebuild(self.blocks.iter().map(count));
    }
}
