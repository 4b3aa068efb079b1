//! How much room the file system of the data directory has left: when it is full, nothing more is
//! acknowledged.

use std::path::{Path, PathBuf};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, Registry};

/// The gauges of one directory; the file system is asked at each scrape.
pub struct Disk {
    path: PathBuf,
    free: IntGauge,
    size: IntGauge,
}

/// What a file system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    free_bytes: u64,
    size_bytes: u64,
}

impl Disk {
    /// Registers the gauges of a directory.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry, path: &Path) -> Result<(), prometheus::Error> {
        registry.register(Box::new(Disk {
            path: path.to_owned(),
            free: IntGauge::new(
                "agon_data_free_bytes",
                "Room left for this process on the file system of the data directory.",
            )?,
            size: IntGauge::new(
                "agon_data_size_bytes",
                "Size of the file system of the data directory.",
            )?,
        }))
    }
}

impl Collector for Disk {
    fn desc(&self) -> Vec<&Desc> {
        [&self.free, &self.size].into_iter().flat_map(Collector::desc).collect()
    }

    /// Nothing, where the directory cannot be asked: no figure is better than an old one.
    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(room) = room(&self.path) else { return Vec::new() };
        self.free.set(i64::try_from(room.free_bytes).unwrap_or(i64::MAX));
        self.size.set(i64::try_from(room.size_bytes).unwrap_or(i64::MAX));
        [&self.free, &self.size].into_iter().flat_map(Collector::collect).collect()
    }
}

fn room(path: &Path) -> std::io::Result<Room> {
    let said = rustix::fs::statvfs(path)?;
    Ok(Room {
        free_bytes: said.f_bavail.saturating_mul(said.f_frsize),
        size_bytes: said.f_blocks.saturating_mul(said.f_frsize),
    })
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
            let before = room(dir.path()).unwrap();
            assert!(before.free_bytes > 0 && before.free_bytes <= before.size_bytes);
            let mut file = tempfile::tempfile_in(dir.path()).unwrap();
            for _ in 0..64 {
                file.write_all(&vec![7; MIB]).unwrap();
            }
            file.sync_all().unwrap();
            let after = room(dir.path()).unwrap();
            assert_eq!(after.size_bytes, before.size_bytes);
            if after.free_bytes + 32 * MIB as u64 <= before.free_bytes {
                return;
            }
            assert!(Instant::now() < deadline, "{before:?}, then {after:?}");
        }
    }

    #[test]
    fn a_directory_that_is_not_there_shows_nothing() {
        let registry = Registry::new();
        Disk::register(&registry, Path::new("no/such/directory")).unwrap();
        assert_eq!(registry.gather().len(), 0);
    }
}
