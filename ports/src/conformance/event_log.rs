//! The suite of [`EventLog`]: appending. Reading follows in [`super::event_log_reading`].

use std::collections::BTreeMap;
use std::sync::Arc;

use agon_schema::record::RECORD_BYTES_MAX;
use agon_schema::record::header;
use agon_schema::{Position, Record, Topic};
use async_trait::async_trait;

use super::event_log_checks::{Acknowledged, at, batch, read_to_end, record, sized};
use super::{abandon_after, assert_refused};
use crate::{Append, Assignment, EventLog, LogRecord};

/// Gives the suite one log, which is empty at first.
#[async_trait]
pub trait EventLogFixture: Send {
    /// Partitions of every topic; at least 3.
    fn partitions(&self) -> u32;

    /// Opens the log: new and empty at the first call, the same one again at later calls. Nothing
    /// that an earlier call answered is in use any more.
    async fn open(&mut self) -> Arc<dyn EventLog>;

    /// Closes the log, as the end of the process does, and opens it again.
    async fn reopen(&mut self, log: Arc<dyn EventLog>) -> Arc<dyn EventLog> {
        drop(log);
        self.open().await
    }
}

/// Makes the tests that every [`EventLog`] passes: `event_log_conformance!(make_fixture);`, where
/// the function answers an [`EventLogFixture`](crate::conformance::event_log::EventLogFixture).
#[macro_export]
macro_rules! event_log_conformance {
    ($make:expr $(, skipped_when: $is_absent:expr)?) => {
        $crate::conformance_cases! {
            event_log_conformance,
            $make $(, skipped_when: $is_absent)?;
            event_log::offsets_start_at_0_and_grow_by_one_across_calls,
            event_log::positions_are_answered_in_the_order_given,
            event_log::ends_name_every_partition,
            event_log::concurrent_appenders_leave_no_gap_and_keep_their_order,
            event_log::acknowledged_records_are_kept_over_reopen,
            event_log::id_and_partitions_are_kept_over_reopen,
            event_log::every_shape_of_bytes_survives,
            event_log::the_largest_record_is_accepted,
            event_log::a_record_over_the_limit_is_refused_and_nothing_of_the_call_written,
            event_log::an_unknown_partition_is_refused_and_nothing_of_the_call_written,
            event_log::a_call_without_records_writes_nothing,
            event_log::abandoned_appends_leave_each_record_absent_or_present_once,
            event_log_reading::a_reader_starts_in_the_middle,
            event_log_reading::a_reader_sees_its_partitions_and_no_others,
            event_log_reading::readers_do_not_disturb_each_other,
            event_log_reading::records_max_holds,
            event_log_reading::bytes_max_holds,
            event_log_reading::a_record_over_bytes_max_is_returned_alone,
            event_log_reading::next_waits_and_wakes_on_append,
            event_log_reading::next_answers_nothing_after_the_wait,
            event_log_reading::cancelling_next_loses_nothing,
            event_log_reading::a_follower_sees_each_acknowledged_record_once,
            event_log_reading::an_offset_beyond_the_end_is_refused,
            event_log_reading::reading_an_unknown_partition_is_refused,
        }
    };
}

/// Offsets of a partition start at 0 and grow by one, whoever appends how many at a time.
pub async fn offsets_start_at_0_and_grow_by_one_across_calls(mut fixture: impl EventLogFixture) {
    let log = fixture.open().await;
    let targets = [at(Topic::Matches, 0), at(Topic::Matches, 2), at(Topic::Submissions, 1)];
    let mut acknowledged = Acknowledged::default();
    acknowledged.check(&*log).await;
    let mut first = 0;
    for count in [1, 7, 2, 100, 1, 30] {
        acknowledged.append(&*log, batch("w", first, count, &targets)).await;
        first += count;
    }
    acknowledged.check(&*log).await;
}

/// The answer names the place of each record, in the order of the call.
pub async fn positions_are_answered_in_the_order_given(mut fixture: impl EventLogFixture) {
    let log = fixture.open().await;
    let (one, two) = (at(Topic::Matches, 1), at(Topic::RecentChange, 0));
    let targets = [one, two, two, one, two];
    let positions = log.append(batch("w", 0, 5, &targets)).await.expect("append answers");
    let expected = [(one, 0), (two, 0), (two, 1), (one, 1), (two, 2)];
    assert_eq!(positions, expected.map(|(source, offset)| Position { source, offset }));
}

