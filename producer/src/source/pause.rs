//! How long to wait before connecting again: pure, the chance is handed in.

use std::time::Duration;

/// How patiently a server is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PausePolicy {
    /// The pause after a stream that gave something; the server's `retry:` takes its place.
    /// Doubles while nothing comes. Default: 500 ms.
    pub first_ms: u64,
    /// The longest pause of our own making; also the pause when the server answers that there is
    /// nothing to read (204). Default: 30 s.
    pub ms_max: u64,
    /// The longest pause that a `Retry-After` is granted. Default: 10 min.
    pub retry_after_ms_max: u64,
}

impl Default for PausePolicy {
    fn default() -> PausePolicy {
        PausePolicy { first_ms: 500, ms_max: 30_000, retry_after_ms_max: 600_000 }
    }
}

/// What the last attempt came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tried {
    /// Attempts in a row that gave nothing.
    pub failures: u32,
    /// What the server's last `retry:` said.
    pub retry_ms: Option<u64>,
    /// What the server's `Retry-After` said.
    pub retry_after: Option<Duration>,
    /// The server said that there is nothing to read.
    pub is_empty: bool,
}

impl PausePolicy {
    /// The pause. `chance` is from 0 to 1: half of our own pause is chance, and it is added to
    /// what the server asked for, so that nobody comes too early and not all come at once.
    pub(crate) fn pause(&self, tried: Tried, chance: f64) -> Duration {
        let first_ms = tried.retry_ms.unwrap_or(self.first_ms).clamp(1, self.ms_max.max(1));
        let doublings = tried.failures.saturating_sub(1).min(16);
        let own_ms = match tried.is_empty {
            true => self.ms_max,
            false => first_ms.saturating_mul(1 << doublings).min(self.ms_max),
        };
        let jitter_ms = (own_ms as f64 / 2.0 * chance.clamp(0.0, 1.0)) as u64;
        let least_ms = match tried.retry_after {
            Some(asked) => {
                let asked_ms = u64::try_from(asked.as_millis()).unwrap_or(u64::MAX);
                asked_ms.min(self.retry_after_ms_max)
            }
            None => own_ms - own_ms / 2,
        };
        Duration::from_millis(least_ms + jitter_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tried: Tried, expected_ms: [u128; 2]) {
        let policy = PausePolicy::default();
        let pauses = [0.0, 1.0].map(|chance| policy.pause(tried, chance).as_millis());
        assert_eq!(pauses, expected_ms, "{tried:?}");
    }

    #[test]
    fn pauses_double_and_heed_the_server() {
        let none = Tried::default();
        check(none, [250, 500]);
        check(Tried { failures: 1, ..none }, [250, 500]);
        check(Tried { failures: 3, ..none }, [1000, 2000]);
        check(Tried { failures: u32::MAX, ..none }, [15_000, 30_000]);
        check(Tried { retry_ms: Some(40), ..none }, [20, 40]);
        check(Tried { retry_ms: Some(u64::MAX), ..none }, [15_000, 30_000]);
        check(Tried { retry_ms: Some(0), ..none }, [1, 1]);
        let after = |seconds| Some(Duration::from_secs(seconds));
        check(Tried { failures: 2, retry_after: after(7), ..none }, [7000, 7500]);
        check(Tried { failures: 2, retry_after: after(0), ..none }, [0, 500]);
        check(Tried { retry_after: after(1 << 60), ..none }, [600_000, 600_250]);
        check(Tried { is_empty: true, ..none }, [15_000, 30_000]);
    }
}
