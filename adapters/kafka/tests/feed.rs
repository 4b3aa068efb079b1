//! The change feed on a real broker keeps the contract of its port, and what is lost of it never
//! stays unnoticed.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use agon_kafka::{
    InitSettings, KafkaAddress, KafkaFeed, KafkaLog, KafkaPublisher, KafkaSettings,
    KafkaSubscriber, init,
};
use agon_ports::conformance::change_feed::ChangeFeedFixture;
use agon_ports::{Change, ChangePublisher, ChangeSubscriber, Heard, Retry};
use agon_projections::row::Value;
use agon_projections::{CellKey, Row, RowKey};
use agon_schema::{Topic, TopicPartition};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use uuid::Uuid;

const PARTITIONS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(60);
const SOURCE: TopicPartition = TopicPartition { topic: Topic::RecentChange, partition: 1 };

fn broker() -> Option<String> {
    std::env::var("TEST_KAFKA").ok()
}

fn no_broker() -> bool {
    let is_absent = broker().is_none();
    if is_absent {
        eprintln!("skipped: TEST_KAFKA is not set; run scripts/servers");
    }
    is_absent
}

/// A feed of its own, and the name of its topic.
async fn made() -> (KafkaFeed, String) {
    let address: KafkaAddress = format!("kafka://{}", broker().unwrap()).parse().unwrap();
    let topic_prefix = format!("{}.", Uuid::now_v7().simple());
    let topic = format!("{topic_prefix}agon.changes.v1");
    let settings = KafkaSettings { topic_prefix, ..KafkaSettings::default() };
    let wanted = InitSettings {
        partitions: PARTITIONS,
        replication: Some(1),
        changes_retention_ms: 3_600_000,
    };
    init(&address, &settings, wanted).await.unwrap();
    let feed = KafkaFeed::new(&KafkaLog::open(&address, settings).await.unwrap());
    // A broker that just made the topic may not lead it yet; a role asks again, and so do we.
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = feed.subscriber().await {
        assert!(error.retry == Retry::Later && Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (feed, topic)
}

#[derive(Default)]
struct Fixture {
    feed: Option<KafkaFeed>,
    publishers: Vec<Arc<KafkaPublisher>>,
}

impl Fixture {
    async fn feed(&mut self) -> &KafkaFeed {
        if self.feed.is_none() {
            self.feed = Some(made().await.0);
        }
        self.feed.as_ref().unwrap()
    }
}

#[async_trait::async_trait]
impl ChangeFeedFixture for Fixture {
    fn changes_max(&self) -> usize {
        64
    }

    fn drops_news(&self) -> bool {
        false
    }

    fn can_close(&self) -> bool {
        false
    }

    async fn publisher(&mut self) -> Arc<dyn ChangePublisher> {
        let publisher = Arc::new(self.feed().await.publisher().unwrap());
        self.publishers.push(Arc::clone(&publisher));
        publisher
    }

    async fn subscriber(&mut self) -> Box<dyn ChangeSubscriber> {
        Box::new(self.feed().await.subscriber().await.unwrap())
    }

    async fn settle(&mut self) {
        for publisher in &self.publishers {
            publisher.flush().await;
        }
    }

    async fn close(&mut self) {
        self.publishers.clear();
    }
}

agon_ports::change_feed_conformance!(Fixture::default, skipped_when: no_broker);

fn progress(applied: u64) -> Change {
    Change::Progress { source: SOURCE, applied, appended_at_ms: 0 }
}

/// A move with rows of about so many bytes.
fn moved(to: u64, bytes: usize) -> Change {
    let cell = CellKey::Stream(SOURCE.partition);
    let name = "s".repeat(bytes);
    let rows = vec![Row { key: RowKey::Server(cell.clone(), name), value: Value::Server(to) }];
    Change::Moved { cell, from: to.checked_sub(1), to, rows: Arc::new(rows) }
}

async fn hear(subscriber: &mut KafkaSubscriber) -> Heard {
    tokio::time::timeout(PATIENCE, subscriber.next()).await.unwrap()
}

/// The next news in few words.
async fn word(subscriber: &mut KafkaSubscriber) -> String {
    match hear(subscriber).await {
        Heard::Change(Change::Moved { to, .. }) => format!("moved {to}"),
        Heard::Change(Change::Progress { applied, .. }) => format!("progress {applied}"),
        Heard::Change(Change::Reload { source }) => {
            assert_eq!(source, SOURCE);
            "reload".to_owned()
        }
        other => format!("{other:?}"),
    }
}

async fn words<const N: usize>(subscriber: &mut KafkaSubscriber) -> [String; N] {
    let mut heard = [const { String::new() }; N];
    for heard in &mut heard {
        *heard = word(subscriber).await;
    }
    heard
}

fn client() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker().unwrap());
    config
}

