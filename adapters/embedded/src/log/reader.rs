//! A reader: goes over the segments in the order of appending and answers what it was asked for.
//!
//! Every frame on the way is checked, wanted or not: the checksums form a chain, so damage that
//! came after the opening is told and never skipped. Only what was acknowledged is looked at.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use agon_ports::{Assignment, LogReader, LogRecord, PortError, ReadLimits};
use agon_schema::Position;
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::frame::{self, HEAD_BYTES, Parsed};
use super::segment::{self, Place};
use super::window::Window;
use super::{Shared, slot, slots};
use crate::files::{DataFile, Mode};

/// What was attempted, for errors.
const READ: &str = "read the log";

pub(super) struct Reader {
    shared: Arc<Shared>,
    /// For each slot the first offset that is wanted; `None` when nothing of it is.
    from: Vec<Option<u64>>,
    end: watch::Receiver<Place>,
    /// What is looked at next, and the crc of the frame before.
    at: Place,
    crc: u32,
    /// Bytes that have to be in memory to look at it.
    needed: usize,
    source: Source,
}

/// What a read in the background takes along. A call that is cancelled loses it and nothing else.
struct Source {
    window: Window,
    /// An open segment and its number.
    file: Option<(u64, Arc<dyn DataFile>)>,
}

impl Source {
    fn new() -> Source {
        Source { window: Window::new(), file: None }
    }
}

/// How reading on went.
enum Fetched {
    /// There is more in memory.
    More,
    /// The segment ends here, and the log goes on in the next.
    SegmentEnd,
}

impl Reader {
    pub(super) fn new(shared: &Arc<Shared>, from: Assignment) -> Result<Reader, PortError> {
        let mut all = vec![None; slots(shared.partitions)];
        let mut wanted = Vec::with_capacity(from.len());
        for (source, offset) in from {
            let Some(slot) = slot(source, shared.partitions) else {
                return Err(PortError::never(READ, shared.no_partition(source)));
            };
            let end = shared.with(|acknowledged| acknowledged.ends[slot]);
            if offset > end {
                let reason = format!("{source} ends at offset {end}, so {offset} is beyond it");
                return Err(PortError::never(READ, reason));
            }
            all[slot] = Some(offset);
            wanted.push((slot, offset));
        }
        let start = shared.with(|acknowledged| acknowledged.index.find(&wanted).clone());
        Ok(Reader {
            from: all,
            end: shared.end.subscribe(),
            at: start.place,
            crc: start.crc,
            needed: HEAD_BYTES,
            source: Source::new(),
            shared: shared.clone(),
        })
    }

    /// Takes what is wanted out of memory.
    fn take(&mut self, limits: ReadLimits) -> Result<Vec<LogRecord>, PortError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        loop {
            let frame = match frame::parse(self.source.window.rest(self.at), self.crc) {
                Parsed::Frame(frame) => frame,
                Parsed::Short(needed) => {
                    self.needed = needed;
                    return Ok(records);
                }
                Parsed::Bad(_) if !records.is_empty() => return Ok(records),
                Parsed::Bad(what) => return Err(self.damaged(what)),
            };
            let from = slot(frame.target, self.shared.partitions).and_then(|slot| self.from[slot]);
            if from.is_some_and(|from| frame.offset >= from) {
                if records.len() >= limits.records_max.max(1) {
                    return Ok(records);
                }
                let Some(record) = frame.record() else {
                    return Err(self.damaged("a record that cannot be read"));
                };
                bytes += record.size_bytes();
                if bytes > limits.bytes_max && !records.is_empty() {
                    return Ok(records);
                }
                let position = Position { source: frame.target, offset: frame.offset };
                records.push(LogRecord { position, record });
            }
            self.crc = frame.crc;
            self.at.byte += frame.length as u64;
        }
    }

    /// Reads on, up to the acknowledged end, where that does not stop anybody else.
    async fn fetch(&mut self, end: Place) -> Result<(), PortError> {
        let mut source = std::mem::replace(&mut self.source, Source::new());
        let (shared, at) = (self.shared.clone(), self.at);
        let want = self.needed.max(shared.config.read_bytes);
        let read = spawn_blocking(move || {
            let fetched = source.fetch(&shared, at, end, want);
            (source, fetched)
        });
        let (source, fetched) =
            read.await.map_err(|error| PortError::later(READ, format!("it was ended: {error}")))?;
        self.source = source;
        match fetched {
            Ok(Fetched::More) => Ok(()),
            Ok(Fetched::SegmentEnd) => {
                self.at = Place::first(at.segment + 1);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damaged("the file ends here"))
            }
            Err(error) => {
                let path = segment::path(&self.shared.dir, at.segment);
                Err(PortError::later(READ, format!("cannot read {}: {error}", path.display())))
            }
        }
    }

    fn damaged(&self, what: &str) -> PortError {
        let path = segment::path(&self.shared.dir, self.at.segment);
        let reason = format!(
            "{} is damaged at byte {}: {what}; it was whole when agon started, so check the disk \
            and restore the log's directory from a backup",
            path.display(),
            self.at.byte
        );
        PortError::never(READ, reason)
    }
}

impl Source {
    fn fetch(
        &mut self,
        shared: &Shared,
        at: Place,
        end: Place,
        want: usize,
    ) -> io::Result<Fetched> {
        let file = match &self.file {
            Some((segment, file)) if *segment == at.segment => file.clone(),
            _ => {
                let file =
                    shared.files.open(&segment::path(&shared.dir, at.segment), Mode::Read)?;
                self.file = Some((at.segment, file.clone()));
                file
            }
        };
        let end_byte = if at.segment == end.segment { end.byte } else { file.len()? };
        if at.byte == end_byte {
            return Ok(Fetched::SegmentEnd);
        }
        let before = self.window.rest(at).len();
        self.window.fill(file.as_ref(), at, end_byte, want)?;
        if self.window.rest(at).len() == before {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Fetched::More)
    }
}

#[async_trait]
impl LogReader for Reader {
    async fn next(
        &mut self,
        limits: ReadLimits,
        wait: Duration,
    ) -> Result<Vec<LogRecord>, PortError> {
        let deadline = Instant::now().checked_add(wait);
        loop {
            let end = *self.end.borrow_and_update();
            let records = self.take(limits)?;
            if !records.is_empty() {
                return Ok(records);
            }
            if self.at < end {
                self.fetch(end).await?;
                continue;
            }
            let moved = match deadline {
                Some(deadline) => timeout_at(deadline, self.end.changed()).await.is_ok(),
                None => self.end.changed().await.is_ok(),
            };
            if !moved {
                return Ok(Vec::new());
            }
        }
    }
}
