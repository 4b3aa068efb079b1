//! Foreign records, records that no broker takes, records that are gone: what the log answers.

use std::time::Duration;

use agon_ports::{EventLog, LogReader, LogRecord, ReadLimits, Retry};
use agon_schema::Topic;
use agon_schema::record::{RECORD_BYTES_MAX, header};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::{PARTITIONS, Topics, append, at, broker, options};

const LIMITS: ReadLimits = ReadLimits { records_max: 1000, bytes_max: 1 << 20 };
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads so many records.
async fn read(reader: &mut dyn LogReader, count: usize) -> Vec<LogRecord> {
    let mut records = Vec::new();
    while records.len() < count {
        let more = reader.next(LIMITS, PATIENCE).await.unwrap();
        assert!(!more.is_empty(), "{} of {count} came", records.len());
        records.extend(more);
    }
    records
}

#[tokio::test]
async fn what_others_write_is_read_as_bytes() {
    let Some(broker) = broker() else { return };
    let topics = Topics::made(broker).await;
    let name = topics.name(Topic::Matches);
    let foreign: BaseProducer = topics.config().create().unwrap();
    let headers = OwnedHeaders::new()
        .insert(Header { key: "none", value: None::<&[u8]> })
        .insert(Header { key: "some", value: Some("value") });
    let bare = BaseRecord::<(), ()>::to(&name).partition(0).timestamp(1_700_000_000_000);
    let headed = BaseRecord::<(), str>::to(&name).partition(0).payload("v").headers(headers);
    let keyed = BaseRecord::<[u8], ()>::to(&name).partition(0).key(b"\xff\x00");
    foreign.send(bare).map_err(|(error, _)| error).unwrap();
    foreign.send(headed).map_err(|(error, _)| error).unwrap();
    foreign.send(keyed).map_err(|(error, _)| error).unwrap();
    foreign.flush(PATIENCE).unwrap();
    let log = topics.open().await;
    let mut reader = log.read([(at(Topic::Matches, 0), 0)].into()).await.unwrap();
    let records: Vec<_> = read(&mut *reader, 3).await.into_iter().map(|it| it.record).collect();
    let [bare, headed, keyed] = &records[..] else { panic!("{records:?}") };
    assert_eq!((bare.key.len(), bare.headers.len(), bare.value.len()), (0, 0, 0));
    assert_eq!(bare.appended_at_ms, 1_700_000_000_000);
    let expected = [header("none", b""), header("some", b"value")];
    assert_eq!((&headed.headers[..], &headed.value[..]), (&expected[..], &b"v"[..]));
    assert_eq!((&keyed.key[..], keyed.value.len()), (&b"\xff\x00"[..], 0));
}

#[tokio::test]
async fn the_time_of_appending_is_kept() {
    let Some(broker) = broker() else { return };
    let topics = Topics::made(broker).await;
    let log = topics.open().await;
    let mut one = append(at(Topic::Matches, 1), "one");
    one.record.appended_at_ms = 1_700_000_000_123;
    log.append(vec![one.clone()]).await.unwrap();
    let mut reader = log.read([(one.target, 0)].into()).await.unwrap();
    assert_eq!(read(&mut *reader, 1).await[0].record, one.record);
}

#[tokio::test]
async fn a_large_call_is_answered_whole_and_in_order() {
    let Some(broker) = broker() else { return };
    let topics = Topics::made(broker).await;
    let log = topics.open().await;
    let target = |index: u64| at(Topic::Matches, u32::try_from(index % 4).unwrap());
    let appends: Vec<_> = (0..20_000).map(|it| append(target(it), &it.to_string())).collect();
    let positions = log.append(appends.clone()).await.unwrap();
    let offsets: Vec<u64> = positions.iter().map(|position| position.offset).collect();
    assert_eq!(offsets, (0..20_000).map(|index| index / 4).collect::<Vec<_>>());
    let from = (0..4).map(|index| (target(index), 0)).collect();
    let mut reader = log.read(from).await.unwrap();
    for LogRecord { position, record } in read(&mut *reader, 20_000).await {
        let index = position.offset * 4 + u64::from(position.source.partition);
        assert_eq!(record.value, index.to_string().into_bytes());
    }
}

