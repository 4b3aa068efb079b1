//! The check of every segment at opening. It reads and judges, and changes nothing.

use std::path::Path;
use std::sync::Arc;

use super::error::OpenError;
use super::frame::{self, FRAME_BYTES_MAX, Parsed};
use super::index::Index;
use super::recover::{no_records, whole_header, wrong_version};
use super::segment::{self, HEADER_BYTES, Header, HeaderRead, Place};
use super::watermark::Mark;
use super::window::Window;
use super::{OpenOptions, PARTITIONS_MAX, slot};
use crate::files::{DataFile, Files, Mode};

/// What the segments hold.
pub(super) struct Scanned {
    /// Up to where frames are whole.
    pub mark: Mark,
    /// Up to where they were acknowledged.
    pub acknowledged: Place,
    pub ends: Vec<u64>,
    pub index: Index,
    /// The last segment with frames.
    pub file: Arc<dyn DataFile>,
    /// Where the last segment is to be cut.
    pub cut_from: Option<u64>,
    /// A segment above the watermark that has no frame or no header and is to be removed.
    pub leftover: Option<u64>,
}

pub(super) struct Scan<'a> {
    files: &'a dyn Files,
    dir: &'a Path,
    options: &'a OpenOptions,
    /// What was acknowledged.
    mark: Mark,
    ends: Vec<u64>,
    index: Index,
    window: Window,
    at: Place,
    crc: u32,
    /// Whether the acknowledged end was passed, with the crc it must have.
    mark_seen: bool,
    bytes_done: u64,
    bytes_total: u64,
}

