//! The store on disk: rows in a kept key-value database, one atomic batch a flush.
//!
//! ```text
//! flush -> encode -> [one writer: stored progress? span fits? batch of rows, links, progress]
//! get, scan, inspect -> the database at one moment, while flushes go on
//! ```
//! The log is the truth and the store its cache. So a flush is handed to the operating system and
//! not synced unless the configuration says so, and whatever cannot be believed at opening is
//! reported, wiped by the caller and folded anew; see [`OpenError`]. After a failed write the
//! database takes no more until it is opened again, which a later flush does.

mod chain;
mod error;
mod inspect;
mod manifest;
mod open;
mod read;
mod reopen;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use agon_ports::{PortError, ProjectionStore, Scan};
use agon_projections::row::{Progress, Value};
use agon_projections::row_bytes::{key_bytes, value_bytes};
use agon_projections::{Applied, Flush, Row, RowKey, span_fits};
use agon_schema::{LogId, TopicPartition};
use async_trait::async_trait;
use fjall::{Database, Keyspace, PersistMode};

pub use error::OpenError;
use error::{closed, damaged, failed, panic_text};
use reopen::Writer;

/// A key and its value.
type Entry = (Vec<u8>, Vec<u8>);

/// Bytes of a key at most; the database writes their number in two bytes.
const KEY_BYTES_MAX: usize = u16::MAX as usize;

/// How a store uses the machine. Memory is about `cache_bytes` and, during an import, up to five
/// times `memtable_bytes`.
#[derive(Clone, Copy, Debug)]
pub struct StoreConfig {
    /// Blocks of tables kept in memory, bytes; 128 MiB unless set.
    pub cache_bytes: u64,
    /// Rows gathered in memory before they become a table on disk, bytes; 64 MiB unless set. Large
    /// ones make an import write less. Takes effect when the store is made.
    pub memtable_bytes: u64,
    /// Journals on disk, all together, bytes; 256 MiB unless set, at least 64 MiB. They are read
    /// at opening.
    pub journal_bytes_max: u64,
    /// Files open at a time; 512 unless set, at least 16.
    pub open_files_max: usize,
    /// Threads that write and merge tables; 2 unless set, at least 1.
    pub worker_threads: usize,
    /// Least time between two openings of a store that stops after failed writes, ms; 5,000 unless
    /// set. Meanwhile flushes are refused.
    pub reopen_pause_ms: u64,
    /// Whether a flush is answered only after an fsync. Off unless set: after a loss of power the
    /// log brings the store forward again.
    pub is_each_flush_synced: bool,
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig {
            cache_bytes: 128 << 20,
            memtable_bytes: 64 << 20,
            journal_bytes_max: 256 << 20,
            open_files_max: 512,
            worker_threads: 2,
            reopen_pause_ms: 5_000,
            is_each_flush_synced: false,
        }
    }
}

/// A store on disk. Clones are the same store; it closes with the last of them and of the calls
/// under way.
#[derive(Clone)]
pub struct EmbeddedStore {
    inner: Arc<Inner>,
}

struct Inner {
    /// None while it is opened again, and when that failed.
    tables: RwLock<Option<Tables>>,
    dir: PathBuf,
    log: LogId,
    config: StoreConfig,
    /// Held from the look at the stored progress to the end of the write.
    writer: Mutex<Writer>,
}

/// What is open. The keyspace goes first.
struct Tables {
    rows: Keyspace,
    db: Database,
}

impl EmbeddedStore {
    /// Opens the store in a directory, which is made when absent, as the store of this log. Reads
    /// the journals, so it may take seconds.
    ///
    /// # Errors
    /// See [`OpenError`]; it says whether [`EmbeddedStore::wipe`] mends it.
    pub fn open(
        dir: impl Into<PathBuf>,
        log: LogId,
        config: StoreConfig,
    ) -> Result<EmbeddedStore, OpenError> {
        let dir = dir.into();
        let opened = open::open(&dir, log, &config)?;
        let inner = Inner {
            tables: RwLock::new(Some(opened.tables)),
            dir,
            log,
            config,
            writer: Mutex::new(Writer::new(opened.chain)),
        };
        Ok(EmbeddedStore { inner: Arc::new(inner) })
    }

    /// Removes the store in a directory, if there is one; nobody has it open.
    ///
    /// # Errors
    /// [`OpenError::Io`].
    pub fn wipe(dir: impl AsRef<Path>) -> Result<(), OpenError> {
        open::wipe(dir.as_ref())
    }

    /// Waits until everything flushed so far is safe from a loss of power. Dropping the last
    /// handle does so too.
    ///
    /// # Errors
    /// `Retry::Later` when the disk refuses.
    pub async fn sync(&self) -> Result<(), PortError> {
        let sync = |tables: &Tables| {
            let synced = tables.db.persist(PersistMode::SyncAll);
            synced.map_err(|error| failed("sync the store", error))
        };
        self.blocking("sync the store".to_owned(), move |inner| {
            inner.look(|| "sync the store".to_owned(), sync)
        })
        .await
    }

    /// Puts any bytes under any key, as damage would.
    ///
    /// # Errors
    /// When the database refuses.
    #[cfg(any(test, feature = "damage"))]
    pub fn overwrite_raw_for_tests(&self, key: &[u8], value: &[u8]) -> Result<(), PortError> {
        let attempted = || "overwrite a value".to_owned();
        self.inner.look(attempted, |tables| {
            tables.rows.insert(key, value).map_err(|error| failed(attempted(), error))
        })
    }

