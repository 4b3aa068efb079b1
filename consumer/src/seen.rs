//! What may have been seen: a filter in memory that says "never" for certain, so that a new
//! identity costs no look-up in the store.

use std::hash::Hash;

use fastbloom::BloomFilter;

/// Share of new identities that are looked up in vain.
const FALSE_POSITIVES: f64 = 0.001;
/// Items of the first filter; each further one holds twice as many.
const FIRST_ITEMS: usize = 4_096;

/// A growing filter over the identities of one cell.
pub struct Seen {
    filters: Vec<BloomFilter>,
    items_in_last: usize,
    items: usize,
    items_max: usize,
    is_cold: bool,
}

impl Seen {
    /// A filter of nothing, for at most `items_max` items.
    pub fn new(items_max: usize) -> Seen {
        Seen { filters: Vec::new(), items_in_last: 0, items: 0, items_max, is_cold: false }
    }

    /// `false` only for what was never inserted.
    pub fn may_contain(&self, item: &impl Hash) -> bool {
        self.is_cold || self.filters.iter().any(|filter| filter.contains(item))
    }

    /// Remembers an item. Beyond the limit the filter lets go of everything and says "maybe" to
    /// all: look-ups cost more, memory stays bounded.
    pub fn insert(&mut self, item: &impl Hash) {
        if self.is_cold {
            return;
        }
        if self.items >= self.items_max {
            self.is_cold = true;
            self.filters = Vec::new();
            return;
        }
        let capacity = FIRST_ITEMS << self.filters.len().saturating_sub(1).min(20);
        if self.filters.is_empty() || self.items_in_last >= capacity {
            let capacity = FIRST_ITEMS << self.filters.len().min(20);
            let builder = BloomFilter::with_false_pos(FALSE_POSITIVES);
            self.filters.push(builder.expected_items(capacity));
            self.items_in_last = 0;
        }
        if let Some(last) = self.filters.last_mut() {
            last.insert(item);
        }
        self.items_in_last += 1;
        self.items += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_is_never_denied_and_little_else_is_claimed() {
        let mut seen = Seen::new(1_000_000);
        for item in 0..100_000_u64 {
            seen.insert(&item);
        }
        assert!((0..100_000_u64).all(|item| seen.may_contain(&item)));
        let claimed = (100_000..200_000_u64).filter(|item| seen.may_contain(item)).count();
        assert!(claimed < 2_000, "{claimed} of 100,000 claimed in vain");
    }

    #[test]
    fn beyond_the_limit_everything_is_possible() {
        let mut seen = Seen::new(10);
        for item in 0..11_u64 {
            seen.insert(&item);
        }
        assert!(seen.may_contain(&999_u64));
        assert!(seen.filters.is_empty());
    }
}
