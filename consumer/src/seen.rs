//! What may have been seen: a filter in memory that says "never" for certain, so that a new
//! identity costs no look-up in the store.

use std::hash::BuildHasher;

use agon_projections::RowKey;
use fastbloom::BloomFilter;
use foldhash::fast::FixedState;

/// Share of new identities that are looked up in vain.
const FALSE_POSITIVES: f64 = 0.001;
/// Items of the first filter; each further one holds twice as many.
const FIRST_ITEMS: usize = 4_096;

/// A growing filter over the rows of one cell that events may ask for.
pub struct Seen {
    filters: Vec<BloomFilter>,
    items_in_last: usize,
    /// How many items the last filter is made for.
    last_items_max: usize,
    items: usize,
    items_max: usize,
    is_cold: bool,
    /// Whether it knows only what was inserted, and the rest is still being read.
    is_warming: bool,
}

impl Seen {
    /// A filter of nothing, for at most `items_max` items.
    pub fn new(items_max: usize) -> Seen {
        Seen {
            filters: Vec::new(),
            items_in_last: 0,
            last_items_max: 0,
            items: 0,
            items_max,
            is_cold: false,
            is_warming: false,
        }
    }

    /// A filter that says "maybe" to all until [`Seen::warm`] brings what there was before.
    pub fn warming(items_max: usize) -> Seen {
        Seen { is_warming: true, ..Seen::new(items_max) }
    }

    /// Takes in a filter over all that there was before this one began.
    pub fn warm(&mut self, before: Seen) {
        self.is_warming = false;
        self.items += before.items;
        if self.is_cold || before.is_cold || self.items > self.items_max {
            self.cool();
            return;
        }
        if !before.filters.is_empty() {
            self.filters.extend(before.filters);
            (self.items_in_last, self.last_items_max) =
                (before.items_in_last, before.last_items_max);
        }
    }

    /// Lets go of everything.
    fn cool(&mut self) {
        self.is_cold = true;
        self.filters = Vec::new();
    }

    /// `false` only for the key of a row that was never inserted.
    pub fn may_contain(&self, key: &RowKey) -> bool {
        self.is_cold || self.is_warming || hash(key).is_some_and(|hash| self.may_contain_hash(hash))
    }

    /// Remembers the key of a row, if it is one that an event may ask for. Beyond the limit the
    /// filter lets go of everything and says "maybe" to all: look-ups cost more, memory stays
    /// bounded.
    pub fn insert(&mut self, key: &RowKey) {
        if let Some(hash) = hash(key) {
            // A submission comes again with each of its runs.
            if !matches!(key, RowKey::Submission(..)) || !self.may_contain_hash(hash) {
                self.insert_hash(hash);
            }
        }
    }

    /// Whether it was too much, and the filter says "maybe" to all.
    pub fn is_cold(&self) -> bool {
        self.is_cold
    }

    /// What it holds in memory.
    pub fn size_bytes(&self) -> usize {
        self.filters.iter().map(|filter| filter.num_bits() / 8).sum()
    }

    fn may_contain_hash(&self, hash: u64) -> bool {
        self.is_cold || self.filters.iter().any(|filter| filter.contains_hash(hash))
    }

    fn insert_hash(&mut self, hash: u64) {
        if self.is_cold {
            return;
        }
        if self.items >= self.items_max {
            self.cool();
            return;
        }
        if self.items_in_last >= self.last_items_max {
            let items_max = FIRST_ITEMS << self.filters.len().min(20);
            let builder = BloomFilter::with_false_pos(FALSE_POSITIVES);
            self.filters.push(builder.expected_items(items_max));
            (self.items_in_last, self.last_items_max) = (0, items_max);
        }
        if let Some(last) = self.filters.last_mut() {
            last.insert_hash(hash);
        }
        self.items_in_last += 1;
        self.items += 1;
    }
}

