//! A run of neighbouring entries of a board, as small as its entries allow.

use std::cmp::Ordering;

/// Most entries of a block. Tests use few, so that short sequences split and merge.
pub(super) const BLOCK_MAX: usize = if cfg!(test) { 8 } else { 512 };

/// A block below this is joined to a neighbour when the two fit.
pub(super) const BLOCK_MIN: usize = BLOCK_MAX / 4;

/// Entries by which a block's memory grows: little is ever left unused.
const GROWTH: usize = BLOCK_MAX.div_ceil(16);

/// One entrant's place: 12 bytes, where a `u64` beside a `u32` would take 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    key_high: u32,
    key_low: u32,
    pub slot: u32,
}

impl Entry {
    pub(super) fn new(key: u64, slot: u32) -> Self {
        Self { key_high: (key >> 32) as u32, key_low: key as u32, slot }
    }

    pub(super) fn key(&self) -> u64 {
        u64::from(self.key_high) << 32 | u64::from(self.key_low)
    }

    /// The order of the board: by key, then by what `tie` says of the entry's slot.
    pub(super) fn compare(&self, key: u64, tie: impl Fn(u32) -> Ordering) -> Ordering {
        self.key().cmp(&key).then_with(|| tie(self.slot))
    }
}

/// Entries in order, and how many of them start a run of equal keys.
#[derive(Clone, Debug)]
pub(super) struct Block {
    entries: Vec<Entry>,
    /// Entries whose key differs from the one before, in this block or the one before it.
    pub runs: usize,
}

impl Block {
    /// A block of these entries; `before` is the last key of the block before.
    pub(super) fn new(entries: &[Entry], before: Option<u64>) -> Self {
        Self { entries: entries.to_vec(), runs: runs(before, entries) }
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn lower_bound(&self, key: u64) -> usize {
        self.entries.partition_point(|entry| entry.key() < key)
    }

    pub(super) fn insert(&mut self, at: usize, entry: Entry) {
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(GROWTH);
        }
        self.entries.insert(at, entry);
    }

    pub(super) fn remove(&mut self, at: usize) {
        self.entries.remove(at);
        self.trim();
    }

    /// Takes away the entries from `cut` on; `before` is the last key of the block before.
    pub(super) fn split_off(&mut self, cut: usize, before: Option<u64>) -> Self {
        let right = Self::new(&self.entries[cut..], self.entries[..cut].last().map(Entry::key));
        self.entries.truncate(cut);
        self.runs = runs(before, &self.entries);
        self.trim();
        right
    }

    pub(super) fn append(&mut self, right: Self) {
        self.entries.reserve_exact(right.entries.len());
        self.entries.extend_from_slice(&right.entries);
        self.runs += right.runs;
    }

    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    /// Gives memory back when more than two steps of growth are unused.
    fn trim(&mut self) {
        if self.entries.capacity() - self.entries.len() > 2 * GROWTH {
            self.entries.shrink_to(self.entries.len() + GROWTH);
        }
    }
}

/// How many of these entries have another key than the one before them.
pub(super) fn runs(before: Option<u64>, entries: &[Entry]) -> usize {
    let Some(first) = entries.first() else { return 0 };
    let inside = entries.windows(2).filter(|pair| pair[0].key() != pair[1].key()).count();
    inside + usize::from(before != Some(first.key()))
}
