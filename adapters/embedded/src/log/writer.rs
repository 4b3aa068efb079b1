//! The writer: a thread that takes what was appended and makes it durable, a group at a time.
//!
//! ```text
//! append ─> queue ─> group ─> write ─> sync ─> watermark ─> sync ─> readers ─> answers
//! ```
//! Nobody waits for a group to fill: while one is written the next one gathers.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use agon_ports::{Append, PortError};
use agon_schema::record::RECORD_BYTES_MAX;
use agon_schema::{Position, TopicPartition};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::error;

use super::frame::{self, HEADERS_MAX};
use super::recover::{begin_segment, keep_segment};
use super::segment::{HEADER_BYTES, Header, Place};
use super::watermark::{Mark, Watermark};
use super::{Shared, slot};
use crate::files::DataFile;

/// Records of one call on their way to the disk, encoded where the caller runs.
struct Job {
    /// The frames, one behind the other, without their places in the log.
    frames: Vec<u8>,
    /// For each record where it goes and where its frame ends.
    records: Vec<(TopicPartition, usize)>,
    /// Of the records that are in a group already.
    positions: Vec<Position>,
    answer: oneshot::Sender<Result<Vec<Position>, PortError>>,
    /// Room in the queue, given back with the answer.
    _room: OwnedSemaphorePermit,
}

impl Job {
    /// Where the frame of a record lies in `frames`.
    fn frame(&self, number: usize) -> Range<usize> {
        let start = match number.checked_sub(1) {
            Some(before) => self.records[before].1,
            None => 0,
        };
        start..self.records[number].1
    }

    fn answer(self, answer: Result<Vec<Position>, PortError>) {
        // A caller that went away does not want to know.
        self.answer.send(answer).ok();
    }
}

fn attempted(records: usize) -> String {
    format!("append {records} records to the log")
}

/// The way to the writer.
pub(super) struct Queue {
    jobs: Sender<Job>,
    room: Arc<Semaphore>,
    bytes_max: u32,
}

impl Queue {
    /// Appends, and waits until it is durable.
    pub(super) async fn append(
        &self,
        shared: &Shared,
        records: Vec<Append>,
    ) -> Result<Vec<Position>, PortError> {
        check(shared, &records)?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let count = records.len();
        let gone = || PortError::later(attempted(count), "its writer has stopped; restart agon");
        let bytes: usize = records.iter().map(|append| frame::bytes_at_most(&append.record)).sum();
        // A call larger than the queue has it to itself.
        let room_bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes_max);
        let room = self.room.clone().acquire_many_owned(room_bytes).await.map_err(|_| gone())?;
        let (answer, answered) = oneshot::channel();
        let positions = Vec::with_capacity(count);
        let (frames, places) = encode(&records, bytes);
        let job = Job { frames, records: places, positions, answer, _room: room };
        self.jobs.send(job).map_err(|_| gone())?;
        // A record is a dozen allocations: they are let go while the writer waits for the disk.
        drop(records);
        answered.await.map_err(|_| gone())?
    }
}

/// The frames of some records, and for each where it goes and where its frame ends.
fn encode(records: &[Append], bytes_at_most: usize) -> (Vec<u8>, Vec<(TopicPartition, usize)>) {
    let mut frames = Vec::with_capacity(bytes_at_most);
    let mut ends = Vec::with_capacity(records.len());
    for Append { target, record } in records {
        frame::encode(&mut frames, *target, record);
        ends.push((*target, frames.len()));
    }
    (frames, ends)
}

/// Refuses what no log takes, before anything of the call is written.
fn check(shared: &Shared, records: &[Append]) -> Result<(), PortError> {
    for Append { target, record } in records {
        let (bytes, headers) = (record.size_bytes(), record.headers.len());
        let reason = if slot(*target, shared.partitions).is_none() {
            shared.no_partition(*target)
        } else if bytes > RECORD_BYTES_MAX {
            format!("a record has {bytes} bytes; at most {RECORD_BYTES_MAX} are taken")
        } else if headers > HEADERS_MAX {
            format!("a record has {headers} headers; at most {HEADERS_MAX} are taken")
        } else {
            continue;
        };
        return Err(PortError::never(attempted(records.len()), reason));
    }
    Ok(())
}

