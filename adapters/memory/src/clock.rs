//! The clock of this machine, and one that stands still until a test moves it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agon_ports::Clock;
use agon_schema::Timestamp;
use agon_schema::time::BadTime;

/// The clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that shows what it was set to. Clones show the same time.
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<Mutex<Timestamp>>,
}

impl ManualClock {
    /// A clock that stands at this time.
    pub fn at(now: Timestamp) -> ManualClock {
        ManualClock { now: Arc::new(Mutex::new(now)) }
    }

    /// Sets the clock, forward or back.
    pub fn set(&self, now: Timestamp) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Moves the clock forward.
    ///
    /// # Errors
    /// Beyond the year 9999; the clock stands where it stood.
    pub fn advance(&self, by: Duration) -> Result<(), BadTime> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let by_micros = i64::try_from(by.as_micros()).map_err(|_| BadTime)?;
        let micros = now.micros().checked_add(by_micros).ok_or(BadTime)?;
        *now = Timestamp::from_micros(micros)?;
        Ok(())
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_by_hand_only() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let clock = ManualClock::at(time("2026-11-21T10:00:00Z"));
        let shown = clock.clone();
        assert_eq!(shown.now(), time("2026-11-21T10:00:00Z"));
        clock.advance(Duration::from_millis(1_500)).unwrap();
        assert_eq!(shown.now(), time("2026-11-21T10:00:01.5Z"));
        clock.set(time("9999-12-31"));
        assert_eq!(clock.advance(Duration::from_secs(86_400)), Err(BadTime));
        assert_eq!(clock.advance(Duration::MAX), Err(BadTime));
        assert_eq!(shown.now(), time("9999-12-31"));
    }

    #[test]
    fn the_system_clock_goes_on() {
        let before = Timestamp::now();
        assert!(SystemClock.now() >= before);
    }
}
