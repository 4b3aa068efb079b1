//! How much room a file system has.

use std::io;
use std::path::Path;

/// What the file system of a directory says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Left for this process, bytes.
    pub free_bytes: u64,
    /// In all, bytes.
    pub size_bytes: u64,
}

impl Room {
    /// Asks the file system of a directory.
    ///
    /// # Errors
    /// When there is no such directory, or its file system does not answer.
    pub fn of(dir: &Path) -> io::Result<Room> {
        let said = rustix::fs::statvfs(dir)?;
        Ok(Room {
            free_bytes: said.f_bavail.saturating_mul(said.f_frsize),
            size_bytes: said.f_blocks.saturating_mul(said.f_frsize),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::{Duration, Instant};

    use super::*;

    const MIB: usize = 1 << 20;

    /// Others write and remove files too, so one look proves nothing.
    #[test]
    fn a_file_takes_room() {
        let dir = tempfile::tempdir().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let before = Room::of(dir.path()).unwrap();
            assert!(before.free_bytes > 0 && before.free_bytes <= before.size_bytes);
            let mut file = tempfile::tempfile_in(dir.path()).unwrap();
            for _ in 0..64 {
                file.write_all(&vec![7; MIB]).unwrap();
            }
            file.sync_all().unwrap();
            let after = Room::of(dir.path()).unwrap();
            assert_eq!(after.size_bytes, before.size_bytes);
            if after.free_bytes + 32 * MIB as u64 <= before.free_bytes {
                return;
            }
            assert!(Instant::now() < deadline, "{before:?}, then {after:?}");
        }
    }
}
