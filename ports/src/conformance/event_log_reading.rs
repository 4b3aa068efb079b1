//! The suite of [`EventLog`](crate::EventLog): reading.

use std::sync::Arc;
use std::time::Duration;

use agon_schema::{Position, Topic};

use super::event_log::EventLogFixture;
use super::event_log_checks::{Acknowledged, WIDE, at, batch, follow, read_to_end, record, sized};
use super::{PATIENCE, abandon_after, assert_refused};
use crate::{Append, Assignment, LogReader, LogRecord, ReadLimits};

/// Long enough that a reader really waits, short enough that nobody minds.
const MOMENT: Duration = Duration::from_millis(50);

/// The record at an offset comes first, whichever it is; at the end there is none.
pub async fn a_reader_starts_in_the_middle(mut fixture: impl EventLogFixture) {
    let mut log = fixture.open().await;
    let target = at(Topic::Submissions, 1);
    for first in [0, 10, 20] {
        log.append(batch("w", first, 10, &[target])).await.expect("append answers");
    }
    for _ in 0..2 {
        for from in [0, 1, 9, 10, 19, 25, 29, 30] {
            let read = read_to_end(&*log, &[(target, from)].into()).await;
            let expected: Vec<_> = (from..30).map(|number| record("w", number as usize)).collect();
            let values = |records: Vec<_>| -> Vec<_> {
                records.into_iter().map(|record: agon_schema::Record| record.value).collect()
            };
            let read = read.into_iter().map(|read| read.record).collect();
            assert_eq!(values(read), values(expected), "from {from}");
        }
        log = fixture.reopen(log).await;
    }
}

/// A reader of some partitions sees all of them, each in order from its own offset, and no other.
pub async fn a_reader_sees_its_partitions_and_no_others(mut fixture: impl EventLogFixture) {
    let log = fixture.open().await;
    let all = [
        at(Topic::Matches, 0),
        at(Topic::Matches, 1),
        at(Topic::Submissions, 0),
        at(Topic::RecentChange, 2),
    ];
    for first in 0..5 {
        log.append(batch("w", first * 40, 40, &all)).await.expect("append answers");
    }
    let from: Assignment =
        [(all[0], 7), (all[2], 50), (all[3], 0), (at(Topic::Matches, 2), 0)].into();
    // `read_to_end` fails on a partition that was not asked for and on an offset out of turn.
    let read = read_to_end(&*log, &from).await;
    assert_eq!(read.len(), 43 + 50);
    let numbers = |source| -> Vec<_> {
        let of = read.iter().filter(|read| read.position.source == source);
        of.map(|read| read.record.value.clone()).collect()
    };
    let expected: Vec<_> = (7..50).map(|turn| record("w", turn * 4).value).collect();
    assert_eq!(numbers(all[0]), expected);
}

/// Readers at different places of the same partition each see their own.
pub async fn readers_do_not_disturb_each_other(mut fixture: impl EventLogFixture) {
    let log = fixture.open().await;
    let target = at(Topic::Matches, 0);
    log.append(batch("w", 0, 30, &[target])).await.expect("append answers");
    let one = ReadLimits { records_max: 1, ..WIDE };
    let mut readers = Vec::new();
    for from in [0, 5, 20] {
        let from: Assignment = [(target, from)].into();
        readers.push((log.read(from.clone()).await.expect("read answers"), from));
    }
    for _ in 0..10 {
        for (reader, next) in &mut readers {
            let records = reader.next(one, PATIENCE).await.expect("next answers");
            assert_eq!(records.len(), 1);
            follow(next, &records);
        }
    }
}

/// No answer has more records than asked for, and none is left out.
pub async fn records_max_holds(mut fixture: impl EventLogFixture) {
    let log = fixture.open().await;
    let targets = [at(Topic::Matches, 0), at(Topic::Matches, 1)];
    log.append(batch("w", 0, 101, &targets)).await.expect("append answers");
    for records_max in [1, 3, 50, 51, 1000] {
        let from: Assignment = targets.map(|target| (target, 0)).into();
        let mut reader = log.read(from.clone()).await.expect("read answers");
        let limits = ReadLimits { records_max, ..WIDE };
        let answers = read_all(&mut *reader, from, limits, 101).await;
        assert!(answers.iter().all(|records| records.len() <= records_max), "{records_max}");
    }
}