/// What the writer may do next.
enum Health {
    /// Append.
    Good,
    /// Clean up after a write that failed, then append.
    Dirty {
        /// Whether the slot of the watermark that comes next may be half-written.
        watermark: bool,
    },
    /// Nothing: what is on the disk is unknown until the log is opened again.
    Unknown(String),
}

/// Why a group is not durable.
enum Failure {
    /// A write failed: nothing new counts, and the next try may go well.
    Write(String),
    /// A sync failed. The kernel may have dropped what was to be synced and will not say so
    /// again, so only what the disk shows at the next opening can be trusted.
    Sync(String),
}

struct Writer {
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
    waiting: VecDeque<Job>,
    /// The segment that is written.
    file: Arc<dyn DataFile>,
    /// Up to where the log is durable and acknowledged.
    mark: Mark,
    /// Where the next frame goes: the acknowledged end, or the start of the segment after it.
    place: Place,
    /// For each slot the offset of its next record.
    ends: Vec<u64>,
    watermark: Watermark,
    /// The frames of a group.
    frames: Vec<u8>,
    health: Health,
}

/// Starts the writer's thread; it ends when the queue is dropped and everything in it is written.
pub(super) fn start(
    shared: Arc<Shared>,
    mark: Mark,
    ends: Vec<u64>,
    file: Arc<dyn DataFile>,
    watermark: Watermark,
) -> io::Result<(Queue, JoinHandle<()>)> {
    let bytes_max = u32::try_from(shared.config.queue_bytes_max).unwrap_or(u32::MAX).max(1);
    let (sender, jobs) = mpsc::channel();
    let mut writer = Writer {
        shared,
        jobs,
        waiting: VecDeque::new(),
        file,
        mark,
        place: mark.end,
        ends,
        watermark,
        frames: Vec::new(),
        health: Health::Good,
    };
    let thread = thread::Builder::new().name("agon-log".to_owned()).spawn(move || writer.run())?;
    let room = Arc::new(Semaphore::new(bytes_max as usize));
    Ok((Queue { jobs: sender, room, bytes_max }, thread))
}

impl Writer {
    fn run(&mut self) {
        while let Ok(job) = self.jobs.recv() {
            self.waiting.push_back(job);
            while !self.waiting.is_empty() {
                // The queue's room bounds how many can be there.
                self.waiting.extend(self.jobs.try_iter());
                self.group();
            }
        }
    }

    /// Makes one group durable and answers those whose records are all in it, or fails all that
    /// have a record in it.
    fn group(&mut self) {
        let mut ends = self.ends.clone();
        let (crc, jobs) = self.gather(&mut ends);
        match self.clean_up().and_then(|()| self.write(crc)) {
            Ok(()) => {
                let bytes = self.frames.len() as u64;
                self.shared.with(|acknowledged| {
                    acknowledged.index.pass(bytes, self.mark.end, crc, &ends);
                    acknowledged.ends.clone_from(&ends);
                });
                self.ends = ends;
                self.shared.end.send_replace(self.mark.end);
                for mut job in self.waiting.drain(..jobs.whole) {
                    let positions = mem::take(&mut job.positions);
                    job.answer(Ok(positions));
                }
            }
            Err(failure) => {
                let reason = self.fail(failure);
                for job in self.waiting.drain(..jobs.begun) {
                    let attempted = attempted(job.records.len());
                    job.answer(Err(PortError::later(attempted, &reason)));
                }
            }
        }
    }

    /// Takes waiting records up to the limits of a group, at least one, and gives them their
    /// places; answers the crc of the last.
    fn gather(&mut self, ends: &mut [u64]) -> (u32, Jobs) {
        let config = self.shared.config;
        let mut crc = self.mark.crc;
        let mut jobs = Jobs { whole: 0, begun: 0 };
        let mut count = 0;
        self.frames.clear();
        for job in &mut self.waiting {
            for number in job.positions.len()..job.records.len() {
                let frame = job.frame(number);
                let start = self.frames.len();
                let full = start + frame.len() > config.group_bytes_max
                    || count >= config.group_records_max;
                if full && count > 0 {
                    return (crc, jobs);
                }
                let (source, _) = job.records[number];
                let Some(end) =
                    slot(source, self.shared.partitions).and_then(|slot| ends.get_mut(slot))
                else {
                    unreachable!("partitions are checked before a record is queued");
                };
                let offset = *end;
                *end += 1;
                count += 1;
                jobs.begun = jobs.whole + 1;
                self.frames.extend_from_slice(&job.frames[frame]);
                crc = frame::seal(&mut self.frames[start..], offset, crc);
                job.positions.push(Position { source, offset });
            }
            jobs.whole += 1;
        }
        (crc, jobs)
    }

