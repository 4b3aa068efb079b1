//! The control store as one file: held in memory, written whole at each change.
//!
//! ```text
//! DIR/control.json       what was acknowledged; there from the first start on
//! DIR/control.json.new   what is being written: made anew, synced, then renamed to the other
//! ```
//! The name `control.json` never stands for a file that is not whole on the disk, and a change is
//! acknowledged when the directory was synced after the rename. So a power loss leaves the state
//! before a change or after it, and a leftover of the second name beside the first is a change
//! that nobody was told of.

mod document;

use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use agon_ports::control_store::check_sizes;
use agon_ports::{ControlStore, PortError, Put, Versioned};
use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::Mutex;

use crate::files::{DataDir, Files, Mode};
use document::{Entries, Unreadable};

/// The name of the store's file in the data directory.
const FILE: &str = "control.json";
/// The name under which a change is written.
const NEW_FILE: &str = "control.json.new";

/// Limits of the control store.
#[derive(Clone, Copy, Debug)]
pub struct ControlSettings {
    /// Bytes of all keys and values together, at most; 16 MiB unless set. A change that would go
    /// beyond is refused, to be tried later. Each change writes all of them.
    pub bytes_max: usize,
}

impl Default for ControlSettings {
    fn default() -> ControlSettings {
        ControlSettings { bytes_max: 16 << 20 }
    }
}

/// Why the control store of a data directory cannot be opened.
#[derive(Debug, Error)]
pub enum ControlError {
    /// What is in the file is not what was written.
    #[error("{} is damaged: {reason}; {remedy}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// The file has another format.
    #[error("{} has format {found}, this agon reads format {}; start it with the agon that wrote \
        it", path.display(), document::FORMAT)]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// The format it names.
        found: u64,
    },
    /// The file system refuses.
    #[error("cannot use {}: {source}; it and its directory must be readable and writable for \
        this user", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// The control store of a data directory.
pub struct EmbeddedControl {
    inner: Arc<Inner>,
    /// Held by the one change that is being written.
    turn: Arc<Mutex<()>>,
}

struct Inner {
    dir: Arc<DataDir>,
    settings: ControlSettings,
    /// What is durable; replaced whole, so readers never wait for the disk.
    entries: RwLock<Arc<Entries>>,
}

impl EmbeddedControl {
    /// Opens the control store of a directory, and makes it at the first start.
    ///
    /// # Errors
    /// When its file is damaged, of another format or cannot be used; nothing was changed then.
    pub fn open(
        dir: Arc<DataDir>,
        settings: ControlSettings,
    ) -> Result<EmbeddedControl, ControlError> {
        let entries = recover(dir.files().as_ref(), dir.path())?;
        let entries = RwLock::new(Arc::new(entries));
        let inner = Arc::new(Inner { dir, settings, entries });
        Ok(EmbeddedControl { inner, turn: Arc::default() })
    }
}

/// What was acknowledged, by all that a power loss may have left; afterwards it is durable under
/// the first name and nothing has the second.
fn recover(files: &dyn Files, dir: &Path) -> Result<Entries, ControlError> {
    let (path, new_path) = (dir.join(FILE), dir.join(NEW_FILE));
    let at = |path: &Path| {
        let path = path.to_owned();
        |source| ControlError::Io { path, source }
    };
    let stored = read(files, &path).map_err(at(&path))?;
    let new = read(files, &new_path).map_err(at(&new_path))?;
    let Some(stored) = stored else { return recover_without(files, dir, new) };
    let entries = match document::decode(&stored) {
        Ok(entries) => entries,
        Err(unreadable) => return Err(refuse(path, unreadable, &remedy(&new_path, new))),
    };
    if new.is_some() {
        // Removed, not left to be emptied: both names may lead to the same file.
        files.remove(&new_path).map_err(at(&new_path))?;
    }
    // The last process may have died between its rename and the sync of the directory; what is
    // shown from now on must stay.
    files.sync_dir(dir).map_err(at(dir))?;
    Ok(entries)
}