/// By what the filter knows a key. Identities and users are hashes already; one taken for another
/// costs a look-up and nothing else.
fn hash(key: &RowKey) -> Option<u64> {
    match key {
        RowKey::FirstSeen(_, identity) => Some(halved(identity.0)),
        RowKey::User(_, user) => Some(!halved(user.0)),
        RowKey::Submission(_, id) => Some(FixedState::default().hash_one(id.as_str())),
        _ => None,
    }
}

/// Both halves in one: a UUID has bits that are always the same.
fn halved(bytes: [u8; 16]) -> u64 {
    let whole = u128::from_le_bytes(bytes);
    (whole as u64) ^ ((whole >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use agon_projections::CellKey;
    use agon_projections::row::UserHash;
    use agon_schema::{BenchmarkId, ContentHash, Identity, NaturalId};

    use super::*;

    fn cell() -> CellKey {
        CellKey::Benchmark(BenchmarkId::new("b").unwrap())
    }

    fn identity(number: u64) -> RowKey {
        RowKey::FirstSeen(cell(), Identity::of("kind", "b", &number.to_string()))
    }

    #[test]
    fn what_was_inserted_is_never_denied_and_little_else_is_claimed() {
        let mut seen = Seen::new(1_000_000);
        for number in 0..20_000 {
            seen.insert(&identity(number));
        }
        assert!((0..20_000).all(|number| seen.may_contain(&identity(number))));
        let claimed = (20_000..40_000).filter(|number| seen.may_contain(&identity(*number)));
        let claimed = claimed.count();
        assert!(claimed < 400, "{claimed} of 20,000 claimed in vain");
    }

    #[test]
    fn every_kind_of_row_that_events_ask_for_is_remembered() {
        let user = RowKey::User(cell(), UserHash(ContentHash::of_bytes(b"user").0));
        let submission = RowKey::Submission(cell(), NaturalId::new("s").unwrap());
        let mut seen = Seen::new(100);
        for key in [identity(1), user, submission] {
            assert!(!seen.may_contain(&key), "{key}");
            seen.insert(&key);
            assert!(seen.may_contain(&key), "{key}");
        }
        seen.insert(&RowKey::Head(cell()));
        assert_eq!(seen.items, 3, "nobody asks for a head");
    }

    #[test]
    fn beyond_the_limit_everything_is_possible() {
        let mut seen = Seen::new(10);
        for number in 0..11 {
            assert!(!seen.is_cold());
            seen.insert(&identity(number));
        }
        assert!(seen.may_contain(&identity(999)));
        assert_eq!((seen.is_cold(), seen.size_bytes()), (true, 0));
    }

    #[test]
    fn what_is_read_later_joins_what_was_inserted_meanwhile() {
        let (mut seen, mut before) = (Seen::warming(1_000_000), Seen::new(1_000_000));
        for number in 0..10_000 {
            before.insert(&identity(number));
            seen.insert(&identity(number + 10_000));
        }
        assert!(seen.may_contain(&identity(0)) && seen.may_contain(&identity(99_999)));
        seen.warm(before);
        for number in 20_000..30_000 {
            seen.insert(&identity(number));
        }
        assert!((0..30_000).all(|number| seen.may_contain(&identity(number))));
        let claimed = (30_000..50_000).filter(|number| seen.may_contain(&identity(*number)));
        let claimed = claimed.count();
        assert!(claimed < 400, "{claimed} of 20,000 claimed in vain");
    }

    #[test]
    fn too_much_in_both_together_is_too_much() {
        let (mut seen, mut before) = (Seen::warming(10), Seen::new(10));
        for number in 0..6 {
            before.insert(&identity(number));
            seen.insert(&identity(number + 10));
        }
        seen.warm(before);
        assert!(seen.is_cold() && seen.may_contain(&identity(999)));
    }

    #[test]
    fn runs_of_one_submission_fill_nothing() {
        let mut seen = Seen::new(2);
        for _ in 0..100 {
            seen.insert(&RowKey::Submission(cell(), NaturalId::new("s").unwrap()));
        }
        assert!(!seen.is_cold());
    }
}
