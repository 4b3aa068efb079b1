//! Where in the segments to start reading: a few milestones in memory, made anew at every opening.

use super::segment::Place;

/// Offsets that all milestones hold together, at most: 8 MiB.
const OFFSETS_MAX: usize = 1 << 20;
/// Milestones that are kept however many partitions there are.
const MILESTONES_MIN: usize = 64;

/// A boundary between frames, and how far every partition was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Milestone {
    pub place: Place,
    /// The crc of the frame before.
    pub crc: u32,
    /// For each slot the offset that its next frame has.
    ends: Box<[u64]>,
}

/// Milestones at about equal distances. When they become too many every second one goes and the
/// distance doubles, so memory is bounded whatever the log's length.
#[derive(Debug)]
pub(super) struct Index {
    milestones: Vec<Milestone>,
    milestones_max: usize,
    distance_bytes: u64,
    since_bytes: u64,
}

impl Index {
    /// The index of an empty log of so many slots.
    pub(super) fn new(slots: usize, distance_bytes: u64) -> Index {
        let start =
            Milestone { place: Place::first(1), crc: 0, ends: vec![0; slots].into_boxed_slice() };
        Index {
            milestones: vec![start],
            milestones_max: (OFFSETS_MAX / slots.max(1)).max(MILESTONES_MIN),
            distance_bytes,
            since_bytes: 0,
        }
    }

    /// Notes that the log goes up to `place` after `bytes` more.
    pub(super) fn pass(&mut self, bytes: u64, place: Place, crc: u32, ends: &[u64]) {
        self.since_bytes += bytes;
        if self.since_bytes < self.distance_bytes {
            return;
        }
        self.since_bytes = 0;
        self.milestones.push(Milestone { place, crc, ends: ends.into() });
        if self.milestones.len() > self.milestones_max {
            let mut number = 0;
            self.milestones.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.distance_bytes *= 2;
        }
    }

    /// The last milestone before which nothing is wanted; `wanted` holds slots and offsets.
    pub(super) fn find(&self, wanted: &[(usize, u64)]) -> &Milestone {
        let before = |milestone: &Milestone| {
            wanted.iter().all(|(slot, offset)| milestone.ends[*slot] <= *offset)
        };
        let count = self.milestones.partition_point(before);
        &self.milestones[count.max(1) - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_the_last_milestone_before_all_that_is_wanted() {
        let mut index = Index::new(2, 100);
        // Frames of 50 bytes, in turn in both slots.
        for frame in 1..=20_u64 {
            let place = Place { segment: 1, byte: frame * 50 };
            index.pass(50, place, frame as u32, &[frame.div_ceil(2), frame / 2]);
        }
        for (wanted, byte) in [
            (vec![(0, 0)], Place::first(1).byte),
            (vec![(0, 1)], 100),
            (vec![(0, 5)], 500),
            (vec![(0, 5), (1, 2)], 200),
            (vec![(0, 99), (1, 99)], 1000),
            (vec![], 1000),
        ] {
            assert_eq!(index.find(&wanted).place.byte, byte, "{wanted:?}");
        }
    }

    #[test]
    fn it_stays_small() {
        let slots = OFFSETS_MAX / MILESTONES_MIN;
        let mut index = Index::new(slots, 1);
        let ends = vec![0; slots];
        for frame in 1..200 {
            index.pass(1, Place { segment: 1, byte: 100 + frame }, 0, &ends);
            assert!(index.milestones.len() <= MILESTONES_MIN);
        }
        assert!(index.milestones.is_sorted_by_key(|milestone| milestone.place));
    }
}
