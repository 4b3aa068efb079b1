//! The log of a directory, past the program.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agon_embedded::files::{DataDir, DiskFiles};
use agon_embedded::log::{EmbeddedLog, OpenOptions};
use agon_ports::{EventLog, LogRecord, ReadLimits};

/// Opens the log of a directory that nobody has open.
pub fn open(data: &Path) -> EmbeddedLog {
    let dir = DataDir::open(Arc::new(DiskFiles), data).unwrap();
    let files = Arc::clone(dir.files());
    EmbeddedLog::open(files, dir.log_dir(), OpenOptions::default()).unwrap()
}

/// Every record of a log.
pub async fn records(log: &EmbeddedLog) -> Vec<LogRecord> {
    let ends = log.ends().await.unwrap();
    let all: u64 = ends.values().sum();
    let mut reader = log.read(ends.keys().map(|source| (*source, 0)).collect()).await.unwrap();
    let mut found = Vec::new();
    while (found.len() as u64) < all {
        let limits = ReadLimits { records_max: 1000, bytes_max: 1 << 20 };
        let page = reader.next(limits, Duration::from_secs(60)).await.unwrap();
        assert!(!page.is_empty(), "{} of {all} records", found.len());
        found.extend(page);
    }
    found
}
