//! How lost news are noticed: a publisher stamps what it publishes, a subscriber looks at the
//! stamps of each source.

use std::collections::BTreeMap;

use agon_schema::TopicPartition;
use uuid::Uuid;

use super::wire::Stamp;

/// What a publisher knows of the sources it publishes for.
#[derive(Debug)]
pub(super) struct Tenures {
    /// The tenure of a source unless news of it were lost.
    first: u64,
    sources: BTreeMap<TopicPartition, Tenure>,
}

#[derive(Clone, Copy, Debug)]
struct Tenure {
    id: u64,
    /// The number of the next record.
    next: u64,
    /// News before this tenure were lost, and nobody has been told yet.
    is_broken: bool,
}

fn random() -> u64 {
    Uuid::now_v7().as_u64_pair().1
}

impl Tenures {
    /// Of a new publisher.
    pub(super) fn new() -> Tenures {
        Tenures { first: random(), sources: BTreeMap::new() }
    }

    /// The stamp of the next record of a source.
    pub(super) fn stamp(&mut self, source: TopicPartition) -> Stamp {
        let new = Tenure { id: self.first, next: 0, is_broken: false };
        let tenure = self.sources.entry(source).or_insert(new);
        let number = tenure.next;
        tenure.next += 1;
        Stamp { source, tenure: tenure.id, number }
    }

    /// A record did not arrive: what follows it must not look as if nothing were missing.
    pub(super) fn lost(&mut self, stamp: Stamp) {
        if let Some(tenure) = self.of(stamp) {
            *tenure = Tenure { id: random(), next: 0, is_broken: true };
        }
    }

    /// A record arrived: who reads it knows that a new tenure began.
    pub(super) fn arrived(&mut self, stamp: Stamp) {
        if let Some(tenure) = self.of(stamp) {
            tenure.is_broken = false;
        }
    }

    /// The tenure of a stamp, if it is still the source's.
    fn of(&mut self, stamp: Stamp) -> Option<&mut Tenure> {
        self.sources.get_mut(&stamp.source).filter(|tenure| tenure.id == stamp.tenure)
    }

    /// Sources whose news were lost while nothing is on its way that would tell it.
    pub(super) fn broken(&self) -> Vec<TopicPartition> {
        let untold = |tenure: &Tenure| tenure.is_broken && tenure.next == 0;
        let sources = self.sources.iter().filter(|(_, tenure)| untold(tenure));
        sources.map(|(source, _)| *source).collect()
    }
}

/// What a subscriber has heard of each source: the tenure, and the number that comes next.
#[derive(Debug, Default)]
pub(super) struct Heard(BTreeMap<TopicPartition, (u64, u64)>);

impl Heard {
    /// Notes a record; answers whether news before it may be missing.
    ///
    /// Of a source that was not heard of before, a number past 0 says that its publisher began
    /// before this subscriber did: if it lost something since, it will tell.
    pub(super) fn is_gap(&mut self, stamp: Stamp) -> bool {
        let Stamp { source, tenure, number } = stamp;
        let before = self.0.insert(source, (tenure, number.wrapping_add(1)));
        before.map_or(number == 0, |expected| expected != (tenure, number))
    }

    /// Forgets all, since the reader loads all anew.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use agon_schema::Topic;

    use super::*;

    const A: TopicPartition = TopicPartition { topic: Topic::Matches, partition: 0 };
    const B: TopicPartition = TopicPartition { topic: Topic::Submissions, partition: 0 };

    #[test]
    fn a_tenure_is_heard_without_gaps() {
        let (mut tenures, mut heard) = (Tenures::new(), Heard::default());
        let gaps: Vec<bool> =
            [A, A, B, A, B].map(|source| heard.is_gap(tenures.stamp(source))).into();
        assert_eq!(gaps, [true, false, true, false, false], "a new tenure, then its next ones");
        let mut late = Heard::default();
        assert!(!late.is_gap(tenures.stamp(A)), "it began before the subscriber");
        tenures.stamp(A);
        assert!(late.is_gap(tenures.stamp(A)), "one is missing");
        assert!(late.is_gap(Tenures::new().stamp(A)), "another publisher");
    }

    #[test]
    fn what_is_lost_breaks_a_source_until_something_arrives() {
        let mut tenures = Tenures::new();
        let (first, second) = (tenures.stamp(A), tenures.stamp(A));
        tenures.stamp(B);
        tenures.lost(first);
        assert_eq!(tenures.broken(), [A]);
        tenures.lost(second);
        let notice = tenures.stamp(A);
        assert_eq!((notice.number, notice.tenure == first.tenure), (0, false));
        assert_eq!(tenures.broken(), [], "the notice is on its way");
        tenures.lost(notice);
        assert_eq!(tenures.broken(), [A]);
        let again = tenures.stamp(A);
        tenures.arrived(notice);
        tenures.arrived(again);
        tenures.lost(second);
        assert_eq!(tenures.broken(), [], "all is told");
    }
}
