//! The log's append beside raw writes of equal bytes with equal syncs.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agon_embedded::files::{DataDir, DiskFiles};
use agon_embedded::log::{EmbeddedLog, OpenOptions};
use agon_ports::{Append, EventLog};
use agon_schema::topic::PARTITIONS_DEFAULT;
use agon_schema::{Event, TopicPartition, encode};

use super::workload::Workload;
use super::{Scratch, report};
use crate::cli::BenchRun;
use crate::exit::Exit;
use crate::output;

/// Records of a group: one write, one sync, one watermark.
const GROUP_RECORDS: u64 = 1_024;
/// Bytes of a watermark slot.
const WATERMARK_BYTES: usize = 64;

/// Measures both sides in turn.
///
/// # Errors
/// When the disk cannot be used.
pub async fn run(options: &BenchRun) -> Result<(), Exit> {
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    let mut group_bytes = 0;
    for round in 0..options.rounds {
        let scratch = Scratch::new("append")?;
        let count = options.events as f64;
        let syncs = options.events.div_ceil(GROUP_RECORDS) as usize;
        ours.push(count / append_all(scratch.path(), u64::from(round), options.events).await?);
        let bytes = size(&scratch.path().join("log"))?;
        group_bytes = bytes / syncs as u64;
        let started = Instant::now();
        write_raw(scratch.path(), bytes, syncs).map_err(Exit::missing)?;
        raw.push(count / started.elapsed().as_secs_f64());
    }
    output::line(format_args!(
        "{} matches in groups of {GROUP_RECORDS}, {group_bytes} bytes and two syncs each",
        options.events
    ))?;
    report("append to the log", &ours, "raw writes, same bytes, same syncs", &raw, "records")
}

/// Opens a log of its own in a directory.
///
/// # Errors
/// When the directory cannot be used.
pub fn open(path: &Path) -> Result<EmbeddedLog, Exit> {
    let dir = DataDir::open(Arc::new(DiskFiles), path).map_err(Exit::missing)?;
    EmbeddedLog::open(Arc::clone(dir.files()), dir.log_dir(), OpenOptions::default())
        .map_err(Exit::missing)
}

/// Appends the matches of a run, group after group, to a log of its own in a directory; answers
/// the seconds that the appends took, without making the records.
///
/// # Errors
/// When the disk cannot be used.
pub async fn append_all(path: &Path, run: u64, events: u64) -> Result<f64, Exit> {
    let log = open(path)?;
    let mut workload = Workload::new(run);
    let mut took = Duration::ZERO;
    let mut left = events;
    while left > 0 {
        let group: Vec<Append> =
            workload.take(left.min(GROUP_RECORDS))?.iter().map(append).collect();
        left -= group.len() as u64;
        let started = Instant::now();
        log.append(group).await.map_err(Exit::missing)?;
        took += started.elapsed();
    }
    Ok(took.as_secs_f64())
}

fn append(event: &Event) -> Append {
    let target = TopicPartition::of_key(event.topic(), event.key().as_bytes(), PARTITIONS_DEFAULT);
    Append { target, record: encode(event, "agon/bench", 1_700_000_000_000) }
}

/// Bytes of the segments in a log's directory.
fn size(dir: &Path) -> Result<u64, Exit> {
    let entries = std::fs::read_dir(dir).map_err(Exit::missing)?;
    let sizes = entries.map(|entry| entry.and_then(|entry| entry.metadata()).map(|m| m.len()));
    sizes.sum::<std::io::Result<u64>>().map_err(Exit::missing)
}

fn write_raw(dir: &Path, bytes: u64, groups: usize) -> std::io::Result<()> {
    let mut data = File::create(dir.join("raw"))?;
    let mut mark = File::create(dir.join("mark"))?;
    let group = vec![0xa5; (bytes / groups as u64) as usize];
    for _ in 0..groups {
        data.write_all(&group)?;
        data.sync_data()?;
        std::os::unix::fs::FileExt::write_all_at(&mark, &[0x5a; WATERMARK_BYTES], 0)?;
        mark.flush()?;
        mark.sync_data()?;
    }
    Ok(())
}
