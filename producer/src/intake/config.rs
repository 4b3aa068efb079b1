//! The intake's limits, each with its unit and default.

use std::time::Duration;

use crate::batch::BatchLimits;

/// Limits of the intake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntakeConfig {
    /// Records of one append. Default: 4,096.
    pub batch_records_max: usize,
    /// Bytes of one append. Default: 4 MiB.
    pub batch_bytes_max: usize,
    /// How long a record waits for others before it is appended. Default: 2 ms.
    pub batch_age_ms_max: u64,
    /// Records that were accepted and not answered yet; more are refused at once. Default: 65,536.
    pub queue_records_max: usize,
    /// Their bytes. Default: 64 MiB.
    pub queue_bytes_max: usize,
    /// Identities in the log that are remembered until the store has passed them. Default:
    /// 131,072.
    pub recent_max: usize,
    /// Definitions that are remembered. Default: 4,096.
    pub definitions_max: usize,
    /// How long a call waits for the store to pass the log's end before what it cannot see is
    /// left to the fold. Default: 2,000 ms.
    pub view_wait_ms_max: u64,
    /// How long one look at the store may take; a store that is slower is taken to be away, and
    /// the call goes on without it. Default: 1,000 ms.
    pub view_look_ms_max: u64,
    /// `ce_source` of all records. Default: `agon`.
    pub source: String,
}

impl Default for IntakeConfig {
    fn default() -> IntakeConfig {
        IntakeConfig {
            batch_records_max: 4096,
            batch_bytes_max: 4 << 20,
            batch_age_ms_max: 2,
            queue_records_max: 65_536,
            queue_bytes_max: 64 << 20,
            recent_max: 131_072,
            definitions_max: 4096,
            view_wait_ms_max: 2000,
            view_look_ms_max: 1000,
            source: "agon".to_owned(),
        }
    }
}

impl IntakeConfig {
    pub(crate) fn batch(&self) -> BatchLimits {
        BatchLimits {
            records_max: self.batch_records_max.max(1),
            bytes_max: self.batch_bytes_max.max(1),
            age_max: Duration::from_millis(self.batch_age_ms_max),
        }
    }
}
