//! Ways of breaking the protocol on purpose, for the suites that must notice. Without the feature
//! `controls` nothing here can be switched on; with it, the environment variable `AGON_BREAK` names
//! one.

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// Writes bear the clock's time, so a late one wins over a newer fact.
    WallClockStamps,
    /// Nothing remembers which identities took effect.
    NoFirstSeen,
    /// A cell's batch is sent as two halves, one after the other.
    BatchCutInsideEvent,
    /// Cells are written before the rows that `applied` vouches for.
    CellsBeforeSideRows,
    /// Progress is written before what it vouches for.
    ProgressFirst,
}

#[cfg(feature = "controls")]
impl Control {
    fn name(self) -> &'static str {
        match self {
            Control::WallClockStamps => "wall_clock_stamps",
            Control::NoFirstSeen => "no_first_seen",
            Control::BatchCutInsideEvent => "batch_cut_inside_event",
            Control::CellsBeforeSideRows => "cells_before_side_rows",
            Control::ProgressFirst => "progress_first",
        }
    }
}

/// Whether this is broken now.
#[cfg(feature = "controls")]
pub(crate) fn is_broken(control: Control) -> bool {
    static NAMED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let named = NAMED.get_or_init(|| std::env::var("AGON_BREAK").ok());
    named.as_deref() == Some(control.name())
}

/// Whether this is broken now: never, in a program that is not a test.
#[cfg(not(feature = "controls"))]
pub(crate) fn is_broken(_: Control) -> bool {
    false
}

/// The clock's time in microseconds, where stamps are broken.
pub(crate) fn wall_clock() -> Option<i64> {
    is_broken(Control::WallClockStamps).then(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |since| since.as_micros() as i64)
    })
}