/// No answer has more bytes than asked for, and none is left out.
pub async fn bytes_max_holds(mut fixture: impl EventLogFixture) {
    let log = fixture.open().await;
    let target = at(Topic::Matches, 0);
    let sizes = [100, 150, 50, 200, 100, 100, 300, 70, 80, 250];
    let appends = sizes.map(|size_bytes| sized(target, size_bytes));
    log.append(appends.to_vec()).await.expect("append answers");
    for bytes_max in [300, 310, 450, 1 << 20] {
        let from: Assignment = [(target, 0)].into();
        let mut reader = log.read(from.clone()).await.expect("read answers");
        let limits = ReadLimits { bytes_max, ..WIDE };
        for records in read_all(&mut *reader, from, limits, sizes.len()).await {
            let bytes: usize = records.iter().map(|read| read.record.size_bytes()).sum();
            assert!(bytes <= bytes_max, "{bytes} bytes for {bytes_max}");
        }
    }
}

/// A record that is too large for the answer comes nevertheless, and nothing beside it.
pub async fn a_record_over_bytes_max_is_returned_alone(mut fixture: impl EventLogFixture) {
    let log = fixture.open().await;
    let target = at(Topic::Matches, 0);
    let sizes = [60, 5000, 60, 60, 70_000, 101, 60];
    let appends = sizes.map(|size_bytes| sized(target, size_bytes));
    log.append(appends.to_vec()).await.expect("append answers");
    let from: Assignment = [(target, 0)].into();
    let mut reader = log.read(from.clone()).await.expect("read answers");
    let limits = ReadLimits { bytes_max: 100, ..WIDE };
    for records in read_all(&mut *reader, from, limits, sizes.len()).await {
        assert_eq!(records.len(), 1, "{records:?}");
    }
}

/// Reads so many records answer by answer, checks that they go on from `next`, and that no more
/// come.
async fn read_all(
    reader: &mut dyn LogReader,
    mut next: Assignment,
    limits: ReadLimits,
    count: usize,
) -> Vec<Vec<LogRecord>> {
    let mut answers: Vec<Vec<LogRecord>> = Vec::new();
    while answers.iter().map(Vec::len).sum::<usize>() < count {
        let records = reader.next(limits, PATIENCE).await.expect("next answers");
        assert!(!records.is_empty(), "nothing at {next:?}");
        follow(&mut next, &records);
        answers.push(records);
    }
    assert_eq!(reader.next(limits, Duration::ZERO).await.expect("next answers"), []);
    answers
}

/// `next` at the end waits, and answers as soon as something was appended to any of its
/// partitions.
pub async fn next_waits_and_wakes_on_append(mut fixture: impl EventLogFixture) {
    let log = fixture.open().await;
    let targets = [at(Topic::Matches, 0), at(Topic::Submissions, 2)];
    let mut next: Assignment = targets.map(|target| (target, 0)).into();
    let mut reader = log.read(next.clone()).await.expect("read answers");
    for round in 0..6 {
        let mut waiting = reader.next(WIDE, PATIENCE);
        let early = tokio::time::timeout(MOMENT, &mut waiting).await;
        assert!(early.is_err(), "next did not wait: {early:?}");
        let elsewhere = batch("elsewhere", round, 1, &[at(Topic::RecentChange, 0)]);
        log.append(elsewhere).await.expect("append answers");
        log.append(batch("w", round, 1, &targets)).await.expect("append answers");
        let records = waiting.await.expect("next answers");
        assert_eq!(records.len(), 1, "the wait ran out without the record");
        follow(&mut next, &records);
    }
}

/// `next` at the end answers an empty list when the wait is over, and the reader goes on.
pub async fn next_answers_nothing_after_the_wait(mut fixture: impl EventLogFixture) {
    let log = fixture.open().await;
    let target = at(Topic::Matches, 0);
    let mut next: Assignment = [(target, 0)].into();
    let mut reader = log.read(next.clone()).await.expect("read answers");
    for round in 0..3 {
        for wait in [Duration::ZERO, MOMENT] {
            let answer = tokio::time::timeout(PATIENCE, reader.next(WIDE, wait)).await;
            let records = answer.expect("the wait ends").expect("next answers");
            assert_eq!(records, []);
        }
        log.append(batch("w", round, 1, &[target])).await.expect("append answers");
        let records = reader.next(WIDE, PATIENCE).await.expect("next answers");
        assert_eq!(records.len(), 1);
        follow(&mut next, &records);
    }
}

