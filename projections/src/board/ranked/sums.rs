//! Running totals over the blocks of a board: a Fenwick tree of two counts at once.

/// What is counted of a block or a range of blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Entries.
    pub entries: usize,
    /// Entries whose key differs from the one before, the block's border included: summed over
    /// all blocks, the number of distinct keys.
    pub runs: usize,
}

/// Prefix sums of `Count` with updates, each in O(log blocks).
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    tree: Vec<Count>,
}

impl Sums {
    /// Starts anew from one count a block. O(blocks).
    pub(super) fn rebuild(&mut self, counts: impl Iterator<Item = Count>) {
        self.tree.clear();
        self.tree.extend(counts);
        for at in 0..self.tree.len() {
            let parent = at | (at + 1);
            if parent < self.tree.len() {
                let Count { entries, runs } = self.tree[at];
                self.tree[parent].entries += entries;
                self.tree[parent].runs += runs;
            }
        }
    }

    /// Changes the count of one block.
    pub(super) fn add(&mut self, block: usize, entries: isize, runs: isize) {
        let mut at = block;
        while let Some(count) = self.tree.get_mut(at) {
            count.entries = count.entries.wrapping_add_signed(entries);
            count.runs = count.runs.wrapping_add_signed(runs);
            at |= at + 1;
        }
    }

    /// What stands in the blocks before this one.
    pub(super) fn before(&self, block: usize) -> Count {
        let mut sum = Count::default();
        let mut end = block.min(self.tree.len());
        while end > 0 {
            sum.entries += self.tree[end - 1].entries;
            sum.runs += self.tree[end - 1].runs;
            end &= end - 1;
        }
        sum
    }

    /// The block that holds the entry with this ordinal, and the ordinal within it. One past the
    /// last block when there are not so many entries.
    pub(super) fn find(&self, ordinal: usize) -> (usize, usize) {
        let (mut block, mut left) = (0, ordinal);
        let mut step = (self.tree.len() + 1).next_power_of_two();
        while step > 0 {
            if let Some(count) = self.tree.get(block + step - 1)
                && count.entries <= left
            {
                left -= count.entries;
                block += step;
            }
            step /= 2;
        }
        (block, left)
    }

    pub(super) fn bytes(&self) -> usize {
        self.tree.capacity() * size_of::<Count>()
    }
}
