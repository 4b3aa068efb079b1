//! How much room the file system of the data directory has left: when it is full, nothing more is
//! acknowledged.

use std::path::{Path, PathBuf};

use agon_embedded::files::Room;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, Registry};

/// The gauges of one directory; the file system is asked at each scrape.
pub struct Disk {
    path: PathBuf,
    free: IntGauge,
    size: IntGauge,
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
        let Ok(room) = Room::of(&self.path) else { return Vec::new() };
        self.free.set(i64::try_from(room.free_bytes).unwrap_or(i64::MAX));
        self.size.set(i64::try_from(room.size_bytes).unwrap_or(i64::MAX));
        [&self.free, &self.size].into_iter().flat_map(Collector::collect).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_shows_nothing() {
        let registry = Registry::new();
        Disk::register(&registry, Path::new("no/such/directory")).unwrap();
        assert_eq!(registry.gather().len(), 0);
    }
}
