//! One simulated file: what a reader sees, what a power loss keeps, and what lies between.

use std::io;

use super::chance::Chance;
use super::sim::Crash;

/// Disks write whole sectors, in any order.
const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// What a reader sees.
    now: Vec<u8>,
    /// What a power loss keeps for certain.
    kept: Vec<u8>,
    /// What was done since the last sync, in order.
    since: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { place: usize, bytes: Vec<u8> },
    Truncate(usize),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Change::Write { place, bytes } => write(to, *place, bytes),
            Change::Truncate(length) => to.resize(*length, 0),
        }
    }

    /// The part of a change that a power loss let through.
    fn apply_part(&self, to: &mut Vec<u8>, chance: &mut Chance) {
        if let Change::Write { place, bytes } = self {
            write(to, *place, &bytes[..chance.below(bytes.len() + 1)]);
        }
    }

    fn apply_scattered(&self, to: &mut Vec<u8>, chance: &mut Chance) {
        match self {
            Change::Write { place, bytes } => {
                for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                    if chance.below(2) == 0 {
                        write(to, place + index * SECTOR_BYTES, sector);
                    }
                }
            }
            Change::Truncate(length) if chance.below(2) == 0 => to.resize(*length, 0),
            Change::Truncate(_) => {}
        }
    }
}

fn write(to: &mut Vec<u8>, place: usize, bytes: &[u8]) {
    let end = place + bytes.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    to[place..end].copy_from_slice(bytes);
}

impl Node {
    /// A file that is on the disk as it stands.
    pub(super) fn durable(bytes: Vec<u8>) -> Node {
        Node { kept: bytes.clone(), now: bytes, since: Vec::new() }
    }

    pub(super) fn now(&self) -> &[u8] {
        &self.now
    }

    pub(super) fn len(&self) -> usize {
        self.now.len()
    }

    /// Bytes that a write adds to the length.
    pub(super) fn growth(&self, place: usize, length: usize) -> usize {
        (place + length).saturating_sub(self.now.len())
    }

    pub(super) fn read_at(&self, bytes: &mut [u8], place: usize) -> usize {
        let there = self.now.get(place..).unwrap_or_default();
        let read = there.len().min(bytes.len());
        bytes[..read].copy_from_slice(&there[..read]);
        read
    }

    pub(super) fn write_at(&mut self, bytes: &[u8], place: usize) {
        self.change(Change::Write { place, bytes: bytes.to_vec() });
    }

    pub(super) fn truncate(&mut self, length: usize) {
        self.change(Change::Truncate(length));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.since.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.since.drain(..) {
            change.apply(&mut self.kept);
        }
    }

    /// A failed sync: the pages count as clean from now on, and a later sync forgets them.
    pub(super) fn fail_sync(&mut self) -> io::Error {
        self.since.clear();
        io::Error::other("simulated failure of a sync")
    }

    /// What the next boot finds.
    pub(super) fn crash(&mut self, crash: Crash, chance: &mut Chance) {
        let changes = std::mem::take(&mut self.since);
        match crash {
            Crash::KillProcess | Crash::LoseUnsynced => {}
            Crash::KeepPrefix => {
                let whole = chance.below(changes.len() + 1);
                for change in &changes[..whole] {
                    change.apply(&mut self.kept);
                }
                if let Some(torn) = changes.get(whole) {
                    torn.apply_part(&mut self.kept, chance);
                }
            }
            Crash::KeepSectors => {
                for change in &changes {
                    change.apply_scattered(&mut self.kept, chance);
                }
            }
        }
        self.now.clone_from(&self.kept);
    }

    /// Damages one byte for good.
    pub(super) fn set(&mut self, place: usize, byte: u8) {
        for bytes in [&mut self.now, &mut self.kept] {
            if let Some(there) = bytes.get_mut(place) {
                *there = byte;
            }
        }
    }
}