    /// Does what may wait for the disk on a thread that may wait. The work goes on when the call
    /// is dropped.
    async fn blocking<T: Send + 'static>(
        &self,
        attempted: String,
        work: impl FnOnce(&Inner) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let inner = Arc::clone(&self.inner);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(answer) => answer,
            Err(error) => Err(match error.try_into_panic() {
                Ok(panic) => damaged(attempted, panic_text(&*panic)),
                Err(_) => PortError::later(attempted, "the process is stopping"),
            }),
        }
    }
}

impl Inner {
    /// Looks into what is open, and waits while it is opened again.
    fn look<T>(
        &self,
        attempted: impl FnOnce() -> String,
        look: impl FnOnce(&Tables) -> Result<T, PortError>,
    ) -> Result<T, PortError> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.as_ref().map_or_else(|| Err(closed(attempted())), look)
    }

    /// Writes the rows of a flush, encoded, if its span is the next one.
    fn flush(&self, flush: &Flush) -> Result<(), PortError> {
        let attempted = || format!("flush {} through {}", flush.source, flush.progress.applied);
        let entries = encode(flush).map_err(|reason| PortError::never(attempted(), reason))?;
        // A panic under this lock is in the database; what it has stored is then asked anew.
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.is_stopped {
            self.reopen(&mut writer, attempted)?;
        }
        self.look(attempted, |tables| {
            let stored = tables.applied(flush.source, attempted)?;
            match span_fits(stored, flush.from, flush.progress.applied) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => return Err(PortError::never(attempted(), error)),
            }
            let is_synced = self.config.is_each_flush_synced;
            tables.write(writer.chain.links().into_iter().chain(entries), is_synced).map_err(
                |error| {
                    writer.is_stopped = true;
                    failed(attempted(), error)
                },
            )?;
            writer.chain.advance();
            if writer.chain.is_rotation_due() {
                match tables.rows.rotate_memtable() {
                    Ok(_) => writer.chain.note_rotation(),
                    // The flush is written; the next one tries again.
                    Err(error) => tracing::warn!(%error, "the store cannot write out its memory"),
                }
            }
            Ok(())
        })
    }
}

impl Tables {
    fn write(&self, entries: impl Iterator<Item = Entry>, is_synced: bool) -> fjall::Result<()> {
        self.await_room_in_memory()?;
        let mut batch = self.db.batch();
        if is_synced {
            batch = batch.durability(Some(PersistMode::SyncData));
        }
        for (key, value) in entries {
            batch.insert(&self.rows, key, value);
        }
        batch.commit()
    }

    /// How far a partition is stored.
    fn applied(
        &self,
        source: TopicPartition,
        attempted: impl Fn() -> String,
    ) -> Result<Applied, PortError> {
        match self.get_one(&RowKey::Progress(source))?.map(|row| row.value) {
            None => Ok(None),
            Some(Value::Progress(Progress { applied, .. })) => Ok(Some(applied)),
            Some(_) => Err(damaged(attempted(), format!("the progress of {source} is none"))),
        }
    }
}

/// The keys and values of a flush in the order of their keys, which is how the database sorts
/// them too; the progress comes last. Of rows under one key the last one stands.
fn encode(flush: &Flush) -> Result<Vec<Entry>, String> {
    let mut entries: Vec<Entry> = Vec::with_capacity(flush.row_count());
    for row in flush.rows() {
        let key = key_bytes(&row.key);
        if key.len() > KEY_BYTES_MAX {
            return Err(format!("a key has {} bytes, more than {KEY_BYTES_MAX}", key.len()));
        }
        entries.push((key, value_bytes(&row.value)));
    }
    entries.sort_by(|(left, _), (right, _)| left.cmp(right));
    entries.dedup_by(|later, earlier| {
        let is_same = later.0 == earlier.0;
        if is_same {
            std::mem::swap(&mut earlier.1, &mut later.1);
        }
        is_same
    });
    let progress = Value::Progress(flush.progress.clone());
    entries.push((key_bytes(&RowKey::Progress(flush.source)), value_bytes(&progress)));
    Ok(entries)
}

impl Drop for Inner {
    fn drop(&mut self) {
        let tables = self.tables.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(tables) = tables else { return };
        if let Err(error) = tables.db.persist(PersistMode::SyncAll) {
            let dir = self.dir.display();
            tracing::warn!(%error, %dir, "the store could not be synced at its end");
        }
    }
}

#[async_trait]
impl ProjectionStore for EmbeddedStore {
    async fn flush(&self, flush: Arc<Flush>) -> Result<(), PortError> {
        let attempted = format!("flush {} through {}", flush.source, flush.progress.applied);
        self.blocking(attempted, move |inner| inner.flush(&flush)).await
    }

    async fn get(&self, keys: Vec<RowKey>) -> Result<Vec<Option<Row>>, PortError> {
        // One row is a look into memory, or a block or two from the disk; unless somebody waits
        // for the store to be opened again.
        if let [key] = &keys[..]
            && self.inner.tables.try_read().is_ok()
        {
            let attempted = || format!("get {key}");
            let get = || self.inner.look(attempted, |tables| tables.get_one(key));
            let row = catch_unwind(AssertUnwindSafe(get));
            let row = row.map_err(|panic| damaged(format!("get {key}"), panic_text(&*panic)))?;
            return row.map(|row| vec![row]);
        }
        let attempted = format!("get {} rows", keys.len());
        self.blocking(attempted.clone(), move |inner| {
            inner.look(|| attempted, |tables| tables.get(&keys))
        })
        .await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, PortError> {
        let attempted = format!("scan {:?}", scan.prefix);
        self.blocking(attempted.clone(), move |inner| {
            inner.look(|| attempted, |tables| tables.scan(&scan))
        })
        .await
    }
}
