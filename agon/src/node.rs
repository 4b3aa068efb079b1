//! One data directory, opened: its lock, log, store and control data. The only place where the
//! embedded adapters meet.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agon_consumer::{Consumer, ConsumerConfig};
use agon_embedded::control::{ControlSettings, EmbeddedControl};
use agon_embedded::files::{DataDir, DiskFiles};
use agon_embedded::log::{EmbeddedLog, OpenOptions};
use agon_embedded::store::{EmbeddedStore, StoreConfig};
use agon_memory::{MemoryPublisher, SystemClock};
use agon_ports::{EventLog, ProjectionStore};
use prometheus::Registry;

use crate::bar::Bar;
use crate::cli;
use crate::exit::Exit;

/// An open data directory. It is held for as long as this lives.
pub struct Node {
    /// The lock of the directory.
    pub dir: Arc<DataDir>,
    /// The log.
    pub log: Arc<EmbeddedLog>,
    /// The store; as far behind the log as the last process left it.
    pub store: Arc<EmbeddedStore>,
}

/// News that a subscriber may fall behind before it is told that it missed some.
pub const FEED_CHANGES_MAX: usize = 65_536;

/// What to do with a store that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadStore {
    /// Remove it; the log has everything.
    FoldAnew,
    /// Say so.
    Refuse,
}

/// Takes the directory for this process.
///
/// # Errors
/// In use by another process, or not usable.
pub fn lock(path: &Path) -> Result<Arc<DataDir>, Exit> {
    DataDir::open(Arc::new(DiskFiles), path).map(Arc::new).map_err(Exit::missing)
}

/// Refuses a directory that is not there, for commands that only read.
///
/// # Errors
/// There is no such directory.
pub fn must_exist(path: &Path) -> Result<(), Exit> {
    if path.is_dir() {
        return Ok(());
    }
    let path = path.display();
    Err(Exit::Missing(format!(
        "no data directory at {path}; name it with --data, or make one with `agon import` or \
         `agon serve`"
    )))
}

/// Where the store of a directory lies.
pub fn store_dir(dir: &DataDir) -> PathBuf {
    dir.path().join("store")
}

/// Opens the log of a directory. Blocks while it is checked.
///
/// # Errors
/// A log that is damaged or of another version or partition count.
pub fn open_log(dir: &DataDir, partitions: Option<u32>) -> Result<EmbeddedLog, Exit> {
    let bar = Bar::new("checking the log", 0);
    let options = OpenOptions {
        partitions,
        progress: Some(Box::new(move |done, of| bar.set_of(done, of))),
        ..OpenOptions::default()
    };
    EmbeddedLog::open(Arc::clone(dir.files()), dir.log_dir(), options).map_err(Exit::missing)
}

impl Node {
    /// Opens log and store. Blocks while the log is checked.
    ///
    /// # Errors
    /// A log that is damaged or of another version or partition count; a store that cannot be used
    /// and is not to be folded anew.
    pub fn open(
        dir: Arc<DataDir>,
        partitions: Option<u32>,
        bad_store: BadStore,
    ) -> Result<Node, Exit> {
        let log = open_log(&dir, partitions)?;
        Node::with_log(dir, log, bad_store)
    }

    /// Opens the store beside a log that is open.
    ///
    /// # Errors
    /// A store that cannot be used and is not to be folded anew.
    pub fn with_log(
        dir: Arc<DataDir>,
        log: EmbeddedLog,
        bad_store: BadStore,
    ) -> Result<Node, Exit> {
        let path = store_dir(&dir);
        let open = || EmbeddedStore::open(&path, log.id(), StoreConfig::default());
        let store = match open() {
            Err(error) if bad_store == BadStore::FoldAnew && error.is_mended_by_folding_anew() => {
                tracing::warn!(%error, "the store is removed and folded anew from the log");
                EmbeddedStore::wipe(&path).map_err(Exit::missing)?;
                open()
            }
            opened => opened,
        };
        let store = store.map_err(|error| {
            Exit::Missing(format!("{error}; `agon rebuild` folds it anew from the log"))
        })?;
        Ok(Node { dir, log: Arc::new(log), store: Arc::new(store) })
    }

    /// The users and keys of this directory.
    ///
    /// # Errors
    /// When its file is damaged or cannot be used.
    pub fn control(&self) -> Result<Arc<EmbeddedControl>, Exit> {
        open_control(&self.dir)
    }

    /// Starts folding the log into the store, telling the feed.
    ///
    /// # Errors
    /// When log and store do not belong together.
    pub async fn consume(
        &self,
        limits: &cli::FoldLimits,
        publisher: MemoryPublisher,
        registry: &Registry,
    ) -> Result<Consumer, Exit> {
        let config = consumer_config(limits);
        let log: Arc<dyn EventLog> = self.log.clone();
        let store: Arc<dyn ProjectionStore> = self.store.clone();
        let publisher = Arc::new(publisher);
        let clock = Arc::new(SystemClock);
        Consumer::start(config, log, store, publisher, clock, registry).await.map_err(Exit::missing)
    }
}

/// Limits of a consumer that flushes into a directory.
pub fn consumer_config(limits: &cli::FoldLimits) -> ConsumerConfig {
    ConsumerConfig {
        workers: limits.workers,
        flush_rows_max: limits.flush_rows_max,
        flush_bytes_max: limits.flush_bytes_max,
        flush_interval_ms: limits.flush_interval_ms,
        ..ConsumerConfig::default()
    }
}

/// The users and keys of a directory.
///
/// # Errors
/// When the file is damaged or cannot be used.
pub fn open_control(dir: &Arc<DataDir>) -> Result<Arc<EmbeddedControl>, Exit> {
    let control = EmbeddedControl::open(Arc::clone(dir), ControlSettings::default());
    control.map(Arc::new).map_err(Exit::missing)
}

/// Waits until everything that is in the log now is folded and stored.
///
/// # Errors
/// When a worker fails first.
pub async fn catch_up(
    consumer: &Consumer,
    log: &dyn EventLog,
    what: &'static str,
) -> Result<(), Exit> {
    let ends = log.ends().await.map_err(Exit::missing)?;
    let bar = Bar::new(what, ends.values().sum());
    let mut reached = consumer.reached();
    let watched = consumer.reached();
    let mut failure = std::pin::pin!(consumer.failure());
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            is_there = reached.wait_for(&ends) => {
                if is_there {
                    return Ok(());
                }
            }
            error = &mut failure => return Err(Exit::missing(error)),
            _ = ticks.tick() => bar.set(watched.records()),
        }
    }
}
