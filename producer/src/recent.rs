//! What was handed in a moment ago: identities that are on their way into the log, or in it but
//! perhaps not yet in the store. Bounded; dropped once the store's progress has passed them.

use std::collections::{BTreeMap, HashMap, VecDeque};

use agon_schema::{ContentHash, Identity, Position, TopicPartition};
use tokio::sync::watch;

/// What is claimed: an identity in the partition that its events are folded from. Other events
/// than stream events have theirs in one alone; of a stream's, the fold tells those of different
/// users apart, even under one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The partition.
    pub source: TopicPartition,
    /// The identity in it.
    pub identity: Identity,
}

/// Which call handed an identity in, and at which place of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The call's number.
    pub call: u64,
    /// The item's place in the call.
    pub index: usize,
}

/// Resolves when whoever hands the same identity in is done with it, however it ended.
#[derive(Clone, Debug)]
pub struct Done(watch::Receiver<()>);

impl Done {
    /// Waits for it.
    pub async fn wait(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

/// What a claim found.
#[derive(Debug)]
pub enum Claim {
    /// Nobody else: it is the caller's now, until it is settled or released.
    Yours,
    /// It is in the log.
    Known {
        /// What it says.
        content: ContentHash,
        /// Where it stands.
        position: Position,
    },
    /// The same call claimed it at an earlier place.
    Earlier {
        /// At which.
        index: usize,
        /// Whether it says the same.
        is_equal: bool,
    },
    /// Another call is handing it in.
    Busy(Done),
}

#[derive(Debug)]
enum Place {
    Claimed {
        owner: Owner,
        /// Whether it stands in the queue, so that what is queued later comes after it.
        is_queued: bool,
        /// Made when the first one waits; dropping it wakes all who do.
        done: Option<watch::Sender<()>>,
    },
    At(Position),
}

#[derive(Debug)]
struct Entry {
    content: ContentHash,
    place: Place,
}

/// The recent identities.
#[derive(Debug, Default)]
pub struct Recent {
    entries: HashMap<Key, Entry>,
    /// Those in the log, by partition, in the order of their offsets.
    settled: BTreeMap<TopicPartition, VecDeque<(u64, Key)>>,
    settled_count: usize,
    settled_max: usize,
    applied: BTreeMap<TopicPartition, u64>,
}

impl Recent {
    /// Remembers at most so many identities that are in the log. Those on their way are bounded
    /// by the queue.
    pub fn new(settled_max: usize) -> Recent {
        Recent { settled_max, ..Recent::default() }
    }

    /// Claims an identity, or says who has it.
    pub fn claim(&mut self, key: Key, content: ContentHash, owner: Owner) -> Claim {
        let Some(entry) = self.entries.get_mut(&key) else {
            let place = Place::Claimed { owner, is_queued: false, done: None };
            self.entries.insert(key, Entry { content, place });
            return Claim::Yours;
        };
        match &mut entry.place {
            Place::At(position) => Claim::Known { content: entry.content, position: *position },
            Place::Claimed { owner: other, .. } if other.call == owner.call => {
                Claim::Earlier { index: other.index, is_equal: entry.content == content }
            }
            Place::Claimed { done, .. } => {
                let done = done.get_or_insert_with(|| watch::Sender::new(()));
                Claim::Busy(Done(done.subscribe()))
            }
        }
    }

    /// Gives a claim up, if this call still holds it and it is not in the queue.
    pub fn release(&mut self, key: Key, call: u64) {
        let is_held = self.entries.get(&key).is_some_and(|entry| {
            matches!(&entry.place, Place::Claimed { owner, is_queued: false, .. }
                if owner.call == call)
        });
        if is_held {
            self.entries.remove(&key);
        }
    }

    /// Notes that a claimed identity stands in the queue.
    pub fn queued(&mut self, key: Key) {
        if let Some(Entry { place: Place::Claimed { is_queued, .. }, .. }) =
            self.entries.get_mut(&key)
        {
            *is_queued = true;
        }
    }

    /// Gives up what was queued and could not be appended.
    pub fn failed(&mut self, key: Key) {
        if let Some(Entry { place: Place::Claimed { .. }, .. }) = self.entries.get(&key) {
            self.entries.remove(&key);
        }
    }

    /// Notes where a claimed identity stands now. Those of one partition come in the order of
    /// their offsets.
    pub fn settle(&mut self, key: Key, position: Position) {
        if self.applied.get(&position.source).is_some_and(|applied| *applied >= position.offset) {
            self.entries.remove(&key);
            return;
        }
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.place = Place::At(position);
        self.settled.entry(position.source).or_default().push_back((position.offset, key));
        self.settled_count += 1;
        while self.settled_count > self.settled_max {
            self.forget_one();
        }
    }

    /// Drops what the store has passed: it is looked up there from now on.
    pub fn passed(&mut self, source: TopicPartition, applied: u64) {
        let known = self.applied.entry(source).or_insert(applied);
        *known = (*known).max(applied);
        let Some(settled) = self.settled.get_mut(&source) else { return };
        while settled.front().is_some_and(|(offset, _)| *offset <= applied) {
            if let Some((_, key)) = settled.pop_front() {
                self.entries.remove(&key);
                self.settled_count -= 1;
            }
        }
    }

    /// Whether what is queued from now on by this call comes after this identity in the log: it
    /// is there, in the queue, or earlier in the same call.
    pub fn precedes(&self, key: Key, owner: Owner) -> bool {
        self.entries.get(&key).is_some_and(|entry| match &entry.place {
            Place::At(_) | Place::Claimed { is_queued: true, .. } => true,
            Place::Claimed { owner: other, .. } => {
                other.call == owner.call && other.index < owner.index
            }
        })
    }

    /// Forgets the oldest of the partition that holds most.
    fn forget_one(&mut self) {
        let longest = self.settled.values_mut().max_by_key(|settled| settled.len());
        if let Some((_, key)) = longest.and_then(VecDeque::pop_front) {
            self.entries.remove(&key);
        }
        self.settled_count = self.settled_count.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agon_schema::Topic;

    const SOURCE: TopicPartition = TopicPartition { topic: Topic::Matches, partition: 3 };
    const FIRST: ContentHash = ContentHash([1; 16]);
    const OTHER: ContentHash = ContentHash([2; 16]);

    fn id(number: u8) -> Key {
        Key { source: SOURCE, identity: Identity([number; 16]) }
    }

    fn at(offset: u64) -> Position {
        Position { source: SOURCE, offset }
    }

    fn owner(call: u64, index: usize) -> Owner {
        Owner { call, index }
    }

    fn claimed(recent: &mut Recent, number: u8, call: u64) -> bool {
        matches!(recent.claim(id(number), FIRST, owner(call, 0)), Claim::Yours)
    }

    #[test]
    fn an_identity_is_known_until_the_store_has_passed_it() {
        let mut recent = Recent::new(10);
        assert!(claimed(&mut recent, 1, 1));
        recent.queued(id(1));
        recent.settle(id(1), at(7));
        let Claim::Known { content, position } = recent.claim(id(1), OTHER, owner(2, 0)) else {
            panic!("not known");
        };
        assert_eq!((content, position), (FIRST, at(7)));
        recent.passed(SOURCE, 6);
        assert!(!claimed(&mut recent, 1, 3));
        recent.passed(SOURCE, 7);
        assert!(claimed(&mut recent, 1, 4));
        assert_eq!(recent.settled_count, 0);
    }

    #[test]
    fn what_the_store_passed_before_it_was_settled_is_not_kept() {
        let mut recent = Recent::new(10);
        assert!(claimed(&mut recent, 1, 1));
        recent.passed(SOURCE, 9);
        recent.settle(id(1), at(9));
        assert!(recent.entries.is_empty());
    }

    #[tokio::test]
    async fn who_waits_is_woken_however_it_ends() {
        for end in [
            |recent: &mut Recent| recent.release(id(1), 1),
            |recent: &mut Recent| {
                recent.queued(id(1));
                recent.failed(id(1));
            },
            |recent: &mut Recent| recent.settle(id(1), at(1)),
        ] {
            let mut recent = Recent::new(10);
            assert!(claimed(&mut recent, 1, 1));
            let Claim::Busy(done) = recent.claim(id(1), FIRST, owner(2, 0)) else {
                panic!("not busy");
            };
            end(&mut recent);
            done.wait().await;
        }
    }

    #[test]
    fn a_queued_claim_is_not_given_up_by_its_caller() {
        let mut recent = Recent::new(10);
        assert!(claimed(&mut recent, 1, 1));
        recent.release(id(1), 2);
        assert!(!claimed(&mut recent, 1, 2));
        recent.queued(id(1));
        recent.release(id(1), 1);
        assert!(!claimed(&mut recent, 1, 2));
    }

    #[test]
    fn only_what_stands_before_precedes() {
        let mut recent = Recent::new(10);
        assert!(matches!(recent.claim(id(1), FIRST, owner(1, 4)), Claim::Yours));
        assert!(!recent.precedes(id(1), owner(1, 4)));
        assert!(!recent.precedes(id(1), owner(1, 3)));
        assert!(recent.precedes(id(1), owner(1, 5)));
        assert!(!recent.precedes(id(1), owner(2, 9)));
        recent.queued(id(1));
        assert!(recent.precedes(id(1), owner(2, 0)));
        assert!(!recent.precedes(id(2), owner(2, 0)));
    }

    #[test]
    fn the_same_call_is_told_where_it_said_so_before() {
        let mut recent = Recent::new(10);
        assert!(matches!(recent.claim(id(1), FIRST, owner(1, 2)), Claim::Yours));
        for (content, expected) in [(FIRST, true), (OTHER, false)] {
            let Claim::Earlier { index, is_equal } = recent.claim(id(1), content, owner(1, 5))
            else {
                panic!("not earlier");
            };
            assert_eq!((index, is_equal), (2, expected));
        }
    }

    #[test]
    fn memory_is_bounded_by_forgetting_the_oldest() {
        let mut recent = Recent::new(100);
        for number in 0..=255 {
            assert!(claimed(&mut recent, number, 1));
            recent.settle(id(number), at(u64::from(number)));
            assert!(recent.entries.len() <= 100);
        }
        assert!(claimed(&mut recent, 0, 2));
        assert!(!claimed(&mut recent, 255, 2));
    }
}
