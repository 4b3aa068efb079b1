//! When a delivery is tried again: decided here from plain values, carried out by the client.

use crate::dice::Dice;
use rand::Rng;
use std::time::Duration;

/// How often and how patiently a delivery is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; at least 1.
    pub attempts_max: u32,
    /// The pause after the first attempt, before jitter; doubles from attempt to attempt.
    pub backoff_ms: u64,
    /// The longest pause of our own making.
    pub backoff_ms_max: u64,
    /// The longest pause that a server's `Retry-After` is granted.
    pub retry_after_ms_max: u64,
}

impl RetryPolicy {
    /// About half a minute in all, when the server names no time of its own.
    pub const PATIENT: Self = Self {
        attempts_max: 9,
        backoff_ms: 100,
        backoff_ms_max: 10_000,
        retry_after_ms_max: 60_000,
    };

    /// How long to wait after so many failed attempts, or `None` when it is time to give up.
    ///
    /// Half of our own pause is jitter, so that callers that failed together do not come back
    /// together. It is added to what the server asked for, so nobody comes too early.
    pub fn pause(
        &self,
        attempts: u32,
        retry_after: Option<Duration>,
        dice: &mut Dice,
    ) -> Option<Duration> {
        if attempts >= self.attempts_max {
            return None;
        }
        let doublings = attempts.saturating_sub(1).min(32);
        let backoff_ms = self.backoff_ms.saturating_mul(1 << doublings).min(self.backoff_ms_max);
        let jitter_ms = dice.random_range(0..=backoff_ms / 2);
        let least_ms = match retry_after {
            Some(asked) => (asked.as_millis() as u64).min(self.retry_after_ms_max),
            None => backoff_ms - backoff_ms / 2,
        };
        Some(Duration::from_millis(least_ms + jitter_ms))
    }
}

/// Whether an answer of this status may be different next time.
pub fn is_worth_repeating(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// Reads `Retry-After` in seconds; its other form, a date, counts as absent.
pub fn read_retry_after(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::dice;

    const POLICY: RetryPolicy = RetryPolicy {
        attempts_max: 6,
        backoff_ms: 100,
        backoff_ms_max: 400,
        retry_after_ms_max: 5_000,
    };

    fn check(attempts: u32, retry_after_s: Option<u64>, expected_ms: Option<(u64, u64)>) {
        for seed in 0..50 {
            let asked = retry_after_s.map(Duration::from_secs);
            let pause = POLICY.pause(attempts, asked, &mut dice(seed, 0));
            match (pause.map(|pause| pause.as_millis() as u64), expected_ms) {
                (Some(ms), Some((least, most))) => {
                    assert!((least..=most).contains(&ms), "attempt {attempts}: {ms} ms");
                }
                (pause, expected) => assert_eq!(pause, expected.map(|(ms, _)| ms), "{attempts}"),
            }
        }
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_end() {
        check(1, None, Some((50, 100)));
        check(2, None, Some((100, 200)));
        check(3, None, Some((200, 400)));
        check(5, None, Some((200, 400)));
        check(6, None, None);
        check(u32::MAX, None, None);
    }

    #[test]
    fn the_server_is_never_asked_earlier_than_it_said() {
        check(1, Some(0), Some((0, 50)));
        check(1, Some(2), Some((2_000, 2_050)));
        check(3, Some(2), Some((2_000, 2_200)));
        check(1, Some(u64::MAX / 1_000), Some((5_000, 5_050)));
        check(6, Some(2), None);
    }

    #[test]
    fn only_passing_troubles_are_repeated() {
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(is_worth_repeating(status), "{status}");
        }
        for status in [200, 202, 301, 400, 401, 403, 404, 409, 413, 415, 422, 501] {
            assert!(!is_worth_repeating(status), "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds() {
        assert_eq!(read_retry_after("3"), Some(Duration::from_secs(3)));
        assert_eq!(read_retry_after(" 0 "), Some(Duration::ZERO));
        for other in ["", "-1", "soon", "Fri, 20 Nov 2026 10:00:00 GMT"] {
            assert_eq!(read_retry_after(other), None, "{other}");
        }
    }
}
