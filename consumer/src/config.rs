//! The consumer's limits, each with its unit and default.

/// Limits of the consumer. A dirty set never exceeds a limit by more than one read.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// Workers, each with its share of the partitions. Default: 2.
    pub workers: usize,
    /// Rows that make a flush due. Default: 8,000.
    pub flush_rows_max: usize,
    /// Bytes of records folded since the last flush that make one due. Default: 2 MiB.
    pub flush_bytes_max: usize,
    /// Age of the oldest unflushed record that makes a flush due. Default: 20 ms.
    pub flush_interval_ms: u64,
    /// Records a read. Default: 1,024.
    pub read_records_max: usize,
    /// Bytes a read. Default: 1 MiB.
    pub read_bytes_max: usize,
    /// How long a read waits when nothing is due. Default: 500 ms.
    pub idle_wait_ms: u64,
    /// Entrants and servers that a worker keeps in memory over all its cells, which count
    /// themselves as 8 and each 128 bytes of their filters as 1; beyond it, cells that are clean
    /// leave memory and are loaded again when needed. Default: 4,000,000 (about 500 MB).
    pub slots_max: usize,
    /// Identities that the filter of one cell covers; a cell with more looks each up in the
    /// store. Default: 50,000,000 (about 90 MB).
    pub filter_items_max: usize,
    /// Rows a page when a cell is loaded. Of a cell with more rows of a kind beside it the filter
    /// is read while events are folded, and each identity is looked up until it is there.
    /// Default: 4,096.
    pub load_rows_max: usize,
    /// Flushes of different partitions that a worker sends at a time. Default: 1, which suits a
    /// store that writes one after the other anyway.
    pub flushes_max: usize,
    /// Longest pause before a failed flush or read is tried again. Default: 5,000 ms.
    pub retry_max_ms: u64,
    /// How often lag is measured. Default: 1,000 ms.
    pub lag_interval_ms: u64,
    /// How often progress is told to the feed even when nothing moved, so that readers know that
    /// they are not behind. Default: 1,000 ms.
    pub heartbeat_interval_ms: u64,
    /// How long what is folded may take to be stored when partitions are revoked; the rest is
    /// folded again by whoever has them next. Default: 3,000 ms.
    pub revoke_flush_ms_max: u64,
    /// Called at every crash point.
    #[cfg(feature = "crash_points")]
    pub crash: Option<crate::crash::CrashHook>,
    /// Where the group's broker was told that partitions stand.
    #[cfg(feature = "controls")]
    pub broker_offsets: Option<crate::controls::BrokerOffsets>,
}

impl Default for ConsumerConfig {
    fn default() -> ConsumerConfig {
        ConsumerConfig {
            workers: 2,
            flush_rows_max: 8_000,
            flush_bytes_max: 2 << 20,
            flush_interval_ms: 20,
            read_records_max: 1_024,
            read_bytes_max: 1 << 20,
            idle_wait_ms: 500,
            slots_max: 4_000_000,
            filter_items_max: 50_000_000,
            load_rows_max: 4_096,
            flushes_max: 1,
            retry_max_ms: 5_000,
            lag_interval_ms: 1_000,
            heartbeat_interval_ms: 1_000,
            revoke_flush_ms_max: 3_000,
            #[cfg(feature = "crash_points")]
            crash: None,
            #[cfg(feature = "controls")]
            broker_offsets: None,
        }
    }
}
