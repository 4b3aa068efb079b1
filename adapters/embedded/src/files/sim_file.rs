//! An open file of the simulated disk.

use std::io::{self, ErrorKind};

use super::DataFile;
use super::sim::{Disk, SimFiles};

pub(super) struct SimFile {
    pub(super) files: SimFiles,
    pub(super) id: u64,
    pub(super) boot: u64,
    pub(super) writable: bool,
}

impl SimFile {
    fn with<T>(&self, act: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.files.disk();
        if disk.boot != self.boot {
            return Err(io::Error::other("opened before the power was lost"));
        }
        act(&mut disk)
    }

    fn change<T>(
        &self,
        act: impl FnOnce(&mut Disk, io::Result<()>) -> io::Result<T>,
    ) -> io::Result<T> {
        if !self.writable {
            return Err(ErrorKind::PermissionDenied.into());
        }
        self.with(|disk| {
            let power = disk.change();
            act(disk, power)
        })
    }
}

impl DataFile for SimFile {
    fn read_at(&self, bytes: &mut [u8], place: u64) -> io::Result<usize> {
        self.with(|disk| Ok(disk.nodes.entry(self.id).or_default().read_at(bytes, place as usize)))
    }

    fn write_at(&self, bytes: &[u8], place: u64) -> io::Result<()> {
        self.change(|disk, power| {
            let used = disk.used_bytes();
            let torn = disk.writes_until_torn == Some(0);
            disk.writes_until_torn = disk.writes_until_torn.and_then(|left| left.checked_sub(1));
            let node = disk.nodes.entry(self.id).or_default();
            let over = match disk.capacity_bytes {
                Some(capacity) => (used + node.growth(place as usize, bytes.len()) as u64)
                    .saturating_sub(capacity.max(used)) as usize,
                None => 0,
            };
            let mut fits = bytes.len().saturating_sub(over);
            if torn {
                fits = fits.min(bytes.len() * 3 / 4);
            }
            // The power may go in the midst of a write, so the disk may have some of it.
            node.write_at(&bytes[..fits], place as usize);
            if over > 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            if torn {
                return Err(io::Error::other("simulated failure of a write"));
            }
            power
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|disk| Ok(disk.nodes.entry(self.id).or_default().len() as u64))
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.change(|disk, power| {
            power?;
            disk.nodes.entry(self.id).or_default().truncate(length as usize);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|disk, power| {
            power?;
            let fail = disk.syncs_fail;
            let node = disk.nodes.entry(self.id).or_default();
            if fail {
                return Err(node.fail_sync());
            }
            node.sync();
            Ok(())
        })
    }
}
