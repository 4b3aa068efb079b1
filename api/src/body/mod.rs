//! The JSON that readers get, made of rows and boards without any HTTP.

pub(crate) mod definitions;
pub(crate) mod entry;
pub(crate) mod leaderboard;
pub(crate) mod query;
pub(crate) mod records;
pub(crate) mod rows;
pub(crate) mod stats;

use agon_projections::CellKey;
use serde::{Serialize, Serializer};

/// A rating as JSON shows it: points with up to six decimals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Points(pub i64);

impl Serialize for Points {
    /// The quotient is the double nearest to the exact decimal, and its shortest form is that
    /// decimal again, up to nine billion points.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 1e6)
    }
}

/// A list, a page of it.
#[derive(Debug, Serialize)]
pub(crate) struct List<T> {
    pub items: Vec<T>,
    pub next_cursor: Option<String>,
}

/// The bytes of a value of ours.
pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value)
        .unwrap_or_else(|error| unreachable!("strings and finite numbers are JSON: {error}"))
}

/// The id of a board's environment or benchmark, for messages and cursors.
pub(crate) fn id_of(cell: &CellKey) -> &str {
    match cell {
        CellKey::Environment(id) => id.as_str(),
        CellKey::Benchmark(id) => id.as_str(),
        CellKey::Stream(_) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_have_up_to_six_decimals() {
        for (micros, json) in [
            (2_064_964_612, "2064.964612"),
            (1_500_000_000, "1500.0"),
            (1_500_100_000, "1500.1"),
            (-1, "-1e-6"),
            (0, "0.0"),
            (999_999_999_999, "999999.999999"),
            (-1_000_000_123_456, "-1000000.123456"),
        ] {
            assert_eq!(String::from_utf8(to_json(&Points(micros))).unwrap(), json);
        }
    }
}
