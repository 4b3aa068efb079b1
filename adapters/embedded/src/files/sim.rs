//! A disk in memory that knows what was synced: for tests of everything that must survive.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::chance::Chance;
use super::sim_file::SimFile;
use super::sim_node::Node;
use super::{DataFile, Files, LockGuard, Locked, Mode};

/// A simulated disk; clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimFiles(Arc<Mutex<Disk>>);

/// What the next boot finds of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Everything, but still not synced: the process was killed and the machine runs on.
    KillProcess,
    /// Nothing.
    LoseUnsynced,
    /// Of each file the first few writes, the last of them torn at any byte.
    KeepPrefix,
    /// Of each file any sectors, with zeros where none was written yet.
    KeepSectors,
}

#[derive(Debug)]
pub(super) struct Disk {
    pub(super) nodes: BTreeMap<u64, Node>,
    /// Files and directories (which have no node) as seen now.
    names: BTreeMap<PathBuf, Option<u64>>,
    /// The same as a power loss keeps them.
    names_kept: BTreeMap<PathBuf, Option<u64>>,
    /// Changes of names that are not synced: the new node, or `None` for a removal.
    names_since: Vec<(PathBuf, Option<Option<u64>>)>,
    locks: BTreeMap<PathBuf, (u64, String)>,
    next_id: u64,
    /// Boots so far; handles of an earlier one are dead.
    pub(super) boot: u64,
    pub(super) capacity_bytes: Option<u64>,
    pub(super) syncs_fail: bool,
    pub(super) writes_until_torn: Option<u64>,
    changes_left: Option<u64>,
    changes: u64,
    chance: Chance,
}

impl SimFiles {
    /// An empty disk whose crashes are drawn from a seed.
    pub fn new(seed: u64) -> SimFiles {
        SimFiles(Arc::new(Mutex::new(Disk {
            nodes: BTreeMap::new(),
            names: BTreeMap::new(),
            names_kept: BTreeMap::new(),
            names_since: Vec::new(),
            locks: BTreeMap::new(),
            next_id: 1,
            boot: 1,
            capacity_bytes: None,
            syncs_fail: false,
            writes_until_torn: None,
            changes_left: None,
            changes: 0,
            chance: Chance::new(seed),
        })))
    }

    pub(super) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A second disk that durably holds what this one shows now, with no fault and no lock.
    pub fn fork(&self, seed: u64) -> SimFiles {
        let fork = SimFiles::new(seed);
        let disk = self.disk();
        let mut new = fork.disk();
        for (id, node) in &disk.nodes {
            new.nodes.insert(*id, Node::durable(node.now().to_vec()));
        }
        new.names.clone_from(&disk.names);
        new.names_kept.clone_from(&disk.names);
        new.next_id = disk.next_id;
        drop(new);
        fork
    }

    /// Power is lost and comes back, or the process is killed: handles and locks are gone, the
    /// injected faults of writes, syncs and power too.
    pub fn crash(&self, crash: Crash) {
        let mut disk = self.disk();
        let disk = &mut *disk;
        disk.boot += 1;
        disk.locks.clear();
        disk.syncs_fail = false;
        disk.writes_until_torn = None;
        disk.changes_left = None;
        if crash == Crash::KillProcess {
            return;
        }
        for node in disk.nodes.values_mut() {
            node.crash(crash, &mut disk.chance);
        }
        let since = std::mem::take(&mut disk.names_since);
        let kept = match crash {
            Crash::KillProcess | Crash::LoseUnsynced => 0,
            Crash::KeepPrefix | Crash::KeepSectors => disk.chance.below(since.len() + 1),
        };
        for (path, node) in since.into_iter().take(kept) {
            disk.keep_name(path, node);
        }
        disk.names.clone_from(&disk.names_kept);
    }

    /// After so many more changes (writes, syncs, names) everything fails until [`Self::crash`].
    pub fn cut_power_after(&self, changes: u64) {
        self.disk().changes_left = Some(changes);
    }

    /// After so many more writes one fails half-done; the next ones go well again.
    pub fn tear_write_after(&self, writes: u64) {
        self.disk().writes_until_torn = Some(writes);
    }

    /// Whether the power is still there.
    pub fn has_power(&self) -> bool {
        self.disk().changes_left != Some(0)
    }

    /// Changes so far: what [`Self::cut_power_after`] counts.
    pub fn changes(&self) -> u64 {
        self.disk().changes
    }

    /// Bytes that fit on the disk; `None` for no limit.
    pub fn set_capacity_bytes(&self, capacity_bytes: Option<u64>) {
        self.disk().capacity_bytes = capacity_bytes;
    }

    /// Bytes on the disk.
    pub fn used_bytes(&self) -> u64 {
        self.disk().used_bytes()
    }

    /// Whether syncs of files fail from now on.
    pub fn set_syncs_fail(&self, fail: bool) {
        self.disk().syncs_fail = fail;
    }

