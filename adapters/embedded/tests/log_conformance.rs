//! The embedded log on a real disk keeps the contract of its port.

use std::sync::Arc;

use agon_embedded::files::{DataDir, DiskFiles};
use agon_embedded::log::{EmbeddedLog, OpenOptions};
use agon_ports::EventLog;
use agon_ports::conformance::event_log::EventLogFixture;
use async_trait::async_trait;
use tempfile::TempDir;

/// A directory that goes when the case ends, held by the case.
struct Fixture {
    data: DataDir,
    _dir: TempDir,
}

#[async_trait]
impl EventLogFixture for Fixture {
    fn partitions(&self) -> u32 {
        4
    }

    async fn open(&mut self) -> Arc<dyn EventLog> {
        let options = OpenOptions { partitions: Some(4), ..OpenOptions::default() };
        let files = self.data.files().clone();
        Arc::new(EmbeddedLog::open(files, self.data.log_dir(), options).expect("the log opens"))
    }
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = DataDir::open(Arc::new(DiskFiles), dir.path()).expect("the directory is free");
    Fixture { data, _dir: dir }
}

agon_ports::event_log_conformance!(fixture);