impl<'a> Scan<'a> {
    pub(super) fn new(
        files: &'a dyn Files,
        dir: &'a Path,
        mark: Mark,
        options: &'a OpenOptions,
    ) -> Scan<'a> {
        let ends = no_records(mark.partitions.min(PARTITIONS_MAX));
        Scan {
            files,
            dir,
            options,
            mark,
            index: Index::new(ends.len(), options.config.index_bytes),
            ends,
            window: Window::new(),
            at: Place::first(1),
            crc: 0,
            mark_seen: false,
            bytes_done: 0,
            bytes_total: 0,
        }
    }

    /// Checks all segments, given by their numbers in order.
    pub(super) fn run(mut self, segments: &[u64]) -> Result<Scanned, OpenError> {
        let leftover = self.check_numbers(segments)?;
        let last = segments.len() as u64 - u64::from(leftover.is_some());
        for number in 1..=segments.len() as u64 {
            self.bytes_total += self.length(number)?;
        }
        let mut file = self.open(1)?;
        let mut cut_from = None;
        for number in 1..=last {
            file = self.open(number)?;
            let length = self.length(number)?;
            self.check_header(file.as_ref(), number)?;
            if let Some(what) = self.frames(file.as_ref(), length)? {
                if number < last || self.at < self.mark.end {
                    return Err(self.damaged(self.at, what));
                }
                cut_from = Some(self.at.byte);
            }
        }
        if !self.mark_seen {
            let what = format!(
                "records were acknowledged up to byte {} of {}, and no record ends there",
                self.mark.end.byte,
                segment::path(self.dir, self.mark.end.segment).display()
            );
            return Err(self.damaged(self.at, &what));
        }
        let acknowledged = self.mark.end;
        let mark = Mark { end: self.at, crc: self.crc, ..self.mark };
        let Scan { ends, index, .. } = self;
        Ok(Scanned { mark, acknowledged, ends, index, file, cut_from, leftover })
    }

    /// Every segment up to the watermark is there and at most one above it; answers that one when
    /// it has no frame or no header.
    fn check_numbers(&self, segments: &[u64]) -> Result<Option<u64>, OpenError> {
        let promised = self.mark.end.segment;
        let name = |number| segment::path(self.dir, number).display().to_string();
        let count = segments.len() as u64;
        let missing = (1..=promised.min(count + 1))
            .find(|number| segments.get(*number as usize - 1) != Some(number));
        if let Some(number) = missing {
            return Err(self.refused(format!(
                "{} is missing, and records in it were acknowledged (the last are in {}); restore \
                it from a backup",
                name(number),
                name(promised)
            )));
        }
        let Some(&above) = segments.get(promised as usize) else {
            return Ok(None);
        };
        if above != promised + 1 || count > promised + 1 {
            return Err(self.refused(format!(
                "{} is there, but the log's last segment is {} and at most {} may follow; restore \
                the watermark that belongs to it from a backup, or move the file away",
                name(segments[segments.len() - 1]),
                name(promised),
                name(promised + 1)
            )));
        }
        let path = segment::path(self.dir, above);
        let file = self.open(above)?;
        let whole = whole_header(file.as_ref()).map_err(OpenError::io("read", &path))?;
        let long = self.length(above)? > HEADER_BYTES;
        Ok(if whole && long { None } else { Some(above) })
    }

    fn check_header(&mut self, file: &dyn DataFile, number: u64) -> Result<(), OpenError> {
        let path = segment::path(self.dir, number);
        let end_before = if number == 1 { 0 } else { self.at.byte };
        let place = Place { segment: number, byte: 0 };
        let header = match Header::read(file).map_err(OpenError::io("read", &path))? {
            HeaderRead::Header(header) => header,
            HeaderRead::Version(version) => {
                return Err(self.refused(wrong_version(&path.display().to_string(), version)));
            }
            HeaderRead::Bad => return Err(self.damaged(place, "its header is not whole")),
        };
        if header.id != self.mark.id {
            return Err(self.refused(format!(
                "{} belongs to the log {}, and the watermark to the log {}; bring the files of \
                one log together again",
                path.display(),
                header.id,
                self.mark.id
            )));
        }
        if header.number != number {
            return Err(self.refused(format!(
                "{} holds segment {}; give the files their old names",
                path.display(),
                header.number
            )));
        }
        if header.partitions != self.mark.partitions || header.partitions > PARTITIONS_MAX {
            return Err(self.refused(format!(
                "{} has {} partitions a topic, and the watermark has {}; restore both from a \
                 backup",
                path.display(),
                header.partitions,
                self.mark.partitions
            )));
        }
        if header.bytes_before != end_before || header.crc_before != self.crc {
            let what = format!(
                "the file ends here, and the next segment follows another record, at byte {}",
                header.bytes_before
            );
            return Err(self.damaged(Place { segment: number - 1, byte: end_before }, &what));
        }
        self.at = Place::first(number);
        Ok(())
    }

    /// Goes over the frames of a segment; answers why it stopped before the end of the file.
    fn frames(
        &mut self,
        file: &dyn DataFile,
        length: u64,
    ) -> Result<Option<&'static str>, OpenError> {
        let mut want = self.options.config.read_bytes;
        loop {
            if self.at == self.mark.end {
                if self.crc != self.mark.crc {
                    let what = "the last acknowledged record is another one than was promised";
                    return Err(self.damaged(self.at, what));
                }
                self.mark_seen = true;
            }
            let rest = self.window.rest(self.at);
            let frame = match frame::parse(rest, self.crc) {
                Parsed::Frame(frame) => frame,
                Parsed::Bad(what) => return Ok(Some(what)),
                Parsed::Short(_) if self.at.byte == length => return Ok(None),
                Parsed::Short(needed) if rest.len() as u64 == length - self.at.byte => {
                    debug_assert!(needed <= FRAME_BYTES_MAX, "checked before it is asked for");
                    return Ok(Some("a record without its end"));
                }
                Parsed::Short(needed) => {
                    want = want.max(needed);
                    self.fill(file, length, want)?;
                    continue;
                }
            };
            let Some(end) =
                slot(frame.target, self.mark.partitions).and_then(|slot| self.ends.get_mut(slot))
            else {
                return Ok(Some("a record of a partition that does not exist"));
            };
            if frame.offset != *end {
                return Ok(Some("a record out of order"));
            }
            *end += 1;
            self.crc = frame.crc;
            self.at.byte += frame.length as u64;
            self.index.pass(frame.length as u64, self.at, self.crc, &self.ends);
        }
    }

    fn fill(&mut self, file: &dyn DataFile, length: u64, want: usize) -> Result<(), OpenError> {
        let before = self.window.rest(self.at).len();
        let path = || segment::path(self.dir, self.at.segment);
        self.window
            .fill(file, self.at, length, want)
            .map_err(|error| OpenError::io("read", &path())(error))?;
        let read = self.window.rest(self.at).len() - before;
        if read == 0 {
            let error = std::io::ErrorKind::UnexpectedEof.into();
            return Err(OpenError::io("read", &path())(error));
        }
        self.bytes_done += read as u64;
        if let Some(progress) = &self.options.progress {
            progress(self.bytes_done, self.bytes_total);
        }
        Ok(())
    }

    fn open(&self, number: u64) -> Result<Arc<dyn DataFile>, OpenError> {
        let path = segment::path(self.dir, number);
        self.files.open(&path, Mode::Write).map_err(OpenError::io("open", &path))
    }

    fn length(&self, number: u64) -> Result<u64, OpenError> {
        let path = segment::path(self.dir, number);
        self.open(number)?.len().map_err(OpenError::io("read", &path))
    }

    fn refused(&self, reason: String) -> OpenError {
        OpenError::Refused { dir: self.dir.to_owned(), reason }
    }

    fn damaged(&self, place: Place, what: &str) -> OpenError {
        OpenError::Damaged {
            file: segment::path(self.dir, place.segment),
            byte: place.byte,
            what: what.to_owned(),
        }
    }
}
