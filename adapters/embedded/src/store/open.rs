//! Opening, making and wiping a store: what must be true before a row of it is believed.

use std::fs;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use agon_projections::{FOLD_VERSION, GENERATION};
use agon_schema::LogId;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use uuid::Uuid;

use super::chain::{Chain, LINKS};
use super::error::{OpenError, panic_text};
use super::manifest;
use super::{StoreConfig, Tables};

/// The version of what this module writes: keys, values, links and marker.
const STORE_VERSION: u32 = 1;

/// Where the marker stands. No table has the code 0.
const MARKER: &[u8] = &[0, b'm'];

/// Journals together at least, as the database demands.
const JOURNAL_BYTES_MIN: u64 = 64 << 20;
/// Open files at least, as the database demands.
const OPEN_FILES_MIN: usize = 16;

/// An open store and where its chain goes on.
pub(super) struct Opened {
    pub(super) tables: Tables,
    pub(super) chain: Chain,
}

/// Opens the store in a directory, or makes it.
pub(super) fn open(dir: &Path, log: LogId, config: &StoreConfig) -> Result<Opened, OpenError> {
    remove_dir(&aside(dir)).map_err(|error| OpenError::io(dir, error))?;
    manifest::check(dir)?;
    // The database panics over some kinds of damage; its own worker threads it stops in order.
    let opened = catch_unwind(AssertUnwindSafe(|| open_database(dir, log, config)));
    opened.unwrap_or_else(|panic| Err(OpenError::damaged(dir, panic_text(&*panic))))
}

fn open_database(dir: &Path, log: LogId, config: &StoreConfig) -> Result<Opened, OpenError> {
    let version = Version::of_this_program();
    let of_database = |error| OpenError::of_database(dir, &version.to_string(), error);
    let db = Database::builder(dir)
        .cache_size(config.cache_bytes)
        .max_journaling_size(config.journal_bytes_max.max(JOURNAL_BYTES_MIN))
        .max_cached_files(Some(config.open_files_max.max(OPEN_FILES_MIN)))
        .worker_threads(config.worker_threads.max(1))
        .open()
        .map_err(of_database)?;
    // All tables share one keyspace: a journal that damage cut short then leaves the flushes up
    // to some point whole, where several keyspaces, each with tables of its own on the disk,
    // could stand at different points.
    let options = || KeyspaceCreateOptions::default().max_memtable_size(config.memtable_bytes);
    let rows = db.keyspace("rows", options).map_err(of_database)?;

    let Some(marker) = rows.get(MARKER).map_err(of_database)? else {
        if !rows.is_empty().map_err(of_database)? {
            return Err(OpenError::damaged(dir, "it has rows, but does not say of which log"));
        }
        let chain = make(&db, &rows, version, log).map_err(of_database)?;
        return Ok(Opened { tables: Tables { rows, db }, chain });
    };
    check_marker(dir, &marker, version, log)?;
    let mut links = Vec::new();
    for link in rows.prefix(LINKS) {
        let (key, value) = link.into_inner().map_err(of_database)?;
        links.push((key.to_vec(), value.to_vec()));
    }
    let chain = Chain::resume(links.into_iter()).map_err(|what| {
        OpenError::damaged(dir, format!("its chain of flushes is broken: {what}"))
    })?;
    Ok(Opened { tables: Tables { rows, db }, chain })
}

/// Writes the marker and the first link into an empty store.
fn make(db: &Database, rows: &Keyspace, version: Version, log: LogId) -> fjall::Result<Chain> {
    let mut chain = Chain::new();
    let mut batch = db.batch();
    batch.insert(rows, MARKER, [&version.bytes()[..], log.0.as_bytes()].concat());
    for (key, value) in chain.links() {
        batch.insert(rows, key, value);
    }
    batch.commit()?;
    chain.advance();
    Ok(chain)
}

fn check_marker(dir: &Path, marker: &[u8], version: Version, log: LogId) -> Result<(), OpenError> {
    let found = marker.split_first_chunk::<12>();
    let Some((found, found_log)) = found.map(|(bytes, rest)| (Version::read(bytes), rest)) else {
        return Err(OpenError::damaged(dir, "its marker is too short"));
    };
    if found != version {
        let (found, expected) = (found.to_string(), version.to_string());
        return Err(OpenError::OtherVersion { dir: dir.to_owned(), found, expected });
    }
    let Ok(found_log) = Uuid::from_slice(found_log) else {
        return Err(OpenError::damaged(dir, "its marker names no log"));
    };
    if found_log != log.0 {
        let found = LogId(found_log);
        return Err(OpenError::OtherLog { dir: dir.to_owned(), found, expected: log });
    }
    Ok(())
}

/// The versions that a store depends on. In the marker they stand first, as three big-endian
/// numbers, in every version to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    store: u32,
    fold: u32,
    generation: u32,
}

impl Version {
    fn of_this_program() -> Version {
        Version { store: STORE_VERSION, fold: FOLD_VERSION, generation: GENERATION }
    }

    fn bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        for (part, number) in
            bytes.chunks_exact_mut(4).zip([self.store, self.fold, self.generation])
        {
            part.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    fn read(bytes: &[u8; 12]) -> Version {
        let [store, fold, generation] = [0, 4, 8]
            .map(|at| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]));
        Version { store, fold, generation }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Version { store, fold, generation } = self;
        write!(f, "store version {store}, fold version {fold}, generation {generation}")
    }
}

/// Where a store is moved before it is removed.
fn aside(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".wiped");
    PathBuf::from(name)
}

/// Removes the store in a directory. It is moved aside first, so that a process that dies in the
/// middle leaves no half of it under its name.
pub(super) fn wipe(dir: &Path) -> Result<(), OpenError> {
    let io = |error| OpenError::Io { dir: dir.to_owned(), source: error };
    let aside = aside(dir);
    remove_dir(&aside).map_err(io)?;
    match fs::rename(dir, &aside) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        moved => moved.map_err(io)?,
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(io)?;
    }
    remove_dir(&aside).map_err(io)
}

fn remove_dir(dir: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
