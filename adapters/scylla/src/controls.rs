//! Ways of breaking the protocol on purpose, for the suites that must notice. Without the feature
//! `controls` nothing here can be switched on; with it, the environment variable `AGON_BREAK` names
//! one.

#[cfg(feature = "controls")]
use std::sync::Arc;

#[cfg(feature = "controls")]
use agon_ports::PortError;
#[cfg(feature = "controls")]
use agon_projections::row::Value;
#[cfg(feature = "controls")]
use agon_projections::{CellFlush, Flush, Row, RowKey};

#[cfg(feature = "controls")]
use crate::read::Reader;

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
    /// What a span changed in an entrant is added to what is stored, as a table of counters does.
    CounterInsteadOfValue,
}

/// The names of all, as `AGON_BREAK` takes them.
#[cfg(feature = "controls")]
pub const CONTROLS: [&str; 6] = [
    Control::WallClockStamps.name(),
    Control::NoFirstSeen.name(),
    Control::BatchCutInsideEvent.name(),
    Control::CellsBeforeSideRows.name(),
    Control::ProgressFirst.name(),
    Control::CounterInsteadOfValue.name(),
];

#[cfg(feature = "controls")]
impl Control {
    const fn name(self) -> &'static str {
        match self {
            Control::WallClockStamps => "wall_clock_stamps",
            Control::NoFirstSeen => "no_first_seen",
            Control::BatchCutInsideEvent => "batch_cut_inside_event",
            Control::CellsBeforeSideRows => "cells_before_side_rows",
            Control::ProgressFirst => "progress_first",
            Control::CounterInsteadOfValue => "counter_instead_of_value",
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

/// The clock's time in microseconds, where stamps are broken. A counter has no stamp: each addition
/// takes effect.
pub(crate) fn wall_clock() -> Option<i64> {
    let has_no_stamp = is_broken(Control::CounterInsteadOfValue);
    (has_no_stamp || is_broken(Control::WallClockStamps)).then(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |since| since.as_micros() as i64)
    })
}

/// The flush as a table of counters would take it: games and rating of an entrant are what is
/// stored and what the matches of the span changed.
#[cfg(feature = "controls")]
pub(crate) async fn counted(reader: &Reader, flush: Arc<Flush>) -> Result<Arc<Flush>, PortError> {
    if !is_broken(Control::CounterInsteadOfValue) {
        return Ok(flush);
    }
    let mut flush = Flush::clone(&flush);
    for CellFlush { own, side, .. } in &mut flush.cells {
        for row in own {
            let key = row.key.clone();
            let (RowKey::Entrant(_, agent), Value::Rating(rating)) = (&key, &mut row.value) else {
                continue;
            };
            let stored = reader.get(vec![key.clone()]).await;
            let stored = stored.map_err(|error| error.into_port(format!("read {key}")))?;
            let Some(Some(Row { value: Value::Rating(stored), .. })) = stored.first() else {
                continue;
            };
            (rating.games, rating.rating_micros) = (stored.games, stored.rating_micros);
            for row in &*side {
                let Value::Match(told) = &row.value else { continue };
                for player in told.players.iter().filter(|player| player.agent == *agent) {
                    rating.games += 1;
                    rating.rating_micros +=
                        player.rating_after_micros - player.rating_before_micros;
                }
            }
        }
    }
    Ok(Arc::new(flush))
}
