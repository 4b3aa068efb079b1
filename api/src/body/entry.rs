//! One line of a board, with the fields that were asked for.

use agon_projections::board::{Entry, Standing};
use agon_schema::event::Metrics;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::Points;

/// The fields of an environment's entries, in their order.
pub(crate) const RATING_FIELDS: [&str; 8] =
    ["rank", "agent", "rating", "games", "wins", "draws", "losses", "last_played_at"];
/// The fields of a benchmark's entries, in their order.
pub(crate) const SCORE_FIELDS: [&str; 7] =
    ["rank", "agent", "score", "metrics", "submission_id", "submissions", "last_submitted_at"];

/// Which fields of a line are shown: one bit each, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fields(u16);

impl Fields {
    /// All of them.
    pub const ALL: Fields = Fields(u16::MAX);

    /// The named ones of `known`, or the first name that is none of them.
    pub fn of<'a>(names: impl Iterator<Item = &'a str>, known: &[&str]) -> Result<Fields, String> {
        let mut fields = Fields(0);
        for name in names {
            let at = known.iter().position(|known| *known == name);
            let Some(at) = at else {
                return Err(format!("has no field `{name}`; choose from {}", known.join(",")));
            };
            fields.0 |= 1 << at;
        }
        Ok(fields)
    }

    /// The number that stands for them.
    pub fn bits(self) -> u16 {
        self.0
    }

    fn has(self, at: usize) -> bool {
        self.0 >> at & 1 == 1
    }
}

/// One line as JSON.
pub(crate) struct Line<'a> {
    pub entry: Entry<'a>,
    pub fields: Fields,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        write_entry(&mut map, &self.entry, self.fields)?;
        map.end()
    }
}

/// Writes the fields of a line into a map.
pub(crate) fn write_entry<M: SerializeMap>(
    map: &mut M,
    entry: &Entry<'_>,
    fields: Fields,
) -> Result<(), M::Error> {
    let has = |at| fields.has(at);
    if has(0) {
        map.serialize_entry("rank", &entry.rank)?;
    }
    if has(1) {
        map.serialize_entry("agent", entry.agent)?;
    }
    match entry.standing {
        Standing::Rating(rating) => {
            if has(2) {
                map.serialize_entry("rating", &Points(rating.rating_micros))?;
            }
            let counts = [rating.games, rating.wins, rating.draws, rating.losses];
            for (at, count) in (3..).zip(counts) {
                if has(at) {
                    map.serialize_entry(RATING_FIELDS[at], &count)?;
                }
            }
            if has(7) {
                map.serialize_entry("last_played_at", &Text(rating.last.at))?;
            }
        }
        Standing::Score(score) => {
            if has(2) {
                map.serialize_entry("score", &score.score)?;
            }
            if has(3) {
                map.serialize_entry("metrics", &MetricsMap(&score.metrics))?;
            }
            if has(4) {
                map.serialize_entry("submission_id", score.submission_id.as_str())?;
            }
            if has(5) {
                map.serialize_entry("submissions", &score.submissions)?;
            }
            if has(6) {
                map.serialize_entry("last_submitted_at", &Text(score.last.at))?;
            }
        }
    }
    Ok(())
}

/// Something as it displays itself.
pub(crate) struct Text<T>(pub T);

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Metrics as an object, in the order of their names.
pub(crate) struct MetricsMap<'a>(pub &'a Metrics);

impl Serialize for MetricsMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name.as_str(), value)))
    }
}
