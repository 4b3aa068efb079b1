//! A small log on a simulated disk, and the model it is held against.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agon_embedded::files::SimFiles;
use agon_embedded::log::{EmbeddedLog, LogConfig, OpenError, OpenOptions};
use agon_ports::{Append, EventLog, LogRecord, PortError, ReadLimits, Retry};
use agon_schema::{Position, Record, Topic, TopicPartition};
use tokio::runtime::{Builder, Runtime};

pub const DIR: &str = "data/log";
pub const PARTITIONS: u32 = 2;

/// Segments and groups so small that a few records fill several.
pub fn small() -> LogConfig {
    LogConfig {
        segment_bytes_max: 450,
        group_records_max: 3,
        group_bytes_max: 300,
        read_bytes: 300,
        index_bytes: 200,
        ..LogConfig::default()
    }
}

pub fn open(files: &SimFiles) -> Result<EmbeddedLog, OpenError> {
    let options = OpenOptions { partitions: Some(PARTITIONS), config: small(), progress: None };
    EmbeddedLog::open(Arc::new(files.clone()), DIR, options)
}

/// A log that opens; the text says when, for the panic.
pub fn reopen(files: &SimFiles, when: &str) -> EmbeddedLog {
    match open(files) {
        Ok(log) => log,
        Err(error) => panic!("{when}: {error}"),
    }
}

/// Record number `number`, which no other is equal to.
pub fn append(number: u32) -> Append {
    let topic = Topic::ALL[number as usize % 2];
    let target = TopicPartition { topic, partition: number / 2 % PARTITIONS };
    let headers = vec![("ce_id".into(), number.to_le_bytes().to_vec().into())];
    let value = vec![number as u8; number as usize % 60];
    let record = Record { key: b"key".to_vec(), headers, value, appended_at_ms: i64::from(number) };
    Append { target, record }
}

/// What was sent and what was acknowledged.
#[derive(Clone, Default)]
pub struct Model {
    sent: BTreeMap<u32, Append>,
    acknowledged: BTreeMap<Position, Record>,
}

pub struct World {
    runtime: Runtime,
}

impl World {
    pub fn new() -> World {
        World { runtime: Builder::new_current_thread().enable_time().build().unwrap() }
    }

    /// Appends the next `count` records, each number once.
    pub fn append(
        &self,
        log: &EmbeddedLog,
        model: &mut Model,
        count: u32,
    ) -> Result<(), PortError> {
        let first = model.sent.len() as u32;
        let batch: Vec<Append> = (first..first + count).map(append).collect();
        model.sent.extend((first..).zip(batch.clone()));
        match self.runtime.block_on(log.append(batch.clone())) {
            Ok(positions) => {
                assert_eq!(positions.len(), batch.len());
                for (position, append) in positions.into_iter().zip(batch) {
                    assert_eq!(position.source, append.target);
                    let twice = model.acknowledged.insert(position, append.record);
                    assert_eq!(twice, None, "{position:?} was given twice");
                }
                Ok(())
            }
            Err(error) => {
                assert_eq!(error.retry, Retry::Later, "{error}");
                Err(error)
            }
        }
    }

    /// Everything, as a reader sees it.
    pub fn read(&self, log: &EmbeddedLog) -> Result<Vec<LogRecord>, PortError> {
        self.runtime.block_on(async {
            let from = log.ends().await?.into_keys().map(|source| (source, 0)).collect();
            let mut reader = log.read(from).await?;
            let limits = ReadLimits { records_max: 7, bytes_max: 200 };
            let mut all = Vec::new();
            loop {
                let some = reader.next(limits, Duration::ZERO).await?;
                if some.is_empty() {
                    return Ok(all);
                }
                all.extend(some);
            }
        })
    }

    /// What was acknowledged is there as it was, and the rest was sent and is there once.
    pub fn check(&self, log: &EmbeddedLog, model: &Model, when: &str) {
        let records = self.read(log).unwrap_or_else(|error| panic!("{when}: {error}"));
        let mut ends = self.runtime.block_on(log.ends()).unwrap();
        let mut seen = BTreeMap::new();
        for LogRecord { position, record } in records {
            let number = u32::try_from(record.appended_at_ms).unwrap();
            let sent = model.sent.get(&number).map(|sent| (sent.target, &sent.record));
            assert_eq!(sent, Some((position.source, &record)), "{when}: {position:?}");
            assert!(seen.insert(position, record).is_none(), "{when}: {position:?} twice");
        }
        for (position, record) in &model.acknowledged {
            assert_eq!(seen.get(position), Some(record), "{when}: {position:?} is lost");
        }
        let once: std::collections::BTreeSet<_> =
            seen.values().map(|record| record.appended_at_ms).collect();
        assert_eq!(once.len(), seen.len(), "{when}: a record is there twice");
        for position in seen.keys().rev() {
            let end = ends.get_mut(&position.source).unwrap();
            *end -= 1;
            assert_eq!(*end, position.offset, "{when}: a gap or a wrong end");
        }
        assert!(ends.values().all(|end| *end == 0), "{when}: ends {ends:?} without records");
    }

    /// A log of several segments and groups, and what it acknowledged.
    pub fn filled(&self) -> (SimFiles, Model) {
        let files = SimFiles::new(1);
        let mut model = Model::default();
        let log = reopen(&files, "new");
        for count in [1, 2, 3, 1, 4, 1, 1, 2] {
            self.append(&log, &mut model, count).unwrap();
        }
        drop(log);
        assert!(segments(&files).len() >= 3, "{:?}", files.paths());
        (files, model)
    }
}

pub fn segments(files: &SimFiles) -> Vec<PathBuf> {
    files.paths().into_iter().filter(|path| path.extension().is_some()).collect()
}

pub fn watermark() -> PathBuf {
    Path::new(DIR).join("watermark")
}

impl Model {
    /// Counts the next records as sent and not acknowledged.
    pub fn send_in_vain(&mut self, count: u32) {
        let first = self.sent.len() as u32;
        self.sent.extend((first..first + count).map(|number| (number, append(number))));
    }

    /// Records sent so far.
    pub fn sent_count(&self) -> usize {
        self.sent.len()
    }
}