/// `ends` has every partition of every topic, the empty ones too, and no other.
pub async fn ends_name_every_partition(mut fixture: impl EventLogFixture) {
    let partitions = fixture.partitions();
    let log = fixture.open().await;
    let target = at(Topic::Submissions, partitions - 1);
    log.append(batch("w", 0, 4, &[target])).await.expect("append answers");
    let mut expected = Assignment::new();
    for topic in Topic::ALL {
        expected.extend((0..partitions).map(|partition| (at(topic, partition), 0)));
    }
    expected.insert(target, 4);
    assert_eq!(log.ends().await.expect("ends answers"), expected);
}

/// Appenders at the same time: no offset is missing or answered twice, and what one of them
/// appended call after call stands in that order.
pub async fn concurrent_appenders_leave_no_gap_and_keep_their_order(
    mut fixture: impl EventLogFixture,
) {
    let log = fixture.open().await;
    let targets = [at(Topic::Matches, 0), at(Topic::Matches, 1)];
    let mut appenders = Vec::new();
    for writer in ["anna", "bert", "carl", "dora"] {
        let log = Arc::clone(&log);
        appenders.push(tokio::spawn(async move {
            let mut answers = Vec::new();
            for call in 0..25 {
                let appends = batch(writer, call * 3, 3, &targets);
                let positions = log.append(appends.clone()).await.expect("append answers");
                answers.push((appends, positions));
            }
            answers
        }));
    }
    let mut acknowledged = Acknowledged::default();
    for appender in appenders {
        let mut reached = Assignment::new();
        for (appends, positions) in appender.await.expect("appender ends") {
            for position in &positions {
                let before = reached.insert(position.source, position.offset);
                assert!(before < Some(position.offset), "a later call stands behind an earlier");
            }
            acknowledged.note(appends, &positions);
        }
    }
    acknowledged.check(&*log).await;
}

/// What was acknowledged is there after the log was closed and opened, and appending goes on.
pub async fn acknowledged_records_are_kept_over_reopen(mut fixture: impl EventLogFixture) {
    let mut log = fixture.open().await;
    let targets = [at(Topic::Matches, 0), at(Topic::Submissions, 2), at(Topic::RecentChange, 1)];
    let mut acknowledged = Acknowledged::default();
    for life in 0..4 {
        acknowledged.append(&*log, batch("first", life * 100, 100, &targets)).await;
        acknowledged.append(&*log, batch("last", life, 1, &targets)).await;
        log = fixture.reopen(log).await;
        acknowledged.check(&*log).await;
    }
}

/// A log stays the log it was.
pub async fn id_and_partitions_are_kept_over_reopen(mut fixture: impl EventLogFixture) {
    let mut log = fixture.open().await;
    let id = log.id();
    assert_eq!(log.partitions(), fixture.partitions());
    for _ in 0..2 {
        log.append(batch("w", 0, 2, &[at(Topic::Matches, 0)])).await.expect("append answers");
        log = fixture.reopen(log).await;
        assert_eq!((log.id(), log.partitions()), (id, fixture.partitions()));
    }
}

/// Empty and binary keys, values and headers are read as they were appended, in any life.
pub async fn every_shape_of_bytes_survives(mut fixture: impl EventLogFixture) {
    let mut log = fixture.open().await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let shapes = [
        (vec![], vec![], vec![]),
        (vec![], vec![], b"\0".to_vec()),
        (b"\0\0".to_vec(), vec![header("empty", b"")], vec![]),
        (every_byte.clone(), vec![header("every", &every_byte)], every_byte.repeat(40)),
        (vec![], vec![header("twice", b"2"), header("twice", b"1"), header("a", b"")], vec![]),
        ("ключ".into(), vec![header("ce_subject-é", "šach".as_bytes())], "対局".into()),
    ];
    let appends = shapes.into_iter().map(|(key, headers, value)| Append {
        target: at(Topic::Matches, 0),
        record: Record { key, headers, value, appended_at_ms: 0 },
    });
    let mut acknowledged = Acknowledged::default();
    acknowledged.append(&*log, appends.collect()).await;
    acknowledged.check(&*log).await;
    log = fixture.reopen(log).await;
    acknowledged.check(&*log).await;
}

