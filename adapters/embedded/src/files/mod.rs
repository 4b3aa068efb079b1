//! The one door to the disk: everything the embedded log reads or writes goes through [`Files`],
//! so that tests can lose what was not synced, tear, flip and fill a disk that does not exist.

mod chance;
mod data_dir;
mod disk;
mod room;
mod sim;
mod sim_file;
mod sim_node;

use std::any::Any;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use data_dir::{DataDir, DataDirError};
pub use disk::DiskFiles;
pub use room::Room;
pub use sim::{Crash, SimFiles};

/// A file system, as far as a log needs one.
///
/// What a power loss keeps: of a file what was there at its last [`DataFile::sync_data`], of a
/// directory the names it had at its last [`Files::sync_dir`]. Everything later may be there,
/// may be gone, and may be there in part.
pub trait Files: Send + Sync + 'static {
    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// `NotFound` when there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound` when it is not there and the mode does not create it.
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn DataFile>>;

    /// Gives a file another name in the same directory, in place of any file of that name.
    ///
    /// # Errors
    /// `NotFound` when there is no such file.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound` when there is no such file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory and those above it, durably; fine when it is there.
    ///
    /// # Errors
    /// When the file system refuses.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in a directory survive a power loss.
    ///
    /// # Errors
    /// When the file system refuses; the names may then be lost.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Locks a file, made when absent, against every other process and every other call; `owner`
    /// is left in it for the one who finds it locked.
    ///
    /// # Errors
    /// When the file cannot be opened or written.
    fn lock(&self, path: &Path, owner: &str) -> io::Result<Locked>;
}

/// An open file. Places are bytes from its start; there is no cursor.
pub trait DataFile: Send + Sync {
    /// Reads into `bytes` from a place on; fewer bytes than asked only at the end of the file.
    ///
    /// # Errors
    /// When the disk refuses.
    fn read_at(&self, bytes: &mut [u8], place: u64) -> io::Result<usize>;

    /// Writes all bytes at a place. After an error some of them may be written.
    ///
    /// # Errors
    /// `StorageFull` when the disk is full.
    fn write_at(&self, bytes: &[u8], place: u64) -> io::Result<()>;

    /// The length, bytes.
    ///
    /// # Errors
    /// When the disk refuses.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file holds nothing.
    ///
    /// # Errors
    /// When the disk refuses.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file at a length, or fills it up with zeros.
    ///
    /// # Errors
    /// When the disk refuses.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Makes what was written, and the length, survive a power loss.
    ///
    /// # Errors
    /// When the disk refuses. What was written since the last success is then in an unknown
    /// state, and a later success says nothing about it.
    fn sync_data(&self) -> io::Result<()>;
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To read what is there.
    Read,
    /// To read and write what is there.
    Write,
    /// To read and write; made when absent, emptied when present.
    Create,
}

/// What became of a try to lock.
#[derive(Debug)]
pub enum Locked {
    /// Locked until the guard is dropped.
    Held(LockGuard),
    /// Somebody else holds the lock, and left this text; empty when it cannot be read.
    Busy(String),
}

/// Keeps a lock for as long as it lives.
pub struct LockGuard(#[expect(dead_code, reason = "held for its drop")] Box<dyn Any + Send + Sync>);

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockGuard")
    }
}
