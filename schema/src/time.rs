//! Points in time, as producers state them.

use std::fmt;
use std::str::FromStr;

use jiff::civil;
use jiff::fmt::temporal::Pieces;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Microseconds since 1970-01-01T00:00:00Z, between the years 0001 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(i64);

// Civil times reach both ends of the range; `jiff::Timestamp` stops a day before the last.
const EPOCH: civil::DateTime = civil::date(1970, 1, 1).at(0, 0, 0, 0);
/// 0001-01-01T00:00:00Z.
const MICROS_MIN: i64 = -62_135_596_800_000_000;
/// 9999-12-31T23:59:59.999999Z.
const MICROS_MAX: i64 = 253_402_300_799_999_999;

/// A time that cannot be read or lies outside the years 0001 to 9999.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not a time between the years 0001 and 9999; write 2026-11-21T10:00:00Z or 2026-11-21")]
pub struct BadTime;

impl Timestamp {
    /// A time by its microseconds since the epoch.
    ///
    /// # Errors
    /// Outside the years 0001 to 9999.
    pub const fn from_micros(micros: i64) -> Result<Timestamp, BadTime> {
        if micros >= MICROS_MIN && micros <= MICROS_MAX {
            Ok(Timestamp(micros))
        } else {
            Err(BadTime)
        }
    }

    /// Microseconds since the epoch.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Now, by the clock of this machine.
    pub fn now() -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_microsecond())
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with as many decimals as the time has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match EPOCH.checked_add(jiff::SignedDuration::from_micros(self.0)) {
            Ok(time) => write!(f, "{time}Z"),
            Err(_) => unreachable!("a Timestamp lies between the years 0001 and 9999"),
        }
    }
}

impl FromStr for Timestamp {
    type Err = BadTime;

    /// Reads RFC 3339 with an offset, or a date alone, which means its first moment in UTC.
    /// Finer digits than microseconds are cut.
    fn from_str(text: &str) -> Result<Timestamp, BadTime> {
        let pieces = Pieces::parse(text).map_err(|_| BadTime)?;
        let (time, offset_s) = match (pieces.time(), pieces.to_numeric_offset()) {
            (Some(time), Some(offset)) => (time, offset.seconds()),
            (None, None) => (civil::Time::midnight(), 0),
            _ => return Err(BadTime),
        };
        let since = pieces.date().to_datetime(time).duration_since(EPOCH);
        let micros = since.as_micros() - i128::from(offset_s) * 1_000_000;
        Timestamp::from_micros(i64::try_from(micros).map_err(|_| BadTime)?)
    }
}

/// When something happened, and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EventTime {
    /// The time itself.
    pub at: Timestamp,
    /// Whether the intake filled it in because the producer said nothing. Such a time is shown,
    /// but it is no part of an event's content and of no hash.
    pub filled_in: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dates_and_times_and_prints_rfc_3339() {
        for (text, printed) in [
            ("1872-11-30", "1872-11-30T00:00:00Z"),
            ("2026-11-21T10:00:00Z", "2026-11-21T10:00:00Z"),
            ("2026-11-21T10:00:00+02:00", "2026-11-21T08:00:00Z"),
            ("2025-08-29T06:45:17.001Z", "2025-08-29T06:45:17.001Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
            ("0001-01-01", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), printed);
        }
    }

    #[test]
    fn refuses_what_lies_outside_or_is_no_time() {
        for text in ["", "yesterday", "-000001-01-01", "0000-12-31", "+010000-01-01", "2026-13-01"]
        {
            assert_eq!(text.parse::<Timestamp>(), Err(BadTime), "{text}");
        }
        assert_eq!(Timestamp::from_micros(i64::MAX), Err(BadTime));
    }
}
