//! The limits of a store.

use std::fmt;
use std::time::Duration;

/// Is told the name of each step of a flush that is reached. A test program ends itself there.
#[cfg(feature = "crash_points")]
pub type CrashPoint = std::sync::Arc<dyn Fn(&'static str) + Send + Sync>;

/// The steps of a flush, in their order; the last is one only where a cell's batch is cut in two on
/// purpose.
#[cfg(feature = "crash_points")]
pub const CRASH_POINTS: [&str; 6] = [
    "flush.before",
    "flush.after_side_rows",
    "flush.after_cells",
    "flush.before_progress",
    "flush.after_progress",
    "flush.inside_cell",
];

/// Limits, each with its unit.
#[derive(Clone)]
pub struct StoreSettings {
    /// How long a request may take, its repetitions on other nodes included.
    pub request_timeout_ms: u64,
    /// Requests under way at once; more wait their turn.
    pub in_flight_max: usize,
    /// Rows of a batch of side rows. A cell's own rows are one batch, however many they are.
    pub rows_per_batch_max: usize,
    /// Bytes of a batch of side rows, and of a chunk.
    pub batch_bytes_max: usize,
    /// Called at each step of a flush.
    #[cfg(feature = "crash_points")]
    pub crash_point: Option<CrashPoint>,
}

impl Default for StoreSettings {
    fn default() -> StoreSettings {
        StoreSettings {
            request_timeout_ms: 5_000,
            in_flight_max: 128,
            rows_per_batch_max: 500,
            batch_bytes_max: 256 << 10,
            #[cfg(feature = "crash_points")]
            crash_point: None,
        }
    }
}

impl fmt::Debug for StoreSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreSettings")
            .field("request_timeout_ms", &self.request_timeout_ms)
            .field("in_flight_max", &self.in_flight_max)
            .field("rows_per_batch_max", &self.rows_per_batch_max)
            .field("batch_bytes_max", &self.batch_bytes_max)
            .finish_non_exhaustive()
    }
}

impl StoreSettings {
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms.max(1))
    }

    /// Says that a step of a flush is reached.
    pub(crate) fn reach(&self, step: &'static str) {
        #[cfg(feature = "crash_points")]
        if let Some(crash_point) = &self.crash_point {
            crash_point(step);
        }
        tracing::trace!(step, "flush");
    }
}
