//! A cell in readable columns: its kind and its id.

use agon_projections::CellKey;
use agon_schema::{BenchmarkId, EnvironmentId};

/// The columns `cell_kind` and `cell_id`. The kinds are those of `row_bytes`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CellName {
    pub(crate) kind: i8,
    /// A stream cell's is the number of its partition, in digits.
    pub(crate) id: String,
}

/// The `cell_kind` of an environment.
pub(crate) const ENVIRONMENT: i8 = 1;
/// The `cell_kind` of a benchmark.
pub(crate) const BENCHMARK: i8 = 2;
/// The `cell_kind` of a partition of the stream.
pub(crate) const STREAM: i8 = 3;

impl From<&CellKey> for CellName {
    fn from(key: &CellKey) -> CellName {
        match key {
            CellKey::Environment(id) => CellName { kind: ENVIRONMENT, id: id.as_str().to_owned() },
            CellKey::Benchmark(id) => CellName { kind: BENCHMARK, id: id.as_str().to_owned() },
            CellKey::Stream(partition) => CellName { kind: STREAM, id: partition.to_string() },
        }
    }
}

impl CellName {
    /// The cell of these columns, if they name one.
    pub(crate) fn key(&self) -> Option<CellKey> {
        let key = match self.kind {
            ENVIRONMENT => CellKey::Environment(EnvironmentId::new(self.id.clone()).ok()?),
            BENCHMARK => CellKey::Benchmark(BenchmarkId::new(self.id.clone()).ok()?),
            STREAM => CellKey::Stream(self.id.parse().ok()?),
            _ => return None,
        };
        // `+7` and `007` are numbers, and no names that we write.
        (CellName::from(&key) == *self).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_has_one_name() {
        let cells = [
            CellKey::Environment(EnvironmentId::new("go-9").unwrap()),
            CellKey::Benchmark(BenchmarkId::new("go-9").unwrap()),
            CellKey::Stream(0),
            CellKey::Stream(u32::MAX),
        ];
        for cell in cells {
            assert_eq!(CellName::from(&cell).key(), Some(cell));
        }
        for (kind, id) in [(3, "007"), (3, "+7"), (3, ""), (1, ""), (0, "go"), (4, "go")] {
            assert_eq!(CellName { kind, id: id.to_owned() }.key(), None, "{kind} {id}");
        }
    }
}
