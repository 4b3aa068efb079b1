//! Token buckets in a table of fixed size: how often one may try, whoever asks.
//!
//! A key's bucket is found by a keyed hash. Two keys may share one, which makes both a little
//! slower; nobody can choose to share another's, and the table never grows.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};

use agon_schema::Timestamp;

use crate::problem::RateLimit;

/// Buckets of a table: 64 KiB.
const BUCKETS: usize = 4096;
/// What a rate may be at most, so that its product stays a time.
const BURST_MAX: u32 = 1_000_000;
const REFILL_MS_MAX: u32 = 3_600_000;

/// How much a bucket holds and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tries that may come at once, 1 to a million.
    pub burst: u32,
    /// Milliseconds until one more is allowed, 1 to an hour's.
    pub refill_ms: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// The moment, in microseconds, at which the bucket is full again.
    full_at_us: i64,
}

/// A table of buckets of one rate.
#[derive(Debug)]
pub(crate) struct Throttle {
    policy: &'static str,
    rate: Rate,
    hasher: RandomState,
    buckets: Mutex<Vec<Bucket>>,
}

impl Throttle {
    pub fn new(policy: &'static str, rate: Rate) -> Throttle {
        let rate = Rate {
            burst: rate.burst.clamp(1, BURST_MAX),
            refill_ms: rate.refill_ms.clamp(1, REFILL_MS_MAX),
        };
        let buckets = Mutex::new(vec![Bucket::default(); BUCKETS]);
        Throttle { policy, rate, hasher: RandomState::new(), buckets }
    }

    /// Takes one try of this key, or says when there will be one.
    pub fn take(&self, key: impl Hash, now: Timestamp) -> Result<(), RateLimit> {
        let (refill_us, now_us) = (self.refill_us(), now.micros());
        let capacity_us = refill_us * i64::from(self.rate.burst);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = &mut buckets[self.index(key)];
        // A clock that was set back must not lock anyone out for the difference.
        let full_at_us = bucket.full_at_us.clamp(now_us, now_us + capacity_us);
        bucket.full_at_us = full_at_us;
        let wait_us = full_at_us + refill_us - capacity_us - now_us;
        if wait_us > 0 {
            return Err(self.limit(wait_us));
        }
        bucket.full_at_us = full_at_us + refill_us;
        Ok(())
    }

    /// Gives a try back that turned out not to count.
    pub fn give_back(&self, key: impl Hash) {
        let index = self.index(key);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets[index].full_at_us -= self.refill_us();
    }

    fn refill_us(&self) -> i64 {
        i64::from(self.rate.refill_ms) * 1000
    }

    fn index(&self, key: impl Hash) -> usize {
        (self.hasher.hash_one(key) % BUCKETS as u64) as usize
    }

    fn limit(&self, wait_us: i64) -> RateLimit {
        let window_ms = u64::from(self.rate.refill_ms) * u64::from(self.rate.burst);
        let seconds = |whole: u64| u32::try_from(whole).unwrap_or(u32::MAX).max(1);
        RateLimit {
            policy: self.policy,
            quota: self.rate.burst,
            window_s: seconds(window_ms.div_ceil(1000)),
            retry_after_s: seconds(wait_us.unsigned_abs().div_ceil(1_000_000)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_764_000_000_000_000 + seconds * 1_000_000).unwrap()
    }

    #[test]
    fn a_burst_then_one_at_a_time() {
        let throttle = Throttle::new("login", Rate { burst: 3, refill_ms: 10_000 });
        for _ in 0..3 {
            assert_eq!(throttle.take("a", at(0)), Ok(()));
        }
        let limit = RateLimit { policy: "login", quota: 3, window_s: 30, retry_after_s: 10 };
        assert_eq!(throttle.take("a", at(0)), Err(limit));
        assert_eq!(throttle.take("a", at(9)), Err(RateLimit { retry_after_s: 1, ..limit }));
        assert_eq!(throttle.take("a", at(10)), Ok(()));
        assert!(throttle.take("a", at(10)).is_err());
        throttle.give_back("a");
        assert_eq!(throttle.take("a", at(10)), Ok(()));
    }

    #[test]
    fn refused_tries_do_not_lengthen_the_wait_and_time_may_go_back() {
        let throttle = Throttle::new("login", Rate { burst: 1, refill_ms: 1000 });
        assert_eq!(throttle.take("a", at(1000)), Ok(()));
        for _ in 0..10_000 {
            assert!(throttle.take("a", at(1000)).is_err());
        }
        assert_eq!(throttle.take("a", at(1001)), Ok(()));
        assert_eq!(throttle.take("a", at(0)).unwrap_err().retry_after_s, 1);
        assert_eq!(throttle.take("a", at(1)), Ok(()));
    }

    #[test]
    fn many_keys_use_no_more_memory() {
        let throttle = Throttle::new("login", Rate { burst: 1, refill_ms: 1000 });
        let let_in = (0..100_000).filter(|key| throttle.take(key, at(0)).is_ok()).count();
        assert!(let_in <= BUCKETS);
        assert_eq!(throttle.buckets.lock().unwrap().len(), BUCKETS);
    }
}