/// The limit itself may be reached, several times in one call.
pub async fn the_largest_record_is_accepted(mut fixture: impl EventLogFixture) {
    let mut log = fixture.open().await;
    let largest = || sized(at(Topic::Matches, 0), RECORD_BYTES_MAX);
    let mut acknowledged = Acknowledged::default();
    acknowledged.append(&*log, vec![largest(), largest(), largest()]).await;
    log = fixture.reopen(log).await;
    acknowledged.check(&*log).await;
}

/// One record too large refuses the whole call, wherever it stands, and the log goes on.
pub async fn a_record_over_the_limit_is_refused_and_nothing_of_the_call_written(
    fixture: impl EventLogFixture,
) {
    let bad = sized(at(Topic::Matches, 1), RECORD_BYTES_MAX + 1);
    refuses_the_whole_call(fixture, &[bad]).await;
}

/// One record for a partition that does not exist refuses the whole call, and the log goes on.
pub async fn an_unknown_partition_is_refused_and_nothing_of_the_call_written(
    fixture: impl EventLogFixture,
) {
    let bad = [fixture.partitions(), u32::MAX].map(|partition| Append {
        target: at(Topic::Matches, partition),
        record: record("bad", 0),
    });
    refuses_the_whole_call(fixture, &bad).await;
}

async fn refuses_the_whole_call(mut fixture: impl EventLogFixture, bad: &[Append]) {
    let log = fixture.open().await;
    let mut acknowledged = Acknowledged::default();
    let targets = [at(Topic::Matches, 0), at(Topic::Matches, 1)];
    for bad in bad {
        for place in [0, 2, 4] {
            let mut appends = batch("refused", 0, 4, &targets);
            appends.insert(place, bad.clone());
            assert_refused(log.append(appends).await, "a call with one bad record");
            acknowledged.check(&*log).await;
            acknowledged.append(&*log, batch("kept", place, 2, &targets)).await;
        }
    }
    let log = fixture.reopen(log).await;
    acknowledged.check(&*log).await;
}

/// No records, no positions, no error.
pub async fn a_call_without_records_writes_nothing(mut fixture: impl EventLogFixture) {
    let log = fixture.open().await;
    assert_eq!(log.append(Vec::new()).await.expect("append answers"), []);
    Acknowledged::default().check(&*log).await;
}

/// A caller that goes away while it appends may leave its records or not, each once and in order;
/// those of others are kept.
pub async fn abandoned_appends_leave_each_record_absent_or_present_once(
    mut fixture: impl EventLogFixture,
) {
    let log = fixture.open().await;
    let target = at(Topic::Matches, 0);
    let mut answered = Vec::new();
    for call in 0..40 {
        let appends = batch("leaves", call * 4, 4, &[target]);
        let leaves = abandon_after(1 << (call % 10), log.append(appends.clone())).await;
        if let Some(answer) = leaves {
            answered.extend(appends.into_iter().zip(answer.expect("append answers")));
        }
        let stays = batch("stays", call, 1, &[target]);
        let answer = log.append(stays.clone()).await.expect("append answers");
        answered.extend(stays.into_iter().zip(answer));
    }
    let log = fixture.reopen(log).await;
    let mut places = BTreeMap::new();
    for LogRecord { position, record } in read_to_end(&*log, &[(target, 0)].into()).await {
        let again = places.insert(record.value, position);
        assert_eq!(again, None, "the record at {position:?} stands there twice");
    }
    for call in 0..40 {
        let offsets = batch("leaves", call * 4, 4, &[target]);
        let offsets = offsets.iter().filter_map(|append| places.get(&append.record.value));
        assert!(offsets.is_sorted(), "the records of call {call} stand in the order given");
    }
    for (append, position) in answered {
        assert_eq!(places.get(&append.record.value), Some(&position), "acknowledged is kept");
    }
}
