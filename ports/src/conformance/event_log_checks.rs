//! What the suite of [`EventLog`] checks with: records that say who wrote them, and the notes of
//! what a log acknowledged, which it must hold.

use std::collections::BTreeMap;
use std::time::Duration;

use agon_schema::{Position, Record, Topic, TopicPartition};

use super::PATIENCE;
use crate::{Append, Assignment, EventLog, LogRecord, ReadLimits};

/// Limits that no case reaches.
pub(super) const WIDE: ReadLimits = ReadLimits { records_max: 10_000, bytes_max: 64 << 20 };

pub(super) fn at(topic: Topic, partition: u32) -> TopicPartition {
    TopicPartition { topic, partition }
}

/// A record that says who wrote it and which of theirs it is.
pub(super) fn record(writer: &str, number: usize) -> Record {
    Record {
        key: format!("key of {writer}").into_bytes(),
        headers: vec![("ce_id".into(), format!("{writer}-{number}").into_bytes().into())],
        value: format!("{writer} wrote {number}").into_bytes(),
        appended_at_ms: 1_700_000_000_000 + number as i64,
    }
}

/// `count` records of a writer from number `first` on, going round the targets.
pub(super) fn batch(
    writer: &str,
    first: usize,
    count: usize,
    targets: &[TopicPartition],
) -> Vec<Append> {
    (first..first + count)
        .map(|number| Append {
            target: targets[number % targets.len()],
            record: record(writer, number),
        })
        .collect()
}

/// Whether two records are equal but for the time of appending, which a broker may set itself.
fn same(left: &Record, right: &Record) -> bool {
    left.key == right.key && left.headers == right.headers && left.value == right.value
}

/// What the log acknowledged, at the positions it answered.
#[derive(Default)]
pub(super) struct Acknowledged {
    partitions: BTreeMap<TopicPartition, BTreeMap<u64, Record>>,
}

impl Acknowledged {
    /// Appends the records, notes them, and checks what was answered.
    pub(super) async fn append(&mut self, log: &dyn EventLog, appends: Vec<Append>) {
        let positions = log.append(appends.clone()).await.expect("append answers");
        self.note(appends, &positions);
    }

    /// Notes the answer to an append.
    pub(super) fn note(&mut self, appends: Vec<Append>, positions: &[Position]) {
        assert_eq!(positions.len(), appends.len(), "one position a record");
        let mut before: BTreeMap<TopicPartition, u64> = BTreeMap::new();
        for (append, position) in appends.into_iter().zip(positions) {
            assert_eq!(position.source, append.target, "positions come in the order given");
            if let Some(before) = before.insert(position.source, position.offset) {
                assert!(before < position.offset, "records of a call stand in the order given");
            }
            let partition = self.partitions.entry(position.source).or_default();
            let taken = partition.insert(position.offset, append.record);
            assert!(taken.is_none(), "{position:?} was answered twice");
        }
    }

    /// What was noted has these records at these positions.
    pub(super) fn assert_has(&self, appends: &[Append], positions: &[Position]) {
        for (append, position) in appends.iter().zip(positions) {
            let found = self.partitions.get(&position.source);
            let found = found.and_then(|records| records.get(&position.offset));
            let Some(found) = found else { panic!("{position:?} was not seen") };
            assert!(same(found, &append.record), "{position:?}: {found:?} instead of {append:?}");
        }
    }

    /// The offset after the last one noted.
    fn end(&self, source: TopicPartition) -> u64 {
        let last = self.partitions.get(&source).and_then(|records| records.last_key_value());
        last.map_or(0, |(offset, _)| offset + 1)
    }

    /// The log holds what it acknowledged, nothing else, without a gap, and says so in `ends`.
    pub(super) async fn check(&self, log: &dyn EventLog) {
        let ends = log.ends().await.expect("ends answers");
        for topic in Topic::ALL {
            for partition in 0..log.partitions() {
                let source = at(topic, partition);
                assert_eq!(ends.get(&source), Some(&self.end(source)), "end of {source}");
            }
        }
        let from: Assignment = ends.keys().map(|source| (*source, 0)).collect();
        let read = read_to_end(log, &from).await;
        assert_eq!(read.len(), self.partitions.values().map(BTreeMap::len).sum::<usize>());
        for LogRecord { position, record } in read {
            let written = self.partitions.get(&position.source);
            let Some(written) = written.and_then(|records| records.get(&position.offset)) else {
                panic!("{position:?} was never acknowledged")
            };
            assert!(same(&record, written), "{position:?}: {record:?} instead of {written:?}");
        }
    }
}

/// Reads these partitions up to their ends of now; each offset comes once and in order.
pub(super) async fn read_to_end(log: &dyn EventLog, from: &Assignment) -> Vec<LogRecord> {
    let ends = log.ends().await.expect("ends answers");
    let mut reader = log.read(from.clone()).await.expect("read answers");
    let mut next = from.clone();
    let mut records = Vec::new();
    while next.iter().any(|(source, offset)| *offset < ends[source]) {
        let more = reader.next(WIDE, PATIENCE).await.expect("next answers");
        assert!(!more.is_empty(), "a reader at {next:?} sees nothing below {ends:?}");
        follow(&mut next, &more);
        records.extend(more);
    }
    let beyond = reader.next(WIDE, Duration::ZERO).await.expect("next answers");
    follow(&mut next, &beyond);
    records.extend(beyond);
    records
}

/// Checks that the records go on where their partitions were, and moves on.
pub(super) fn follow(next: &mut Assignment, records: &[LogRecord]) {
    for LogRecord { position, .. } in records {
        let Some(offset) = next.get_mut(&position.source) else {
            panic!("{} was not asked for", position.source)
        };
        assert_eq!(position.offset, *offset, "next offset of {}", position.source);
        *offset += 1;
    }
}

/// A record of `size_bytes` in all.
pub(super) fn sized(target: TopicPartition, size_bytes: usize) -> Append {
    let mut record = record("large", size_bytes);
    record.value.resize(size_bytes - (record.size_bytes() - record.value.len()), b'x');
    assert_eq!(record.size_bytes(), size_bytes);
    Append { target, record }
}