/// The same when nothing has the first name: at the first start, or when somebody removed it.
fn recover_without(
    files: &dyn Files,
    dir: &Path,
    new: Option<Vec<u8>>,
) -> Result<Entries, ControlError> {
    let (path, new_path) = (dir.join(FILE), dir.join(NEW_FILE));
    let at = |path: &Path| {
        let path = path.to_owned();
        |source| ControlError::Io { path, source }
    };
    let first = document::encode(&Entries::new());
    let Some(new) = new else {
        replace(files, dir, &first).map_err(at(&path))?;
        return Ok(Entries::new());
    };
    match document::decode(&new) {
        Ok(entries) => {
            // It is whole, so it may be all there is: it is renamed, never written again.
            let sync = files.open(&new_path, Mode::Write).and_then(|file| file.sync_data());
            sync.and_then(|()| files.rename(&new_path, &path)).map_err(at(&new_path))?;
            files.sync_dir(dir).map_err(at(dir))?;
            Ok(entries)
        }
        // The very first start was cut: there was no entry yet.
        Err(Unreadable::Damaged(_)) if new.len() <= first.len() => {
            replace(files, dir, &first).map_err(at(&path))?;
            Ok(Entries::new())
        }
        Err(unreadable) => {
            let remedy = format!(
                "and {FILE} is gone; restore {FILE} from a backup, or remove {NEW_FILE} to start \
                 without users and keys"
            );
            Err(refuse(new_path, unreadable, &remedy))
        }
    }
}

fn refuse(path: PathBuf, unreadable: Unreadable, remedy: &str) -> ControlError {
    match unreadable {
        Unreadable::OtherVersion(found) => ControlError::OtherVersion { path, found },
        Unreadable::Damaged(reason) => {
            ControlError::Damaged { path, reason, remedy: remedy.to_owned() }
        }
    }
}

/// What to do about a damaged file, by what lies beside it.
fn remedy(new_path: &Path, new: Option<Vec<u8>>) -> String {
    if new.is_some_and(|new| document::decode(&new).is_ok()) {
        return format!(
            "{} is whole and at most one change newer: rename it to {FILE}",
            new_path.display()
        );
    }
    format!("restore {FILE} from a backup, or remove it to start without users and keys")
}

/// What a file holds, if it is there.
fn read(files: &dyn Files, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match files.open(path, Mode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// Puts a file with these bytes in the place of the store's, durably.
fn replace(files: &dyn Files, dir: &Path, bytes: &[u8]) -> io::Result<()> {
    let new_path = dir.join(NEW_FILE);
    let file = files.open(&new_path, Mode::Create)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    files.rename(&new_path, &dir.join(FILE))?;
    files.sync_dir(dir)
}

impl Inner {
    fn entries(&self) -> Arc<Entries> {
        Arc::clone(&self.entries.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes a change to the disk, then shows it. Called by one at a time.
    fn put(&self, key: String, value: Vec<u8>, expected: u64) -> Result<Put, PortError> {
        let before = self.entries();
        let stored = before.get(&key).map_or(0, |stored| stored.version);
        if stored != expected {
            return Ok(Put::Conflict(stored));
        }
        let attempted = || format!("store control value {key:?}");
        let path = self.dir.path().join(FILE);
        let mut entries = Entries::clone(&before);
        let version = stored + 1;
        entries.insert(key.clone(), Versioned { version, value });
        let bytes: usize = entries.iter().map(|(key, entry)| key.len() + entry.value.len()).sum();
        let bytes_max = self.settings.bytes_max;
        if bytes > bytes_max {
            let reason = format!("{} would hold {bytes} bytes of {bytes_max}", path.display());
            return Err(PortError::later(attempted(), reason));
        }
        let document = document::encode(&entries);
        replace(self.dir.files().as_ref(), self.dir.path(), &document).map_err(|error| {
            let reason = format!(
                "cannot write {}: {error}; its directory must be writable and have {} bytes free",
                path.display(),
                document.len()
            );
            PortError::later(attempted(), reason)
        })?;
        *self.entries.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(entries);
        Ok(Put::Stored(version))
    }
}

#[async_trait]
impl ControlStore for EmbeddedControl {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, PortError> {
        Ok(self.inner.entries().get(key).cloned())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Versioned)>, PortError> {
        let entries = self.inner.entries();
        let from = entries.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let under = from.take_while(|(key, _)| key.starts_with(prefix));
        Ok(under.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    async fn put(&self, key: &str, value: &[u8], expected: u64) -> Result<Put, PortError> {
        check_sizes(key, value)?;
        // The turn moves into the task: a caller that goes away does not let a second one write.
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let inner = Arc::clone(&self.inner);
        let (key, value) = (key.to_owned(), value.to_vec());
        let task = tokio::task::spawn_blocking(move || {
            let answer = inner.put(key, value, expected);
            drop(turn);
            answer
        });
        task.await.map_err(|error| PortError::later("store a control value", error))?
    }
}
