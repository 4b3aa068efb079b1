//! When the change feed was last heard: at all, and of each partition. What folds says how far it
//! is even when nothing moves, so silence tells readers how old their boards may be.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agon_schema::TopicPartition;
use tokio::time::Instant;

/// The times of the last news.
#[derive(Default)]
pub(crate) struct Hearing(Mutex<Times>);

#[derive(Default)]
struct Times {
    last: Option<Instant>,
    of: BTreeMap<TopicPartition, Instant>,
}

/// How long the feed has been silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Silence {
    /// Since anything was heard; nothing when nothing was.
    pub any: Option<Duration>,
    /// Since the partition was heard of that was not heard of for longest.
    pub longest: Duration,
    /// Partitions that were not heard of for longer than the limit.
    pub partitions: usize,
}

impl Hearing {
    fn times(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There are news of this partition.
    pub fn hear(&self, source: TopicPartition) {
        let now = Instant::now();
        let mut times = self.times();
        times.last = Some(now);
        times.of.insert(source, now);
    }

    /// This partition is folded by someone, who is to be heard of from now on.
    pub fn expect(&self, source: TopicPartition) {
        self.times().of.entry(source).or_insert_with(Instant::now);
    }

    /// How long it has been silent, against this limit.
    pub fn silence(&self, limit: Duration) -> Silence {
        let now = Instant::now();
        let times = self.times();
        let of = times.of.values().map(|at| now.duration_since(*at));
        Silence {
            any: times.last.map(|at| now.duration_since(at)),
            longest: of.clone().max().unwrap_or_default(),
            partitions: of.filter(|silence| *silence > limit).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use agon_schema::Topic;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_of_the_partition_that_is_silent_for_longest() {
        let hearing = Hearing::default();
        let at = |partition| TopicPartition { topic: Topic::Matches, partition };
        let check = |any: Option<u64>, longest: u64, partitions: usize| {
            let (any, longest) = (any.map(Duration::from_secs), Duration::from_secs(longest));
            let silence = hearing.silence(Duration::from_secs(5));
            assert_eq!(silence, Silence { any, longest, partitions });
        };
        check(None, 0, 0);
        hearing.expect(at(0));
        tokio::time::advance(Duration::from_secs(6)).await;
        check(None, 6, 1);
        hearing.hear(at(1));
        hearing.expect(at(0));
        check(Some(0), 6, 1);
        hearing.hear(at(0));
        tokio::time::advance(Duration::from_secs(5)).await;
        check(Some(5), 5, 0);
        hearing.hear(at(0));
        tokio::time::advance(Duration::from_secs(1)).await;
        check(Some(1), 6, 1);
    }
}
