//! The watermark: up to where the log was acknowledged. What lies at or below it must be whole;
//! what lies above was never promised to anybody.
//!
//! Two slots, 4096 bytes apart so that no torn write hurts both, are written in turn:
//! ```text
//! 0       8         12           16       32         40        48     56    60
//! | magic | version | partitions | log id | sequence | segment | byte | crc | crc of the slot
//! ```
//! `crc` is that of the last acknowledged frame, 0 when there is none.

use std::io;
use std::sync::Arc;

use agon_schema::LogId;
use uuid::Uuid;

use super::frame::{u32_at, u64_at};
use super::segment::{FORMAT_VERSION, Place};
use crate::files::DataFile;

/// The file's name in the log's directory.
pub(super) const FILE: &str = "watermark";
/// Its name until it is whole for the first time.
pub(super) const FILE_NEW: &str = "watermark.new";

const MAGIC: &[u8; 8] = b"agon.mrk";
const SLOT_BYTES: usize = 64;
const SLOT_STRIDE_BYTES: usize = 4096;

/// What a slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub id: LogId,
    pub partitions: u32,
    /// The first byte that was not acknowledged.
    pub end: Place,
    /// The crc of the frame before `end`.
    pub crc: u32,
}

/// The open file.
pub(super) struct Watermark {
    file: Arc<dyn DataFile>,
    /// Of the last whole slot; its lowest bit says which slot that is.
    sequence: u64,
    /// What that slot says.
    mark: Mark,
    /// What the other slot was made to say since.
    written: Option<Mark>,
}

/// What the file says.
pub(super) enum WatermarkRead {
    /// The later one of the whole slots, and whether the other one is whole too.
    Mark { mark: Mark, watermark: Watermark, both: bool },
    /// Written by other code.
    Version(u32),
    /// No slot is whole.
    Bad,
}

impl Mark {
    fn encode(&self, sequence: u64) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.partitions.to_le_bytes());
        bytes.extend_from_slice(self.id.0.as_bytes());
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes.extend_from_slice(&self.end.segment.to_le_bytes());
        bytes.extend_from_slice(&self.end.byte.to_le_bytes());
        bytes.extend_from_slice(&self.crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// A slot that is whole: its sequence, its version, and its mark if the version is ours.
fn decode(bytes: &[u8]) -> Option<(u64, u32, Mark)> {
    if bytes.len() < SLOT_BYTES || !bytes.starts_with(MAGIC) {
        return None;
    }
    if crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
        return None;
    }
    let mut id = [0; 16];
    id.copy_from_slice(&bytes[16..32]);
    let mark = Mark {
        id: LogId(Uuid::from_bytes(id)),
        partitions: u32_at(bytes, 12),
        end: Place { segment: u64_at(bytes, 40), byte: u64_at(bytes, 48) },
        crc: u32_at(bytes, 56),
    };
    Some((u64_at(bytes, 32), u32_at(bytes, 8), mark))
}

impl Watermark {
    /// Writes and syncs the first two slots of a new file.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn create(file: &dyn DataFile, mark: &Mark) -> io::Result<()> {
        let mut bytes = vec![0; 2 * SLOT_STRIDE_BYTES];
        for sequence in [0, 1] {
            let start = sequence * SLOT_STRIDE_BYTES;
            bytes[start..start + SLOT_BYTES].copy_from_slice(&mark.encode(sequence as u64));
        }
        file.write_at(&bytes, 0)?;
        file.sync_data()
    }

    /// Reads both slots.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn read(file: Arc<dyn DataFile>) -> io::Result<WatermarkRead> {
        let mut whole = Vec::new();
        for slot in [0, 1] {
            let mut bytes = [0; SLOT_BYTES];
            let read = file.read_at(&mut bytes, (slot * SLOT_STRIDE_BYTES) as u64)?;
            whole.extend(decode(&bytes[..read]));
        }
        let both = whole.len() == 2;
        Ok(match whole.into_iter().max_by_key(|(sequence, ..)| *sequence) {
            None => WatermarkRead::Bad,
            Some((_, version, _)) if version != FORMAT_VERSION => WatermarkRead::Version(version),
            Some((sequence, _, mark)) => {
                let watermark = Watermark { file, sequence, mark, written: None };
                WatermarkRead::Mark { mark, watermark, both }
            }
        })
    }

    /// Writes the slot whose turn it is. Until [`Self::sync`] it may be neither old nor new.
    ///
    /// # Errors
    /// When the disk refuses; the same slot is written next time.
    pub(super) fn write(&mut self, mark: &Mark) -> io::Result<()> {
        self.write_slot(self.sequence + 1, mark)?;
        self.written = Some(*mark);
        Ok(())
    }

    /// Writes and syncs the slot that counts with what it says, in case it never got to the disk.
    /// The other slot stays as it is until that is done.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn write_again(&mut self) -> io::Result<()> {
        self.write_slot(self.sequence, &self.mark)?;
        self.file.sync_data()
    }

    fn write_slot(&self, sequence: u64, mark: &Mark) -> io::Result<()> {
        let place = (sequence % 2) * SLOT_STRIDE_BYTES as u64;
        self.file.write_at(&mark.encode(sequence), place)
    }

    /// Makes the slot that was written, if any, count.
    ///
    /// # Errors
    /// When the disk refuses; what it holds is then unknown.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        if let Some(mark) = self.written.take() {
            self.mark = mark;
            self.sequence += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::files::{Files, Mode, SimFiles};

    fn mark(byte: u64) -> Mark {
        Mark { id: LogId(Uuid::nil()), partitions: 4, end: Place { segment: 2, byte }, crc: 5 }
    }

    fn end(file: &Arc<dyn DataFile>) -> Option<(u64, bool)> {
        match Watermark::read(file.clone()).unwrap() {
            WatermarkRead::Mark { mark, both, .. } => Some((mark.end.byte, both)),
            WatermarkRead::Version(_) | WatermarkRead::Bad => None,
        }
    }

    #[test]
    fn the_later_slot_counts_and_a_torn_one_falls_back() {
        let files = SimFiles::new(1);
        let file = files.open(Path::new("w"), Mode::Create);
        assert!(file.is_err(), "no directory yet");
        files.create_dir(Path::new("d")).unwrap();
        let file = files.open(Path::new("d/w"), Mode::Create).unwrap();
        assert_eq!(end(&file), None);
        Watermark::create(file.as_ref(), &mark(10)).unwrap();
        assert_eq!(end(&file), Some((10, true)));
        for byte in 11..20 {
            let WatermarkRead::Mark { mut watermark, .. } = Watermark::read(file.clone()).unwrap()
            else {
                panic!("no mark")
            };
            watermark.write(&mark(byte)).unwrap();
            watermark.sync().unwrap();
            assert_eq!(end(&file), Some((byte, true)));
        }
        // Sequence 10 is in the first slot, so damage there brings back 9.
        for place in 0..SLOT_BYTES {
            let fork = files.fork(1);
            let byte = fork.contents(Path::new("d/w")).unwrap()[place];
            fork.set_byte(Path::new("d/w"), place, !byte);
            let file = fork.open(Path::new("d/w"), Mode::Read).unwrap();
            assert_eq!(end(&file), Some((18, false)), "byte {place}");
        }
    }
}
