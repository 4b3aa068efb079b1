//! Why a store cannot be opened, and what the database's errors mean for a caller.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};

use agon_ports::PortError;
use agon_schema::LogId;
use thiserror::Error;

/// Why a store cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// What is there is not what was written.
    #[error("the store in {} is damaged: {what}; it has to be folded anew from the log",
        dir.display())]
    Damaged {
        /// The store's directory.
        dir: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It was written by another version of this program.
    #[error("the store in {} is of {found}, this program writes {expected}; it has to be folded \
        anew from the log", dir.display())]
    OtherVersion {
        /// The store's directory.
        dir: PathBuf,
        /// The versions that it names.
        found: String,
        /// The versions that this program reads and writes.
        expected: String,
    },
    /// It was folded from another log.
    #[error("the store in {} was folded from log {found}, not from {expected}; it has to be \
        folded anew from the log", dir.display())]
    OtherLog {
        /// The store's directory.
        dir: PathBuf,
        /// The log that it names.
        found: LogId,
        /// The log that was asked for.
        expected: LogId,
    },
    /// Someone has it open.
    #[error("the store in {} is in use; stop the other agon process", dir.display())]
    InUse {
        /// The store's directory.
        dir: PathBuf,
    },
    /// The file system refuses.
    #[error("cannot open the store in {}: {source}", dir.display())]
    Io {
        /// The store's directory.
        dir: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

impl OpenError {
    /// Whether [`EmbeddedStore::wipe`](super::EmbeddedStore::wipe) and folding the log anew mend
    /// it. Nothing is lost by that but time: the log has everything.
    pub fn is_mended_by_folding_anew(&self) -> bool {
        match self {
            OpenError::Damaged { .. }
            | OpenError::OtherVersion { .. }
            | OpenError::OtherLog { .. } => true,
            OpenError::InUse { .. } | OpenError::Io { .. } => false,
        }
    }

    pub(super) fn damaged(dir: &Path, what: impl ToString) -> OpenError {
        OpenError::Damaged { dir: dir.to_owned(), what: what.to_string() }
    }

    pub(super) fn io(dir: &Path, source: io::Error) -> OpenError {
        match is_damage(&source) {
            true => OpenError::damaged(dir, source),
            false => OpenError::Io { dir: dir.to_owned(), source },
        }
    }

    pub(super) fn of_database(dir: &Path, expected: &str, error: fjall::Error) -> OpenError {
        match error {
            fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source)) => {
                OpenError::io(dir, source)
            }
            fjall::Error::Locked => OpenError::InUse { dir: dir.to_owned() },
            fjall::Error::InvalidVersion(Some(version)) => OpenError::OtherVersion {
                dir: dir.to_owned(),
                found: format!("a database format {version:?}"),
                expected: expected.to_owned(),
            },
            other => OpenError::damaged(dir, other),
        }
    }
}

/// Whether a file system's answer says that files are not as they were left: absent, too short,
/// in the way. Others (no permission, no space, a failing disk) say that they cannot be reached.
fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidData, InvalidInput, NotFound, UnexpectedEof};
    [AlreadyExists, InvalidData, InvalidInput, NotFound, UnexpectedEof].contains(&error.kind())
}

/// What to do about a store that has to be made anew.
const REMEDY: &str = "stop agon, remove the store's directory and start: it is folded anew";

/// A call that failed in the database.
pub(super) fn failed(attempted: impl Into<String>, error: fjall::Error) -> PortError {
    match error {
        fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source))
            if !is_damage(&source) =>
        {
            PortError::later(attempted, format!("the disk says: {source}"))
        }
        // Raised once by a failed write and never lowered; it is not said here what failed.
        fjall::Error::Poisoned => {
            let reason = "the store stopped after a failed write; look for a full or failing \
                 disk, the next flush opens it again";
            PortError::later(attempted, reason)
        }
        other => damaged(attempted, other),
    }
}

/// A call to a store that could not be opened again.
pub(super) fn closed(attempted: impl Into<String>) -> PortError {
    let reason = "the store stopped after a failed write and could not be opened again yet; its \
         flushes try it, and say why";
    PortError::later(attempted, reason)
}

/// A call that found what was not written so.
pub(super) fn damaged(attempted: impl Into<String>, what: impl ToString) -> PortError {
    PortError::never(attempted, format!("the store is damaged: {}; {REMEDY}", what.to_string()))
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the database gave up: {}", text.unwrap_or("it did not say why"))
}