#[tokio::test]
async fn records_that_no_broker_takes_are_refused_before() {
    let Some(broker) = broker() else { return };
    let topics = Topics::made(broker).await;
    let log = topics.open().await;
    let target = at(Topic::Matches, 0);
    let mut zero = append(target, "zero");
    zero.record.headers.push(header("a\0b", b""));
    let mut many = append(target, "many");
    many.record.headers = vec![header("", b""); 100_000];
    for bad in [zero, many] {
        let error = log.append(vec![append(target, "good"), bad]).await.unwrap_err();
        assert_eq!(error.retry, Retry::Never, "{error}");
    }
    let mut largest = append(target, "");
    let fixed_bytes = largest.record.size_bytes();
    largest.record.headers.extend((0..5_000).map(|_| header("", b"")));
    largest.record.value = vec![7; RECORD_BYTES_MAX - fixed_bytes];
    let positions = log.append(vec![largest]).await.unwrap();
    assert_eq!(positions[0].offset, 0, "nothing of the refused calls was written");
}

#[tokio::test]
async fn a_position_before_the_start_is_refused_with_both() {
    let Some(broker) = broker() else { return };
    let topics = Topics::made(broker).await;
    let log = topics.open().await;
    let target = at(Topic::Matches, 2);
    log.append((0..10).map(|it| append(target, &it.to_string())).collect()).await.unwrap();
    cut(&topics, 2, 6).await;
    assert_eq!(log.starts().await.unwrap()[&target], 6);
    assert_eq!(log.starts().await.unwrap().len(), 3 * PARTITIONS as usize);
    let error = log.read([(target, 5)].into()).await.err().unwrap();
    assert_eq!(error.retry, Retry::Never);
    let text = error.to_string();
    assert!(text.contains("from 5") && text.contains("begins at 6 and ends at 10"), "{text}");
    let mut reader = log.read([(target, 6)].into()).await.unwrap();
    assert_eq!(read(&mut *reader, 4).await[0].position.offset, 6);
}

/// Removes the records of a partition of matches below this offset, as retention does.
async fn cut(topics: &Topics, partition: i32, below: i64) {
    let mut cut = TopicPartitionList::new();
    let name = topics.name(Topic::Matches);
    cut.add_partition_offset(&name, partition, Offset::Offset(below)).unwrap();
    topics.admin().delete_records(&cut, &options()).await.unwrap();
}

#[tokio::test]
async fn a_reader_whose_topic_is_made_anew_says_what_it_expected() {
    let Some(broker) = broker() else { return };
    let topics = Topics::made(broker).await;
    let log = topics.open().await;
    let target = at(Topic::Matches, 0);
    log.append((0..10).map(|it| append(target, &it.to_string())).collect()).await.unwrap();
    let mut reader = log.read([(target, 0)].into()).await.unwrap();
    read(&mut *reader, 10).await;
    topics.remove(&[&topics.name(Topic::Matches)]).await;
    let wanted = crate::support::wanted(PARTITIONS);
    agon_kafka::init(&topics.address, &topics.settings, wanted).await.unwrap();
    let other = topics.open().await;
    other.append((0..20).map(|it| append(target, &it.to_string())).collect()).await.unwrap();
    let error = loop {
        match reader.next(LIMITS, PATIENCE).await {
            Ok(records) => assert_eq!(records, [], "records of another log"),
            Err(error) if error.retry == Retry::Never => break error,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    assert!(error.reason.contains("expected"), "{error}");
    let again = reader.next(LIMITS, PATIENCE).await.unwrap_err();
    assert_eq!((again.retry, &again.reason), (Retry::Never, &error.reason), "it stays refused");
}