    /// Every file, in order.
    pub fn paths(&self) -> Vec<PathBuf> {
        let disk = self.disk();
        disk.names.iter().filter(|(_, node)| node.is_some()).map(|(path, _)| path.clone()).collect()
    }

    /// What a file holds, if there is one.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.disk();
        let id = disk.names.get(path).copied().flatten()?;
        disk.nodes.get(&id).map(|node| node.now().to_vec())
    }

    /// Replaces what a file holds, or makes it, durably and beside all rules.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut disk = self.disk();
        let id = disk.new_node(Node::durable(bytes));
        disk.names.insert(path.to_owned(), Some(id));
        disk.names_kept.insert(path.to_owned(), Some(id));
    }

    /// Changes one byte of a file for good, as a bad disk does.
    pub fn set_byte(&self, path: &Path, place: usize, byte: u8) {
        let mut disk = self.disk();
        if let Some(id) = disk.names.get(path).copied().flatten()
            && let Some(node) = disk.nodes.get_mut(&id)
        {
            node.set(place, byte);
        }
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("{} is not there", path.display()))
}

impl Disk {
    fn new_node(&mut self, node: Node) -> u64 {
        self.next_id += 1;
        self.nodes.insert(self.next_id, node);
        self.next_id
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let named = self.names.values().filter_map(|id| self.nodes.get(&(*id)?));
        named.map(|node| node.len() as u64).sum()
    }

    fn keep_name(&mut self, path: PathBuf, node: Option<Option<u64>>) {
        match node {
            Some(node) => self.names_kept.insert(path, node),
            None => self.names_kept.remove(&path),
        };
    }

    fn set_name(&mut self, path: &Path, node: Option<Option<u64>>) {
        match node {
            Some(node) => self.names.insert(path.to_owned(), node),
            None => self.names.remove(path),
        };
        self.names_since.push((path.to_owned(), node));
    }

    /// Counts a change, unless the power is gone.
    pub(super) fn change(&mut self) -> io::Result<()> {
        self.changes += 1;
        match &mut self.changes_left {
            Some(0) => Err(io::Error::other("simulated loss of power")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn file(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().flatten().ok_or_else(|| not_found(path))
    }
}

impl Files for SimFiles {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk();
        if !disk.names.contains_key(dir) {
            return Err(not_found(dir));
        }
        let inside = disk.names.keys().filter(|path| path.parent() == Some(dir));
        let names = inside.filter_map(|path| path.file_name());
        Ok(names.map(|name| name.to_string_lossy().into_owned()).collect())
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn DataFile>> {
        let mut disk = self.disk();
        let id = match disk.file(path) {
            Ok(id) if mode == Mode::Create => {
                disk.change()?;
                disk.nodes.entry(id).or_default().truncate(0);
                id
            }
            Err(error) if mode == Mode::Create => {
                let parent = path.parent().unwrap_or(Path::new(""));
                if !disk.names.contains_key(parent) {
                    return Err(error);
                }
                disk.change()?;
                let id = disk.new_node(Node::default());
                disk.set_name(path, Some(Some(id)));
                id
            }
            found => found?,
        };
        let boot = disk.boot;
        Ok(Arc::new(SimFile { files: self.clone(), id, boot, writable: mode != Mode::Read }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let id = disk.file(from)?;
        disk.change()?;
        // In this order a power loss may leave both names, never none.
        disk.set_name(to, Some(Some(id)));
        disk.set_name(from, None);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.file(path)?;
        disk.change()?;
        disk.set_name(path, None);
        Ok(())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let mut missing: Vec<&Path> =
            dir.ancestors().take_while(|path| !disk.names.contains_key(*path)).collect();
        missing.reverse();
        for path in missing {
            disk.change()?;
            disk.names.insert(path.to_owned(), None);
            disk.names_kept.insert(path.to_owned(), None);
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.change()?;
        let since = std::mem::take(&mut disk.names_since);
        let (synced, since): (Vec<_>, Vec<_>) =
            since.into_iter().partition(|(path, _)| path.parent() == Some(dir));
        disk.names_since = since;
        for (path, node) in synced {
            disk.keep_name(path, node);
        }
        Ok(())
    }

    fn lock(&self, path: &Path, owner: &str) -> io::Result<Locked> {
        let mut disk = self.disk();
        if let Some((_, owner)) = disk.locks.get(path) {
            return Ok(Locked::Busy(owner.clone()));
        }
        disk.next_id += 1;
        let id = disk.next_id;
        disk.locks.insert(path.to_owned(), (id, owner.to_owned()));
        let guard = SimLock { files: self.clone(), path: path.to_owned(), id };
        Ok(Locked::Held(LockGuard(Box::new(guard))))
    }
}

struct SimLock {
    files: SimFiles,
    path: PathBuf,
    id: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut disk = self.files.disk();
        if disk.locks.get(&self.path).is_some_and(|(id, _)| *id == self.id) {
            disk.locks.remove(&self.path);
        }
    }
}
