//! How topics are made, and what is refused of those that are there.

use agon_kafka::{InitReport, KafkaLog, OpenError, init};
use agon_ports::EventLog;
use agon_schema::Topic;
use rdkafka::admin::{AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};

use crate::support::{PARTITIONS, Topics, broker, options, wanted};

#[tokio::test]
async fn a_second_init_changes_nothing() {
    let Some(broker) = broker() else { return };
    let topics = Topics::new(broker);
    let first = init(&topics.address, &topics.settings, wanted(PARTITIONS)).await.unwrap();
    assert_eq!(first, InitReport { made: topics.names(), found: vec![] });
    let id = topics.open().await.id();
    let second = init(&topics.address, &topics.settings, wanted(PARTITIONS)).await.unwrap();
    assert_eq!(second, InitReport { made: vec![], found: topics.names() });
    let log = topics.open().await;
    assert_eq!((log.id(), log.partitions()), (id, PARTITIONS));
}

#[tokio::test]
async fn init_makes_what_is_missing_beside_what_is_there() {
    let Some(broker) = broker() else { return };
    let topics = Topics::made(broker).await;
    let changes = topics.changes();
    topics.remove(&[&changes]).await;
    let error = KafkaLog::open(&topics.address, topics.settings.clone()).await.err().unwrap();
    assert!(error.may_pass(), "{error}");
    let text = error.to_string();
    assert!(text.contains(&changes) && text.contains("agon init"), "{text}");
    let report = init(&topics.address, &topics.settings, wanted(PARTITIONS)).await.unwrap();
    assert_eq!(report.made, [changes]);
}

#[tokio::test]
async fn init_with_other_partitions_is_refused_and_makes_nothing() {
    let Some(broker) = broker() else { return };
    let topics = Topics::made(broker).await;
    let changes = topics.changes();
    topics.remove(&[&changes]).await;
    let other = wanted(PARTITIONS + 1);
    let error = init(&topics.address, &topics.settings, other).await.unwrap_err();
    assert!(!error.may_pass(), "{error}");
    let OpenError::Differs { differences, .. } = &error else { panic!("{error}") };
    assert_eq!(differences.len(), 3, "{error}");
    for difference in differences {
        let all = (&*difference.setting, &*difference.expected, &*difference.found);
        assert_eq!(all, ("partitions", "5", "4"));
    }
    let error = KafkaLog::open(&topics.address, topics.settings.clone()).await.err().unwrap();
    assert!(matches!(error, OpenError::NotMade { .. }), "{error}");
}

#[tokio::test]
async fn more_copies_than_nodes_are_refused_in_words() {
    let Some(broker) = broker() else { return };
    let topics = Topics::new(broker);
    for (replication, partitions) in [(Some(99), 1), (Some(0), 1), (None, 0)] {
        let wanted = agon_kafka::InitSettings { replication, ..wanted(partitions) };
        let error = init(&topics.address, &topics.settings, wanted).await.unwrap_err();
        assert!(matches!(error, OpenError::Refused { .. }) && !error.may_pass(), "{error}");
    }
}

#[tokio::test]
async fn a_topic_of_events_that_forgets_is_refused() {
    let Some(broker) = broker() else { return };
    let topics = Topics::made(broker).await;
    let name = topics.name(Topic::Submissions);
    let mut forgets = AlterConfig::new(ResourceSpecifier::Topic(&name));
    for (setting, value) in [("retention.ms", "1000"), ("max.message.bytes", "2000000")] {
        forgets = forgets.set(setting, value);
    }
    topics.admin().alter_configs(&[forgets], &options()).await.unwrap();
    let opened = KafkaLog::open(&topics.address, topics.settings.clone()).await.err().unwrap();
    let made = init(&topics.address, &topics.settings, wanted(PARTITIONS)).await.unwrap_err();
    for error in [opened, made] {
        assert!(!error.may_pass(), "{error}");
        let text = error.to_string();
        let address = topics.address.to_string();
        for part in [&*address, &*name, "retention.ms 1000", "expected -1", "agon init"] {
            assert!(text.contains(part), "no {part} in: {text}");
        }
        assert!(!text.contains("max.message.bytes"), "more than needed is well: {text}");
    }
}

#[tokio::test]
async fn topics_with_different_partition_counts_are_refused() {
    let Some(broker) = broker() else { return };
    let topics = Topics::made(broker).await;
    let name = topics.name(Topic::RecentChange);
    topics.remove(&[&name]).await;
    let made = made_again(&topics, &name, 2).await;
    assert!(made, "the topic is made again");
    let error = KafkaLog::open(&topics.address, topics.settings.clone()).await.err().unwrap();
    let text = error.to_string();
    assert!(!error.may_pass() && text.contains("partitions 2, expected 4"), "{text}");
}

#[tokio::test]
async fn a_topic_that_is_made_anew_is_another_log() {
    let Some(broker) = broker() else { return };
    let topics = Topics::made(broker).await;
    let before = topics.open().await.id();
    topics.remove(&[&topics.changes()]).await;
    init(&topics.address, &topics.settings, wanted(PARTITIONS)).await.unwrap();
    assert_eq!(topics.open().await.id(), before, "the change feed is no part of the log");
    topics.remove(&[&topics.name(Topic::Matches)]).await;
    init(&topics.address, &topics.settings, wanted(PARTITIONS)).await.unwrap();
    assert_ne!(topics.open().await.id(), before);
}

#[tokio::test]
async fn logs_of_one_cluster_differ_by_their_topics() {
    let Some(broker) = broker() else { return };
    let one = Topics::made(broker.clone()).await;
    let two = Topics::made(broker).await;
    assert_ne!(one.open().await.id(), two.open().await.id());
}

#[tokio::test]
async fn an_address_where_nobody_answers_may_pass() {
    // Needs no broker: nobody listens on the port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let topics_at = format!("kafka://{free}");
    let settings = agon_kafka::KafkaSettings { append_timeout_ms: 1_000, ..Default::default() };
    let address = topics_at.parse().unwrap();
    let error = KafkaLog::open(&address, settings).await.err().unwrap();
    let text = error.to_string();
    assert!(error.may_pass(), "{text}");
    for part in [&*topics_at, "refused", "--log"] {
        assert!(text.contains(part), "no {part} in: {text}");
    }
}

/// Makes one topic with the settings of the log, but for the count of its partitions.
async fn made_again(topics: &Topics, name: &str, partitions: i32) -> bool {
    let new = NewTopic::new(name, partitions, TopicReplication::Fixed(1))
        .set("retention.ms", "-1")
        .set("max.message.bytes", "2000000");
    let done = topics.admin().create_topics([&new], &options()).await.unwrap();
    done.iter().all(Result::is_ok)
}