/// A `next` that is dropped at any moment, while records arrive, leaves them all to the following.
pub async fn cancelling_next_loses_nothing(mut fixture: impl EventLogFixture) {
    let log = fixture.open().await;
    let targets = [at(Topic::Matches, 0), at(Topic::Matches, 1)];
    let appender = tokio::spawn({
        let log = Arc::clone(&log);
        async move {
            for call in 0..60 {
                log.append(batch("w", call * 5, 5, &targets)).await.expect("append answers");
            }
        }
    });
    let mut next: Assignment = targets.map(|target| (target, 0)).into();
    let mut reader = log.read(next.clone()).await.expect("read answers");
    let limits = ReadLimits { records_max: 3, ..WIDE };
    let (mut seen, mut round) = (0, 0);
    while seen < 300 {
        // Longer and longer, then short again: each call is dropped in another state.
        let polls = 1 << (round % 14);
        if let Some(records) = abandon_after(polls, reader.next(limits, PATIENCE)).await {
            let records = records.expect("next answers");
            assert!(!records.is_empty(), "nothing at {next:?}");
            follow(&mut next, &records);
            seen += records.len();
        }
        round += 1;
    }
    appender.await.expect("appender ends");
    assert_eq!(reader.next(WIDE, Duration::ZERO).await.expect("next answers"), []);
}

/// A reader beside appenders sees every record once, in order, and none above the end.
pub async fn a_follower_sees_each_acknowledged_record_once(mut fixture: impl EventLogFixture) {
    let log = fixture.open().await;
    let targets = [at(Topic::Matches, 0), at(Topic::Submissions, 1)];
    let mut appenders = Vec::new();
    for writer in ["anna", "bert"] {
        let log = Arc::clone(&log);
        appenders.push(tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for call in 0..40 {
                let appends = batch(writer, call * 4, 4, &targets);
                let positions = log.append(appends.clone()).await.expect("append answers");
                acknowledged.push((appends, positions));
            }
            acknowledged
        }));
    }
    let mut next: Assignment = targets.map(|target| (target, 0)).into();
    let mut reader = log.read(next.clone()).await.expect("read answers");
    let mut seen = Acknowledged::default();
    for _ in 0..1_000 {
        if next.values().sum::<u64>() == 320 {
            break;
        }
        let records = reader.next(WIDE, PATIENCE).await.expect("next answers");
        let ends = log.ends().await.expect("ends answers");
        follow(&mut next, &records);
        for LogRecord { position, record } in records {
            assert!(position.offset < ends[&position.source], "{position:?} is above {ends:?}");
            seen.note(vec![Append { target: position.source, record }], &[position]);
        }
    }
    for appender in appenders {
        for (appends, positions) in appender.await.expect("appender ends") {
            seen.assert_has(&appends, &positions);
        }
    }
    drop(reader);
    let log = fixture.reopen(log).await;
    seen.check(&*log).await;
}

/// The end itself is where a follower starts; beyond it there is nothing to wait for.
pub async fn an_offset_beyond_the_end_is_refused(mut fixture: impl EventLogFixture) {
    let mut log = fixture.open().await;
    let (target, empty) = (at(Topic::Matches, 0), at(Topic::Matches, 1));
    log.append(batch("w", 0, 3, &[target])).await.expect("append answers");
    for _ in 0..2 {
        for (source, offset) in [(target, 4), (target, u64::MAX), (empty, 1)] {
            let from: Assignment = [(target, 0), (source, offset)].into();
            assert_refused(log.read(from).await, "an offset beyond the end");
        }
        for (source, offset) in [(target, 3), (empty, 0)] {
            let from: Assignment = [(source, offset)].into();
            let mut reader = log.read(from).await.expect("the end itself is accepted");
            assert_eq!(reader.next(WIDE, Duration::ZERO).await.expect("next answers"), []);
        }
        log = fixture.reopen(log).await;
    }
    let mut reader = log.read([(target, 3)].into()).await.expect("read answers");
    log.append(batch("w", 3, 1, &[target])).await.expect("append answers");
    let records = reader.next(WIDE, PATIENCE).await.expect("next answers");
    let positions: Vec<_> = records.iter().map(|read| read.position).collect();
    assert_eq!(positions, [Position { source: target, offset: 3 }]);
}

/// A partition that does not exist is refused, not waited for.
pub async fn reading_an_unknown_partition_is_refused(mut fixture: impl EventLogFixture) {
    let partitions = fixture.partitions();
    let log = fixture.open().await;
    for partition in [partitions, u32::MAX] {
        let from: Assignment =
            [(at(Topic::Matches, 0), 0), (at(Topic::Matches, partition), 0)].into();
        assert_refused(log.read(from).await, "an unknown partition");
    }
}
