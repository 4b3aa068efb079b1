//! The broker of the tests, and topics under a prefix of their own that go when the test ends.

use std::time::Duration;

use agon_kafka::{InitSettings, KafkaAddress, KafkaLog, KafkaSettings, init};
use agon_ports::Append;
use agon_schema::record::header;
use agon_schema::{Record, Topic, TopicPartition};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use uuid::Uuid;

pub const PARTITIONS: u32 = 4;

/// `HOST:PORT` of the broker, if the tests were given one.
pub fn broker() -> Option<String> {
    let broker = std::env::var("TEST_KAFKA").ok();
    if broker.is_none() {
        eprintln!("skipped: TEST_KAFKA is not set; run scripts/servers");
    }
    broker
}

/// Topics of one test.
pub struct Topics {
    pub broker: String,
    pub address: KafkaAddress,
    pub settings: KafkaSettings,
}

impl Topics {
    /// A prefix of their own on this broker; nothing is made yet.
    pub fn new(broker: String) -> Topics {
        let address = format!("kafka://{broker}").parse().unwrap();
        let topic_prefix = format!("t{}.", Uuid::now_v7().simple());
        Topics { broker, address, settings: KafkaSettings { topic_prefix, ..Default::default() } }
    }

    /// Topics that are made.
    pub async fn made(broker: String) -> Topics {
        let topics = Topics::new(broker);
        init(&topics.address, &topics.settings, wanted(PARTITIONS)).await.unwrap();
        topics
    }

    pub async fn open(&self) -> KafkaLog {
        KafkaLog::open(&self.address, self.settings.clone()).await.unwrap()
    }

    pub fn name(&self, topic: Topic) -> String {
        format!("{}{}", self.settings.topic_prefix, topic.name())
    }

    pub fn changes(&self) -> String {
        format!("{}agon.changes.v1", self.settings.topic_prefix)
    }

    /// All names, those of events first.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Topic::ALL.map(|topic| self.name(topic)).into();
        names.push(self.changes());
        names
    }

    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.broker);
        config
    }

    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    /// Removes these topics.
    pub async fn remove(&self, names: &[&str]) {
        let done = self.admin().delete_topics(names, &options()).await.unwrap();
        assert!(done.iter().all(Result::is_ok), "{done:?}");
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        let admin = self.admin();
        let names = self.names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        // Sent at once; whether it came to pass is the broker's matter.
        drop(admin.delete_topics(&names, &options()));
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn options() -> AdminOptions {
    let wait = Some(Duration::from_secs(10));
    AdminOptions::new().request_timeout(wait).operation_timeout(wait)
}

pub fn wanted(partitions: u32) -> InitSettings {
    InitSettings { partitions, replication: None, changes_retention_ms: 3_600_000 }
}

pub fn at(topic: Topic, partition: u32) -> TopicPartition {
    TopicPartition { topic, partition }
}

pub fn append(target: TopicPartition, value: &str) -> Append {
    let headers = vec![header("ce_id", value.as_bytes())];
    let record = Record { key: "k".into(), headers, value: value.into(), appended_at_ms: 1 };
    Append { target, record }
}
