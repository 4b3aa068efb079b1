//! Opening: every segment is checked, then what a crash left half-done is finished or cut.
//!
//! Nothing is changed before everything was checked, so a refusal leaves the files as they were.
//!
//! ```text
//! below the watermark: must be whole, else refused
//! above it:            whole frames are kept and become acknowledged, the first torn one is cut
//! ```
//! A torn tail and a damaged slot of the watermark never come from one crash, because a slot is
//! written only when the frames it speaks of are synced. Together they mean that the slot may
//! have promised what is torn, so that is refused as well.

use std::io;
use std::path::Path;
use std::sync::Arc;

use agon_schema::LogId;
use agon_schema::topic::PARTITIONS_DEFAULT;
use tracing::warn;
use uuid::Uuid;

use super::error::OpenError;
use super::index::Index;
use super::scan::{Scan, Scanned};
use super::segment::{self, HEADER_BYTES, Header, HeaderRead, Place};
use super::watermark::{self, Mark, Watermark, WatermarkRead};
use super::{OpenOptions, PARTITIONS_MAX, slots};
use crate::files::{DataFile, Files, Mode};

/// A log that was checked and is ready to be appended to.
pub(super) struct Recovered {
    pub mark: Mark,
    /// For each slot the offset of its next record.
    pub ends: Vec<u64>,
    pub index: Index,
    /// The last segment.
    pub file: Arc<dyn DataFile>,
    pub watermark: Watermark,
}

/// Opens the log in a directory, or makes one.
pub(super) fn open(
    files: &dyn Files,
    dir: &Path,
    options: &OpenOptions,
) -> Result<Recovered, OpenError> {
    let refused = |reason: String| Err(OpenError::Refused { dir: dir.to_owned(), reason });
    if let Some(asked) = options.partitions
        && !(1..=PARTITIONS_MAX).contains(&asked)
    {
        return refused(format!(
            "{asked} partitions were asked for; a topic has 1 to {PARTITIONS_MAX}"
        ));
    }
    files.create_dir(dir).map_err(OpenError::io("make", dir))?;
    let segments = list(files, dir)?;
    let watermark_file = dir.join(watermark::FILE);
    let (mark, mut watermark, both) = match read_watermark(files, &watermark_file)? {
        Some(WatermarkRead::Mark { mark, watermark, both }) => (mark, watermark, both),
        Some(WatermarkRead::Version(version)) => {
            return refused(wrong_version("its watermark", version));
        }
        Some(WatermarkRead::Bad) => {
            let what = "neither of its two slots is whole".to_owned();
            return Err(OpenError::Damaged { file: watermark_file, byte: 0, what });
        }
        None => {
            create(files, dir, &segments, options)?;
            return open(files, dir, options);
        }
    };
    check_asked(dir, &mark, options)?;
    let scanned = Scan::new(files, dir, mark, options).run(&segments)?;
    if !both && (scanned.cut_from.is_some() || scanned.leftover.is_some()) {
        let what = "one of its two slots is damaged, and the log's tail is too, so it cannot be \
            told whether that was acknowledged";
        return Err(OpenError::Damaged { file: watermark_file, byte: 0, what: what.to_owned() });
    }
    settle(files, dir, &scanned, &mut watermark, both)
        .map_err(OpenError::io("finish what a crash left in", dir))?;
    let Scanned { mark, ends, index, file, .. } = scanned;
    Ok(Recovered { mark, ends, index, file, watermark })
}

