//! Why a log cannot be opened.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a log cannot be opened. Whatever the reason, nothing in it was changed.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file system refuses.
    #[error("cannot {attempted} {}: {source}", file.display())]
    Io {
        /// What was attempted: `read`.
        attempted: &'static str,
        /// With which file or directory.
        file: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Something that was acknowledged is not there as it was written.
    #[error("{} is damaged at byte {byte}: {what}; restore the log's directory from a backup, or \
        move it away to begin a new log without its events", file.display())]
    Damaged {
        /// The damaged file.
        file: PathBuf,
        /// Where in it.
        byte: u64,
        /// What is wrong there.
        what: String,
    },
    /// The log is not the one that was asked for.
    #[error("the log in {} cannot be opened: {reason}", dir.display())]
    Refused {
        /// The log's directory.
        dir: PathBuf,
        /// What was expected, what was found, and the remedy.
        reason: String,
    },
}

impl OpenError {
    /// For `map_err`: the file system refused to do this with that file.
    pub(super) fn io(attempted: &'static str, file: &Path) -> impl FnOnce(io::Error) -> OpenError {
        move |source| OpenError::Io { attempted, file: file.to_owned(), source }
    }
}
