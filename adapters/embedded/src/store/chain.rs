//! A chain of flushes, which shows whether a store holds them all up to its newest one.
//!
//! The database checks the rows in its journal by a checksum, but neither a batch's sequence
//! number nor that all journals are there from start to end. One flipped bit can so let an old
//! flush win over newer ones, or leave one out, without a word. Hence every flush also writes two
//! links:
//!
//! ```text
//! flush n:   slot n-1 := "n-1, followed"    slot n := "n, newest"      slots are n modulo SLOTS
//! ```
//! In a store that holds the flushes 0 to n and no others, the slots name the newest numbers
//! without a gap, and n alone is newest. A flush that is missing, or that lies below the one before
//! it or above the one after it, leaves a "newest" behind; a store that ends early is a state that
//! it once was in, which the log brings forward.
//!
//! A flush that is out of the journals and in tables, which have checksums of their own, cannot
//! move any more. So SLOTS must only exceed the flushes that wait for their tables:
//! [`Chain::is_rotation_due`] bounds them.

use super::Entry;

/// What the keys of links start with. No table has the code 0.
pub(super) const LINKS: &[u8] = &[0, b'c'];

/// Links that are kept, two to three dozen bytes each.
const SLOTS: u64 = 65_536;

/// Flushes in one table in memory at most. The database stops writers when four of them wait
/// beside the one that is filled: five times this is less than SLOTS.
const ROTATION_FLUSHES: u64 = SLOTS / 8;

/// The number of the next flush, and of flushes since the table in memory was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    next: u64,
    since_rotation: u64,
}

/// A stored link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link {
    number: u64,
    is_newest: bool,
}

impl Link {
    fn entry(self) -> Entry {
        let slot = (self.number % SLOTS) as u32;
        let key = [LINKS, &slot.to_be_bytes()].concat();
        let value = [&self.number.to_be_bytes()[..], &[u8::from(self.is_newest)]].concat();
        (key, value)
    }

    fn read(key: &[u8], value: &[u8]) -> Option<Link> {
        let (number, is_newest) = value.split_first_chunk::<8>()?;
        let is_newest = match is_newest {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        let link = Link { number: u64::from_be_bytes(*number), is_newest };
        (link.entry().0 == key).then_some(link)
    }
}

impl Chain {
    /// The chain of a store without flushes.
    pub(super) fn new() -> Chain {
        Chain { next: 0, since_rotation: 0 }
    }

    /// Goes on with a stored chain; `Err` says why it is none.
    pub(super) fn resume(entries: impl Iterator<Item = Entry>) -> Result<Chain, String> {
        let mut links = Vec::new();
        for (key, value) in entries {
            let link = Link::read(&key, &value);
            links.push(link.ok_or_else(|| format!("the link under {key:02x?} cannot be read"))?);
        }
        let Some(newest) = links.iter().map(|link| link.number).max() else {
            return Err("it names no flush".to_owned());
        };
        let expected = (newest + 1).min(SLOTS);
        // Slots are distinct, so numbers within one round of the newest are, too.
        let oldest = newest + 1 - expected;
        for link in &links {
            if link.number < oldest || link.is_newest != (link.number == newest) {
                return Err(format!(
                    "flush {newest} is there, but what follows {} is not as it \
                    was written",
                    link.number
                ));
            }
        }
        if links.len() as u64 != expected {
            return Err(format!("{} of the last {expected} flushes are there", links.len()));
        }
        // The journal may have filled the table in memory again: it is written out soon.
        Ok(Chain { next: newest + 1, since_rotation: ROTATION_FLUSHES })
    }

    /// What the next flush writes beside its rows.
    pub(super) fn links(&self) -> Vec<Entry> {
        let mut links = vec![Link { number: self.next, is_newest: true }.entry()];
        if let Some(before) = self.next.checked_sub(1) {
            links.push(Link { number: before, is_newest: false }.entry());
        }
        links
    }

    /// Notes that the flush with these links was written.
    pub(super) fn advance(&mut self) {
        self.next += 1;
        self.since_rotation += 1;
    }

    /// Whether the table in memory is to be written out before it holds more flushes.
    pub(super) fn is_rotation_due(&self) -> bool {
        self.since_rotation >= ROTATION_FLUSHES
    }

    /// Notes that it was.
    pub(super) fn note_rotation(&mut self) {
        self.since_rotation = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// What a store shows that applied these flushes in this order.
    fn stored(flushes: impl IntoIterator<Item = u64>) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let links = |next| Chain { next, since_rotation: 0 }.links();
        flushes.into_iter().flat_map(links).collect()
    }

    fn resume(flushes: impl IntoIterator<Item = u64>) -> Result<u64, String> {
        Chain::resume(stored(flushes).into_iter()).map(|chain| chain.next)
    }

    #[test]
    fn a_whole_chain_goes_on_whatever_its_length() {
        for count in [1, 2, 3, 1_000, SLOTS - 1, SLOTS, SLOTS + 1, 2 * SLOTS + 7] {
            assert_eq!(resume(0..count), Ok(count));
        }
        assert!(Chain::resume(std::iter::empty()).is_err());
    }

    #[test]
    fn a_flush_that_is_missing_is_noticed_wherever_it_stood() {
        // The very first one carries the marker, which is looked for by itself.
        for (count, first) in [(3, 1), (50, 1), (SLOTS + 10, SLOTS + 6)] {
            for missing in first..count - 1 {
                let flushes = (0..count).filter(|number| *number != missing);
                assert!(resume(flushes).is_err(), "{missing} of {count}");
            }
        }
        // The last one missing is a store that ends early.
        assert_eq!(resume(0..9), Ok(9));
    }

    #[test]
    fn a_flush_in_another_place_is_noticed_wherever_it_went() {
        for (count, first) in [(3, 0), (20, 0), (SLOTS + 10, SLOTS + 7)] {
            for moved in first..count {
                for to in first..=count {
                    let others = || (0..count).filter(|number| *number != moved);
                    let before = others().filter(|number| *number < to);
                    let after = others().filter(|number| *number >= to);
                    let order = before.chain([moved]).chain(after);
                    let stays = to == moved || to == moved + 1;
                    assert_eq!(resume(order).is_ok(), stays, "{moved} to {to} of {count}");
                }
            }
        }
    }

    #[test]
    fn links_that_cannot_be_read_are_noticed() {
        let good = stored(0..5);
        for (key, value) in &good {
            for damaged in [vec![], vec![0; 8], vec![2; 9], [&value[..], &[0]].concat()] {
                let mut bad = good.clone();
                bad.insert(key.clone(), damaged);
                assert!(Chain::resume(bad.into_iter()).is_err());
            }
        }
    }
}