/// The numbers of the segments, in order.
fn list(files: &dyn Files, dir: &Path) -> Result<Vec<u64>, OpenError> {
    let mut numbers = Vec::new();
    for name in files.list(dir).map_err(OpenError::io("list", dir))? {
        match segment::number(&name) {
            None => {}
            Some(Some(number)) => numbers.push(number),
            Some(None) => {
                let reason = format!(
                    "{name} is named like no segment; give it its old name, or move it away if \
                    it is none"
                );
                return Err(OpenError::Refused { dir: dir.to_owned(), reason });
            }
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The watermark; `None` when there is none or it is empty.
fn read_watermark(files: &dyn Files, path: &Path) -> Result<Option<WatermarkRead>, OpenError> {
    let file = match files.open(path, Mode::Write) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io("open", path)(error)),
    };
    if file.is_empty().map_err(OpenError::io("read", path))? {
        return Ok(None);
    }
    Watermark::read(file).map(Some).map_err(OpenError::io("read", path))
}

pub(super) fn wrong_version(what: &str, version: u32) -> String {
    format!(
        "{what} has format version {version}, and this agon reads version {}; use the agon that \
        wrote it",
        segment::FORMAT_VERSION
    )
}

fn check_asked(dir: &Path, mark: &Mark, options: &OpenOptions) -> Result<(), OpenError> {
    match options.partitions {
        Some(asked) if asked != mark.partitions => Err(OpenError::Refused {
            dir: dir.to_owned(),
            reason: format!(
                "it was made with {} partitions a topic and {asked} were asked for; ask for {0}, \
                or begin a new log in another directory",
                mark.partitions
            ),
        }),
        _ => Ok(()),
    }
}

/// Makes a log in a directory that has none, or one that was never finished. The watermark comes
/// last: a directory without one has acknowledged nothing.
fn create(
    files: &dyn Files,
    dir: &Path,
    segments: &[u64],
    options: &OpenOptions,
) -> Result<(), OpenError> {
    let first = segment::path(dir, 1);
    for number in segments {
        let path = segment::path(dir, *number);
        let file = files.open(&path, Mode::Read).map_err(OpenError::io("open", &path))?;
        if *number > 1 || file.len().map_err(OpenError::io("read", &path))? > HEADER_BYTES {
            return Err(OpenError::Refused {
                dir: dir.to_owned(),
                reason: format!(
                    "{} holds records, but the file {} is missing or empty, so it cannot be told \
                    what was acknowledged; restore it from a backup",
                    path.display(),
                    watermark::FILE
                ),
            });
        }
    }
    let partitions = options.partitions.unwrap_or(PARTITIONS_DEFAULT);
    // Not the UUIDv7 itself: its first digits are a time, and position tokens show just those.
    let id = LogId(Uuid::new_v5(&Uuid::now_v7(), b"agon log"));
    let header = Header { id, partitions, number: 1, bytes_before: 0, crc_before: 0 };
    let write = || {
        let file = begin_segment(files, dir, &header)?;
        keep_segment(files, dir, file.as_ref())?;
        let file = files.open(&dir.join(watermark::FILE_NEW), Mode::Create)?;
        let mark = Mark { id, partitions, end: Place::first(1), crc: 0 };
        Watermark::create(file.as_ref(), &mark)?;
        files.rename(&dir.join(watermark::FILE_NEW), &dir.join(watermark::FILE))?;
        files.sync_dir(dir)
    };
    write().map_err(OpenError::io("make a log at", &first))
}

/// Makes a segment without frames; [`keep_segment`] makes it survive a power loss.
pub(super) fn begin_segment(
    files: &dyn Files,
    dir: &Path,
    header: &Header,
) -> io::Result<Arc<dyn DataFile>> {
    let file = files.open(&segment::path(dir, header.number), Mode::Create)?;
    file.write_at(&header.encode(), 0)?;
    Ok(file)
}

/// Syncs a new segment and its name.
pub(super) fn keep_segment(files: &dyn Files, dir: &Path, file: &dyn DataFile) -> io::Result<()> {
    file.sync_data()?;
    files.sync_dir(dir)
}

/// Whether a file holds a whole header. One of another version above the watermark was torn, for
/// only this code can have begun it.
pub(super) fn whole_header(file: &dyn DataFile) -> io::Result<bool> {
    Ok(matches!(Header::read(file)?, HeaderRead::Header(_)))
}

/// Makes what was checked durable and what was torn disappear, then moves the watermark there.
///
/// A killed process may have left anything unsynced, and one whose sync failed may have left what
/// the system shows and yet will never write. So whatever is relied on from now on is written
/// again, with the bytes it has, and synced.
fn settle(
    files: &dyn Files,
    dir: &Path,
    scanned: &Scanned,
    watermark: &mut Watermark,
    both: bool,
) -> io::Result<()> {
    if let Some(number) = scanned.leftover {
        let path = segment::path(dir, number);
        warn!(file = %path.display(), "removing a segment that was begun and never acknowledged");
        files.remove(&path)?;
    }
    let (acknowledged, end) = (scanned.acknowledged, scanned.mark.end);
    if let Some(byte) = scanned.cut_from {
        let path = segment::path(dir, end.segment);
        warn!(
            file = %path.display(), byte, bytes = scanned.file.len()?.saturating_sub(byte),
            "cutting a torn tail that was never acknowledged"
        );
        scanned.file.truncate(byte)?;
    }
    files.sync_dir(dir)?;
    let mut from = acknowledged.byte;
    if end.segment > acknowledged.segment {
        let before = files.open(&segment::path(dir, acknowledged.segment), Mode::Write)?;
        write_again(before.as_ref(), from, before.len()?)?;
        from = 0;
    }
    write_again(scanned.file.as_ref(), from, end.byte)?;
    watermark.write_again()?;
    if end != acknowledged || !both {
        warn!(
            ?acknowledged,
            ?end,
            both,
            "moving the watermark over whole records that a crash left above it"
        );
        watermark.write(&scanned.mark)?;
        watermark.sync()?;
    }
    Ok(())
}

/// Writes a part of a file with the bytes it has, and syncs the file.
fn write_again(file: &dyn DataFile, from: u64, to: u64) -> io::Result<()> {
    const PART_BYTES: usize = 1 << 20;
    let mut place = from;
    while place < to {
        let mut bytes = vec![0; PART_BYTES.min(usize::try_from(to - place).unwrap_or(PART_BYTES))];
        let read = file.read_at(&mut bytes, place)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_at(&bytes[..read], place)?;
        place += read as u64;
    }
    file.sync_data()
}

/// The ends of a log without records.
pub(super) fn no_records(partitions: u32) -> Vec<u64> {
    vec![0; slots(partitions)]
}
