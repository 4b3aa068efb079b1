//! Stamps: the time that a write is said to have, made of the offset of the event it comes from.
//!
//! A store keeps, of two writes to one place, the one with the higher stamp. The fold is
//! deterministic, so an equal stamp means an equal value, and a write that is late, repeated or
//! sent by two owners changes nothing that is newer.
//!
//! ```text
//! latest(o)   = 2 * (log_epoch * 2^40 + o) + 1     the newest fact stays
//! earliest(o) = 2^50 - latest(o)                   the oldest fact stays
//! ```
//! Both lie between 0 and 2^50 microseconds, the year 2005: far below a server's clock, which would
//! refuse stamps of the future, and below any write that bears the clock's time. Such a write would
//! win for ever; none may reach a projection table.

use thiserror::Error;

/// Offsets in a log lie below this: at a million events a second it takes twelve days, at a
/// thousand thirty-five years.
const OFFSETS: u64 = 1 << 40;
/// Epochs lie at or below this, so that no stamp is negative.
pub(crate) const LOG_EPOCH_MAX: u32 = 255;
/// The least stamp of the oldest fact lies here.
const EARLIEST: i64 = 1 << 50;

/// The stamps of a log's epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamps {
    log_epoch: u32,
}

/// Something that has no stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum StampError {
    #[error("offset {0} is not below {OFFSETS}, as every offset in the store is")]
    Offset(u64),
    #[error("epoch {0} lies above {LOG_EPOCH_MAX}, the last; name another keyspace")]
    LogEpoch(u32),
}

impl Stamps {
    /// The stamps of this epoch.
    pub(crate) fn new(log_epoch: u32) -> Result<Stamps, StampError> {
        match log_epoch {
            0..=LOG_EPOCH_MAX => Ok(Stamps { log_epoch }),
            _ => Err(StampError::LogEpoch(log_epoch)),
        }
    }

    /// Of a fact that a later one replaces.
    pub(crate) fn latest(&self, offset: u64) -> Result<i64, StampError> {
        let stamp = self.of(offset)?;
        Ok(crate::controls::wall_clock().unwrap_or(stamp))
    }

    /// Of a fact whose first time counts.
    pub(crate) fn earliest(&self, offset: u64) -> Result<i64, StampError> {
        let stamp = EARLIEST - self.of(offset)?;
        Ok(crate::controls::wall_clock().unwrap_or(stamp))
    }

    fn of(self, offset: u64) -> Result<i64, StampError> {
        if offset >= OFFSETS {
            return Err(StampError::Offset(offset));
        }
        Ok(2 * (i64::from(self.log_epoch) * OFFSETS as i64 + offset as i64) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_those_of_the_design() {
        let first = Stamps::new(0).unwrap();
        let third = Stamps::new(2).unwrap();
        assert_eq!(first.latest(0), Ok(1));
        assert_eq!(first.latest(57), Ok(115));
        assert_eq!(first.earliest(57), Ok((1 << 50) - 115));
        assert_eq!(third.latest(5), Ok(2 * ((2 << 40) + 5) + 1));
    }

    #[test]
    fn they_order_facts_and_epochs_and_leave_room_for_a_delete() {
        let offsets = [0, 1, 2, 1_000, (1 << 40) - 2, (1 << 40) - 1];
        let all: Vec<i64> = [0, 1, 7, LOG_EPOCH_MAX]
            .into_iter()
            .flat_map(|epoch| offsets.map(|o| Stamps::new(epoch).unwrap().latest(o).unwrap()))
            .collect();
        assert!(all.windows(2).all(|pair| pair[0] + 1 < pair[1]), "{all:?}");
        for epoch in [0, LOG_EPOCH_MAX] {
            let stamps = Stamps::new(epoch).unwrap();
            let first: Vec<i64> = offsets.map(|o| stamps.earliest(o).unwrap()).to_vec();
            assert!(first.windows(2).all(|pair| pair[0] > pair[1] + 1), "{first:?}");
        }
    }

    #[test]
    fn they_lie_in_the_past_of_any_clock_and_are_never_negative() {
        for epoch in [0, LOG_EPOCH_MAX] {
            let stamps = Stamps::new(epoch).unwrap();
            for offset in [0, (1 << 40) - 1] {
                for stamp in [stamps.latest(offset), stamps.earliest(offset)] {
                    // 2^50 microseconds after 1970 is a day of 2005.
                    assert!((0..=1 << 50).contains(&stamp.unwrap()), "{epoch} {offset}");
                }
            }
        }
    }

    #[test]
    fn what_has_no_stamp_is_refused() {
        assert_eq!(Stamps::new(256), Err(StampError::LogEpoch(256)));
        let stamps = Stamps::new(0).unwrap();
        assert_eq!(stamps.latest(1 << 40), Err(StampError::Offset(1 << 40)));
        assert_eq!(stamps.earliest(u64::MAX), Err(StampError::Offset(u64::MAX)));
    }
}
