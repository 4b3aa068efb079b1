//! The data directory and its lock: one process at a time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::{Files, LockGuard, Locked};

/// The file whose lock means that the directory is in use.
const LOCK_FILE: &str = "lock";

/// A data directory that this process holds. Whatever opens a log or a store in it keeps this
/// alive for as long.
pub struct DataDir {
    files: Arc<dyn Files>,
    path: PathBuf,
    _lock: LockGuard,
}

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// Another process works in it.
    #[error("{} is in use by another agon process{}; stop it or use --server URL", path.display(),
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who holds it, when that can be read.
        pid: Option<u32>,
    },
    /// The file system refuses.
    #[error("cannot use {} as data directory: {source}; name a directory that can be written \
        with --data", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

impl DataDir {
    /// Locks a directory, which is made when absent.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] while another process, or another opener in this one, holds it.
    pub fn open(files: Arc<dyn Files>, path: impl Into<PathBuf>) -> Result<DataDir, DataDirError> {
        let path = path.into();
        let locked = files
            .create_dir(&path)
            .and_then(|()| files.lock(&path.join(LOCK_FILE), &std::process::id().to_string()));
        match locked {
            Ok(Locked::Held(lock)) => Ok(DataDir { files, path, _lock: lock }),
            Ok(Locked::Busy(owner)) => {
                Err(DataDirError::InUse { path, pid: owner.trim().parse().ok() })
            }
            Err(source) => Err(DataDirError::Io { path, source }),
        }
    }

    /// The file system it lies in.
    pub fn files(&self) -> &Arc<dyn Files> {
        &self.files
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its log lies.
    pub fn log_dir(&self) -> PathBuf {
        self.path.join("log")
    }
}