/// The first records of the source's partition, as they are.
async fn raw(topic: &str, count: usize) -> Vec<Vec<u8>> {
    let topic = topic.to_owned();
    let read = move || {
        let consumer: BaseConsumer = client().set("group.id", "raw").create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, SOURCE.partition as i32, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let mut records = Vec::new();
        while records.len() < count {
            if let Some(message) = consumer.poll(PATIENCE) {
                records.push(message.unwrap().payload().unwrap().to_vec());
            }
        }
        records
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

async fn write_raw(topic: &str, records: &[Vec<u8>]) {
    let producer: FutureProducer = client().create().unwrap();
    for bytes in records {
        let record = FutureRecord::<(), _>::to(topic).partition(SOURCE.partition as i32);
        producer.send(record.payload(bytes), PATIENCE).await.unwrap();
    }
}

fn admin() -> AdminClient<DefaultClientContext> {
    client().create().unwrap()
}

#[tokio::test]
async fn two_subscribers_hear_the_same_and_reload_for_each_publisher_first() {
    if no_broker() {
        return;
    }
    let (feed, _) = made().await;
    let mut subscribers = [feed.subscriber().await.unwrap(), feed.subscriber().await.unwrap()];
    let publisher = feed.publisher().unwrap();
    publisher.publish(moved(1, 10)).await;
    publisher.publish(progress(1)).await;
    for subscriber in &mut subscribers {
        assert_eq!(words(subscriber).await, ["reload", "moved 1", "progress 1"]);
    }
    let successor = feed.publisher().unwrap();
    successor.publish(moved(2, 10)).await;
    successor.publish(progress(2)).await;
    for subscriber in &mut subscribers {
        assert_eq!(words(subscriber).await, ["reload", "moved 2", "progress 2"]);
    }
    successor.publish(Change::Reload { source: SOURCE }).await;
    successor.publish(progress(3)).await;
    for subscriber in &mut subscribers {
        assert_eq!(words(subscriber).await, ["reload", "progress 3"]);
    }
}

#[tokio::test]
async fn a_record_that_is_missing_is_a_reload() {
    if no_broker() {
        return;
    }
    let (written, from) = made().await;
    let publisher = written.publisher().unwrap();
    for applied in 0..5 {
        publisher.publish(progress(applied)).await;
    }
    let mut records = raw(&from, 5).await;
    records.remove(2);
    let (feed, to) = made().await;
    let mut subscriber = feed.subscriber().await.unwrap();
    write_raw(&to, &records).await;
    let expected = ["reload", "progress 0", "progress 1", "reload", "progress 3", "progress 4"];
    assert_eq!(words(&mut subscriber).await, expected);
}

#[tokio::test]
async fn a_record_of_another_version_is_missed_and_news_go_on() {
    if no_broker() {
        return;
    }
    let (feed, topic) = made().await;
    let mut subscriber = feed.subscriber().await.unwrap();
    write_raw(&topic, &[vec![2, 9, 9], vec![], vec![1, 0xff]]).await;
    assert_eq!(word(&mut subscriber).await, "Missed");
    feed.publisher().unwrap().publish(progress(7)).await;
    let mut heard = word(&mut subscriber).await;
    while heard == "Missed" || heard == "reload" {
        heard = word(&mut subscriber).await;
    }
    assert_eq!(heard, "progress 7");
}

#[tokio::test]
async fn too_many_rows_for_one_record_are_a_reload() {
    if no_broker() {
        return;
    }
    let (feed, _) = made().await;
    let mut subscriber = feed.subscriber().await.unwrap();
    let publisher = feed.publisher().unwrap();
    publisher.publish(moved(1, 900_000)).await;
    publisher.publish(moved(2, 1_000_000)).await;
    publisher.publish(progress(2)).await;
    assert_eq!(words(&mut subscriber).await, ["reload", "moved 1", "reload", "progress 2"]);
}

#[tokio::test]
async fn what_the_broker_does_not_take_is_made_good_without_further_news() {
    if no_broker() {
        return;
    }
    let (feed, topic) = made().await;
    let mut subscriber = feed.subscriber().await.unwrap();
    let publisher = feed.publisher().unwrap();
    publisher.publish(progress(1)).await;
    assert_eq!(words(&mut subscriber).await, ["reload", "progress 1"]);
    let smaller =
        AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", "1000");
    let altered = admin().alter_configs(&[smaller], &AdminOptions::new()).await.unwrap();
    assert!(altered.iter().all(Result::is_ok), "{altered:?}");
    // Not all alike, so that compression does not make it small.
    let names = (0..500).map(|_| Uuid::now_v7().to_string()).collect::<String>();
    let cell = CellKey::Stream(SOURCE.partition);
    let row = Row { key: RowKey::Server(cell.clone(), names), value: Value::Server(2) };
    let rows = Arc::new(vec![row]);
    publisher.publish(Change::Moved { cell, from: Some(1), to: 2, rows }).await;
    assert_eq!(word(&mut subscriber).await, "reload");
    publisher.publish(progress(2)).await;
    assert_eq!(word(&mut subscriber).await, "progress 2");
}

#[tokio::test]
async fn news_that_were_removed_before_they_were_read_are_missed() {
    if no_broker() {
        return;
    }
    let (feed, topic) = made().await;
    let feed = feed.with_changes_max(1);
    let mut slow = feed.subscriber().await.unwrap();
    let publisher = feed.publisher().unwrap();
    // Far more than its process holds for a listener that does not listen.
    let count = 40;
    for to in 0..count {
        publisher.publish(moved(to, 800_000)).await;
    }
    publisher.flush().await;
    let mut quick = feed.subscriber().await.unwrap();
    publisher.publish(progress(count)).await;
    assert_eq!(word(&mut quick).await, format!("progress {count}"));
    let mut removed = TopicPartitionList::new();
    let partition = SOURCE.partition as i32;
    removed.add_partition_offset(&topic, partition, Offset::Offset(count as i64 + 1)).unwrap();
    admin().delete_records(&removed, &AdminOptions::new()).await.unwrap();
    let mut heard = Vec::new();
    while heard.last().is_none_or(|word| word != "Missed") {
        heard.push(word(&mut slow).await);
    }
    assert!(heard.len() < count as usize, "{heard:?}");
    publisher.publish(progress(count + 1)).await;
    assert_eq!(word(&mut slow).await, format!("progress {}", count + 1));
}
