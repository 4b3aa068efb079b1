//! Where a batch for the log ends: by count, bytes and age. Pure; the appender carries it out.

use std::ops::Range;
use std::time::Duration;

/// Limits of one append to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Records at most.
    pub records_max: usize,
    /// Bytes of keys, headers and values at most; one larger record still goes, alone.
    pub bytes_max: usize,
    /// How long the oldest record waits for others.
    pub age_max: Duration,
}

/// What something adds to a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Records.
    pub records: usize,
    /// Their bytes.
    pub bytes: usize,
}

impl BatchLimits {
    fn holds(&self, size: Size) -> bool {
        size.records <= self.records_max && size.bytes <= self.bytes_max
    }
}

impl Size {
    fn and(self, more: Size) -> Size {
        Size {
            records: self.records.saturating_add(more.records),
            bytes: self.bytes.saturating_add(more.bytes),
        }
    }
}

/// What is to be done with the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// There is nothing.
    Empty,
    /// The batch is not full, and its oldest record may wait this much longer.
    Wait(Duration),
    /// Append the first so many pieces.
    Take(usize),
}

/// Cuts the records of one call into pieces that each fit a batch, in their order.
pub fn pieces(record_bytes: &[usize], limits: &BatchLimits) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut size = Size::default();
    for (index, bytes) in record_bytes.iter().enumerate() {
        let record = Size { records: 1, bytes: *bytes };
        if index > start && !limits.holds(size.and(record)) {
            pieces.push(start..index);
            start = index;
            size = Size::default();
        }
        size = size.and(record);
    }
    if start < record_bytes.len() {
        pieces.push(start..record_bytes.len());
    }
    pieces
}

/// How many pieces of the queue make the next batch, or how long to wait for more. A queue that
/// holds more than one batch, or one that is being drained, does not wait.
pub fn cut(
    queue: impl IntoIterator<Item = Size>,
    oldest_age: Duration,
    is_draining: bool,
    limits: &BatchLimits,
) -> Cut {
    let mut taken = 0;
    let mut size = Size::default();
    let mut is_full = false;
    for piece in queue {
        let with_it = size.and(piece);
        if taken > 0 && !limits.holds(with_it) {
            is_full = true;
            break;
        }
        taken += 1;
        size = with_it;
    }
    is_full |= size.records >= limits.records_max || size.bytes >= limits.bytes_max;
    if taken == 0 {
        Cut::Empty
    } else if is_full || is_draining || oldest_age >= limits.age_max {
        Cut::Take(taken)
    } else {
        Cut::Wait(limits.age_max - oldest_age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: BatchLimits =
        BatchLimits { records_max: 3, bytes_max: 100, age_max: Duration::from_millis(5) };

    fn check(queue: &[(usize, usize)], age_ms: u64, expected: Cut) {
        let sizes = queue.iter().map(|(records, bytes)| Size { records: *records, bytes: *bytes });
        let decided = cut(sizes, Duration::from_millis(age_ms), false, &LIMITS);
        assert_eq!(decided, expected, "{queue:?} after {age_ms} ms");
    }

    #[test]
    fn a_batch_ends_by_count_bytes_or_age() {
        check(&[], 9, Cut::Empty);
        check(&[(1, 10)], 0, Cut::Wait(Duration::from_millis(5)));
        check(&[(1, 10)], 4, Cut::Wait(Duration::from_millis(1)));
        check(&[(1, 10)], 5, Cut::Take(1));
        check(&[(1, 10), (1, 10)], 1, Cut::Wait(Duration::from_millis(4)));
        check(&[(1, 10), (2, 10)], 0, Cut::Take(2));
        check(&[(1, 10), (1, 10), (2, 10)], 0, Cut::Take(2));
        check(&[(1, 60), (1, 60)], 0, Cut::Take(1));
        check(&[(1, 500)], 0, Cut::Take(1));
        check(&[(1, 500), (1, 1)], 0, Cut::Take(1));
        check(&[(1, 50), (1, 50)], 0, Cut::Take(2));
    }

    #[test]
    fn draining_does_not_wait() {
        let one = [Size { records: 1, bytes: 1 }];
        assert_eq!(cut(one, Duration::ZERO, true, &LIMITS), Cut::Take(1));
        assert_eq!(cut([], Duration::ZERO, true, &LIMITS), Cut::Empty);
    }

    proptest! {
        #[test]
        fn pieces_cover_everything_in_order_and_fit(
            bytes in prop::collection::vec(0_usize..200, 0..50),
        ) {
            let cut = pieces(&bytes, &LIMITS);
            let indexes: Vec<usize> = cut.iter().cloned().flatten().collect();
            prop_assert_eq!(indexes, (0..bytes.len()).collect::<Vec<_>>());
            for piece in cut {
                let sum: usize = bytes[piece.clone()].iter().sum();
                prop_assert!(piece.len() == 1 || (piece.len() <= 3 && sum <= 100));
            }
        }

        #[test]
        fn a_batch_is_the_longest_start_that_fits(
            queue in prop::collection::vec((1_usize..3, 1_usize..150), 1..20),
        ) {
            let size = |piece: &(usize, usize)| Size { records: piece.0, bytes: piece.1 };
            let sizes = queue.iter().map(size);
            let Cut::Take(taken) = cut(sizes, LIMITS.age_max, false, &LIMITS) else {
                return Err(TestCaseError::fail("an old queue is not taken"));
            };
            let holds = |count: usize| {
                let records: usize = queue[..count].iter().map(|piece| piece.0).sum();
                let bytes: usize = queue[..count].iter().map(|piece| piece.1).sum();
                records <= 3 && bytes <= 100
            };
            prop_assert!(taken == 1 || holds(taken));
            prop_assert!(taken == queue.len() || !holds(taken + 1));
        }
    }
}