    /// Makes the gathered frames durable and moves the watermark over them.
    fn write(&mut self, crc: u32) -> Result<(), Failure> {
        let bytes = self.frames.len() as u64;
        if self.place.byte > HEADER_BYTES
            && self.place.byte + bytes > self.shared.config.segment_bytes_max
        {
            self.roll()?;
        }
        self.health = Health::Dirty { watermark: false };
        self.file.write_at(&self.frames, self.place.byte).map_err(|error| self.unwritten(error))?;
        self.file.sync_data().map_err(|error| self.unsynced(error))?;
        let end = Place { byte: self.place.byte + bytes, ..self.place };
        self.promise(Mark { end, crc, ..self.mark })?;
        self.place = end;
        self.health = Health::Good;
        Ok(())
    }

    /// Begins the next segment. One that is left without frames is begun again next time, or
    /// removed at the next opening.
    fn roll(&mut self) -> Result<(), Failure> {
        let number = self.place.segment + 1;
        let header = Header {
            id: self.mark.id,
            partitions: self.mark.partitions,
            number,
            bytes_before: self.place.byte,
            crc_before: self.mark.crc,
        };
        let (files, dir) = (self.shared.files.as_ref(), self.shared.dir.as_path());
        let file = begin_segment(files, dir, &header).map_err(|error| self.unwritten(error))?;
        keep_segment(files, dir, file.as_ref()).map_err(|error| self.unsynced(error))?;
        self.file = file;
        self.place = Place::first(number);
        Ok(())
    }

    /// Writes and syncs the watermark.
    fn promise(&mut self, mark: Mark) -> Result<(), Failure> {
        self.health = Health::Dirty { watermark: true };
        self.watermark.write(&mark).map_err(|error| self.unwritten(error))?;
        self.watermark.sync().map_err(|error| self.unsynced(error))?;
        self.mark = mark;
        Ok(())
    }

    /// Undoes what a failed write may have left. The watermark goes first: its half-written slot
    /// may speak of frames that are then cut.
    fn clean_up(&mut self) -> Result<(), Failure> {
        match &self.health {
            Health::Good => return Ok(()),
            Health::Unknown(reason) => return Err(Failure::Sync(reason.clone())),
            Health::Dirty { watermark: true } => self.promise(self.mark)?,
            Health::Dirty { watermark: false } => {}
        }
        self.file.truncate(self.place.byte).map_err(|error| self.unwritten(error))?;
        self.file.sync_data().map_err(|error| self.unsynced(error))?;
        self.health = Health::Good;
        Ok(())
    }

    /// Notes a failure, cleans up if that is possible at once, and says what callers are told.
    fn fail(&mut self, failure: Failure) -> String {
        let failure = match failure {
            Failure::Write(reason) => match self.clean_up() {
                Ok(()) | Err(Failure::Write(_)) => {
                    return format!("{reason}; make room or mend the disk, then send it again");
                }
                Err(failure) => failure,
            },
            failure => failure,
        };
        let (Failure::Write(reason) | Failure::Sync(reason)) = failure;
        if !matches!(self.health, Health::Unknown(_)) {
            error!(reason, "a sync failed, so the log takes nothing more until it is opened again");
            self.health = Health::Unknown(reason.clone());
        }
        format!(
            "{reason}; what the disk kept is unknown until the log is opened again, so mend the \
            disk and restart agon"
        )
    }

    fn unwritten(&self, error: io::Error) -> Failure {
        Failure::Write(format!("cannot write in {}: {error}", self.shared.dir.display()))
    }

    fn unsynced(&self, error: io::Error) -> Failure {
        Failure::Sync(format!("cannot sync in {}: {error}", self.shared.dir.display()))
    }
}

/// Jobs at the front of those that wait.
struct Jobs {
    /// How many have their last record in a group.
    whole: usize,
    /// How many have any record in it.
    begun: usize,
}
