//! The log on a disk of this machine: one process, our own segments, nothing installed.
//!
//! ```text
//! DIR/log/00000000000000000001.seg   frames of all partitions, in the order of appending
//!         00000000000000000002.seg   …
//!         watermark                  up to where they were acknowledged
//! ```
//! A group of appended records is one write, one sync of the segment, one write and sync of the
//! watermark, and only then an answer. Reading order: `frame` and `segment` are the bytes,
//! `watermark` the promise, `recover` and `scan` the opening, `writer` and `reader` the two ways
//! on.

mod error;
mod frame;
mod index;
mod reader;
mod recover;
mod scan;
mod segment;
mod watermark;
mod window;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use agon_ports::{Append, Assignment, EventLog, LogReader, PortError};
use agon_schema::{LogId, Position, Topic, TopicPartition};
use async_trait::async_trait;
use tokio::sync::watch;

pub use error::OpenError;
pub use frame::HEADERS_MAX;
pub use segment::FORMAT_VERSION;

use crate::files::Files;
use index::Index;
use reader::Reader;
use segment::Place;
use writer::Queue;

/// Partitions of a topic, at most.
pub const PARTITIONS_MAX: u32 = 1024;

/// Sizes of an embedded log. None of them is part of what is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A segment that would grow beyond this is followed by a new one; a group of records is
    /// never split between two. Default 64 MiB.
    pub segment_bytes_max: u64,
    /// Records that one write and sync covers, at most. Default 65,536.
    pub group_records_max: usize,
    /// Bytes that one write and sync covers, at most, and at least one record. Default 8 MiB.
    pub group_bytes_max: usize,
    /// Bytes of records that wait to be written; further appends wait for room. Default 32 MiB.
    pub queue_bytes_max: usize,
    /// Bytes that a reader, or the check at opening, fetches at a time. Default 1 MiB.
    pub read_bytes: usize,
    /// Distance of the places at which a reader can start, bytes. It doubles as the log grows,
    /// so that they never take more than 16 MiB of memory. Default 256 KiB.
    pub index_bytes: u64,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes_max: 64 << 20,
            group_records_max: 1 << 16,
            group_bytes_max: 8 << 20,
            queue_bytes_max: 32 << 20,
            read_bytes: 1 << 20,
            index_bytes: 256 << 10,
        }
    }
}

/// Bytes checked so far, and bytes to check.
pub type Progress = Box<dyn Fn(u64, u64) + Send + Sync>;

/// How a log is opened.
#[derive(Default)]
pub struct OpenOptions {
    /// Partitions of every topic. `None` takes those of the log, or
    /// [`agon_schema::topic::PARTITIONS_DEFAULT`] when it is made.
    pub partitions: Option<u32>,
    /// Sizes.
    pub config: LogConfig,
    /// Called about once a `read_bytes` while the segments are checked.
    pub progress: Option<Progress>,
}

/// Where a partition's numbers stand in a list for all of them; `None` when it does not exist.
fn slot(target: TopicPartition, partitions: u32) -> Option<usize> {
    let topic = Topic::ALL.iter().position(|topic| *topic == target.topic)?;
    (target.partition < partitions).then(|| topic * partitions as usize + target.partition as usize)
}

/// Length of such a list.
fn slots(partitions: u32) -> usize {
    Topic::ALL.len() * partitions as usize
}

/// What the writer and the readers both know.
struct Shared {
    files: Arc<dyn Files>,
    dir: PathBuf,
    config: LogConfig,
    id: LogId,
    partitions: u32,
    acknowledged: Mutex<Acknowledged>,
    /// The first place that was not acknowledged: readers wait for it to move.
    end: watch::Sender<Place>,
}

/// What was acknowledged.
struct Acknowledged {
    /// For each slot the offset of its next record.
    ends: Vec<u64>,
    index: Index,
}

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut Acknowledged) -> T) -> T {
        act(&mut self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a partition is called when it does not exist.
    fn no_partition(&self, target: TopicPartition) -> String {
        format!(
            "{} has {} partitions, so there is no {}",
            target.topic, self.partitions, target.partition
        )
    }
}

/// The log in a directory of this machine. Dropping it writes what waits and stops the writer.
///
/// The caller holds the data directory ([`crate::files::DataDir`]) for as long as the log lives;
/// the log takes no lock of its own.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    queue: Option<Queue>,
    writer: Option<JoinHandle<()>>,
}

impl fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedLog").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

impl EmbeddedLog {
    /// Opens the log in `dir` ([`crate::files::DataDir::log_dir`]), or makes one. Checks every
    /// segment, so it takes the time of reading them: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] when something acknowledged is not there as written,
    /// [`OpenError::Refused`] when the log is of another version or partition count or its files
    /// do not belong together, [`OpenError::Io`] when the disk refuses.
    pub fn open(
        files: Arc<dyn Files>,
        dir: impl AsRef<Path>,
        mut options: OpenOptions,
    ) -> Result<EmbeddedLog, OpenError> {
        let dir = dir.as_ref();
        options.config.read_bytes = options.config.read_bytes.max(1);
        let recovered = recover::open(files.as_ref(), dir, &options)?;
        let mark = recovered.mark;
        let shared = Arc::new(Shared {
            files,
            dir: dir.to_owned(),
            config: options.config,
            id: mark.id,
            partitions: mark.partitions,
            acknowledged: Mutex::new(Acknowledged {
                ends: recovered.ends.clone(),
                index: recovered.index,
            }),
            end: watch::Sender::new(mark.end),
        });
        let (queue, writer) = writer::start(
            shared.clone(),
            mark,
            recovered.ends,
            recovered.file,
            recovered.watermark,
        )
        .map_err(OpenError::io("start the writer of", dir))?;
        Ok(EmbeddedLog { shared, queue: Some(queue), writer: Some(writer) })
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has told everyone who waited for it.
            writer.join().ok();
        }
    }
}

#[async_trait]
impl EventLog for EmbeddedLog {
    fn id(&self) -> LogId {
        self.shared.id
    }

    fn partitions(&self) -> u32 {
        self.shared.partitions
    }

    async fn append(&self, records: Vec<Append>) -> Result<Vec<Position>, PortError> {
        match &self.queue {
            Some(queue) => queue.append(&self.shared, records).await,
            None => unreachable!("the queue goes only when the log is dropped"),
        }
    }

    async fn ends(&self) -> Result<Assignment, PortError> {
        let ends = self.shared.with(|acknowledged| acknowledged.ends.clone());
        Ok(TopicPartition::all(self.shared.partitions).zip(ends).collect())
    }

    async fn read(&self, from: Assignment) -> Result<Box<dyn LogReader>, PortError> {
        Ok(Box::new(Reader::new(&self.shared, from)?))
    }
}
