//! The embedded store keeps its port's contract: closed and opened again, killed and opened
//! again, with and without a sync a flush.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use agon_embedded::store::{EmbeddedStore, OpenError, StoreConfig};
use agon_ports::conformance::projection_store::ProjectionStoreFixture;
use agon_ports::conformance::store_inspector::StoreInspectorFixture;
use agon_ports::{ProjectionStore, StoreInspector};
use agon_schema::LogId;
use tempfile::TempDir;
use uuid::Uuid;

const LOG: LogId = LogId(Uuid::from_u128(7));
/// How long a call that was abandoned may hold the store; only a failing case waits that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory that goes when the case ends; each life after a kill is a directory in it.
struct Fixture {
    dir: TempDir,
    life: usize,
    config: StoreConfig,
}

impl Fixture {
    fn new(config: StoreConfig) -> Fixture {
        Fixture { dir: tempfile::tempdir().expect("a temporary directory"), life: 0, config }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(format!("life-{}", self.life))
    }

    async fn open_store(&self) -> EmbeddedStore {
        let started = Instant::now();
        loop {
            match EmbeddedStore::open(self.path(), LOG, self.config) {
                // A call whose caller went away keeps the store open until it is done.
                Err(OpenError::InUse { .. }) if started.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                opened => return opened.expect("the store opens"),
            }
        }
    }
}

/// Copies what a dying process leaves to the next one: the files as they are at one moment. Only
/// journals may grow meanwhile; their copies end where they were read, as after a kill.
fn copy_of_one_moment(from: &Path, to: &Path) {
    loop {
        let before = files(from, Path::new(""));
        let copied = before.keys().all(|path| {
            let target = to.join(path);
            fs::create_dir_all(target.parent().expect("it lies in a directory")).is_ok()
                && fs::copy(from.join(path), target).is_ok()
        });
        if copied && files(from, Path::new("")) == before {
            return;
        }
        fs::remove_dir_all(to).expect("the copy can be removed");
    }
}

/// The files under a directory with what changes when they do.
fn files(dir: &Path, under: &Path) -> BTreeMap<PathBuf, Option<(u64, SystemTime)>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir.join(under)).expect("a directory").flatten() {
        let path = under.join(entry.file_name());
        // What vanishes in between makes the listing another one.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            found.extend(files(dir, &path));
        } else {
            let is_journal = path.extension().is_some_and(|extension| extension == "jnl");
            let changed = metadata.modified().map(|modified| (metadata.len(), modified));
            found.insert(path, changed.ok().filter(|_| !is_journal));
        }
    }
    found
}

#[async_trait::async_trait]
impl ProjectionStoreFixture for Fixture {
    async fn open(&mut self) -> Arc<dyn ProjectionStore> {
        Arc::new(self.open_store().await)
    }

    /// The files are copied while the store is open and maybe in the middle of a flush: nothing
    /// closes it before the copy is opened.
    async fn crash(&mut self, store: Arc<dyn ProjectionStore>) -> Arc<dyn ProjectionStore> {
        let dying = self.path();
        self.life += 1;
        copy_of_one_moment(&dying, &self.path());
        let opened = ProjectionStoreFixture::open(self).await;
        drop(store);
        opened
    }
}

#[async_trait::async_trait]
impl StoreInspectorFixture for Fixture {
    async fn open(&mut self) -> (Arc<dyn ProjectionStore>, Arc<dyn StoreInspector>) {
        let store = Arc::new(self.open_store().await);
        (store.clone(), store)
    }
}

/// A memory so small that flushes become tables while a case runs.
fn small() -> StoreConfig {
    StoreConfig { memtable_bytes: 100_000, cache_bytes: 1 << 20, ..StoreConfig::default() }
}

mod unsynced {
    use super::*;

    fn make_fixture() -> Fixture {
        Fixture::new(StoreConfig::default())
    }

    agon_ports::projection_store_conformance!(make_fixture);
    agon_ports::store_inspector_conformance!(make_fixture);
}

mod synced_with_a_small_memory {
    use super::*;

    fn make_fixture() -> Fixture {
        Fixture::new(StoreConfig { is_each_flush_synced: true, ..small() })
    }

    agon_ports::projection_store_conformance!(make_fixture);
    agon_ports::store_inspector_conformance!(make_fixture);
}
