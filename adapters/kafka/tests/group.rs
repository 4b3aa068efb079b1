//! The group on a real broker keeps the contract of its port; a process that was stopped for too
//! long hears that it is lost, and comes back.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use agon_kafka::{GroupProtocol, InitSettings, KafkaAddress, KafkaGroup, KafkaSettings, init};
use agon_ports::conformance::group::GroupFixture;
use agon_ports::{Assignment, Group, GroupMember, GroupNews};
use agon_schema::{Topic, TopicPartition};
use uuid::Uuid;

const PARTITIONS: u32 = 2;
/// The least that brokers allow unless told otherwise.
const SESSION_TIMEOUT_MS: u32 = 6_000;
/// Makes this test program a member in a process of its own, of the group with this prefix.
const CHILD_PREFIX: &str = "AGON_TEST_GROUP_PREFIX";

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

struct Fixture {
    address: KafkaAddress,
    settings: KafkaSettings,
    is_made: bool,
}

fn fixture(protocol: GroupProtocol) -> Fixture {
    let address = format!("kafka://{}", broker().unwrap()).parse().unwrap();
    let settings = KafkaSettings {
        session_timeout_ms: SESSION_TIMEOUT_MS,
        group_protocol: protocol,
        topic_prefix: format!("{}.", Uuid::now_v7().simple()),
        ..KafkaSettings::default()
    };
    Fixture { address, settings, is_made: false }
}

fn make_classic() -> Fixture {
    fixture(GroupProtocol::Classic)
}

impl Fixture {
    async fn made(&mut self) -> KafkaGroup {
        if !self.is_made {
            let wanted = InitSettings {
                partitions: PARTITIONS,
                replication: Some(1),
                changes_retention_ms: 3_600_000,
            };
            init(&self.address, &self.settings, wanted).await.unwrap();
            self.is_made = true;
        }
        KafkaGroup::new(self.address.clone(), self.settings.clone())
    }
}

#[async_trait::async_trait]
impl GroupFixture for Fixture {
    fn partitions(&self) -> u32 {
        PARTITIONS
    }

    async fn group(&mut self) -> Arc<dyn Group> {
        Arc::new(self.made().await)
    }

    async fn committed(&mut self) -> Assignment {
        self.made().await.committed(PARTITIONS).await.unwrap()
    }
}

agon_ports::group_conformance!(make_classic, skipped_when: no_broker);

/// The protocol that the broker decides.
mod consumer_protocol {
    use super::*;

    /// Members of this protocol need some seconds to agree, and take silence for nothing after
    /// a session timeout.
    fn make() -> Fixture {
        let mut fixture = fixture(GroupProtocol::Consumer);
        fixture.settings.session_timeout_ms = 20_000;
        fixture
    }

    agon_ports::group_conformance!(make, skipped_when: no_broker);
}

async fn hear(member: &mut Box<dyn GroupMember>) -> GroupNews {
    tokio::time::timeout(Duration::from_secs(60), member.next()).await.unwrap().unwrap()
}

#[tokio::test]
async fn members_are_counted() {
    if no_broker() {
        return;
    }
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let group = fixture(protocol).made().await;
        assert_eq!(group.describe_members().await.unwrap(), 0, "{protocol}");
        let mut first = group.join().await.unwrap();
        hear(&mut first).await;
        assert_eq!(group.describe_members().await.unwrap(), 1, "{protocol}");
        let other = group.clone().with_group_id("another");
        assert_eq!(other.describe_members().await.unwrap(), 0, "{protocol}");
        first.leave().await;
        assert_eq!(group.describe_members().await.unwrap(), 0, "{protocol}");
    }
}

#[tokio::test]
async fn a_session_that_the_broker_does_not_take_is_refused() {
    if no_broker() {
        return;
    }
    let mut fixture = make_classic();
    fixture.settings.session_timeout_ms = 1_000;
    let mut member = fixture.made().await.join().await.unwrap();
    let error = tokio::time::timeout(Duration::from_secs(60), member.next()).await.unwrap();
    let error = error.unwrap_err();
    assert_eq!(error.retry, agon_ports::Retry::Never, "{error}");
    assert!(error.to_string().contains("session timeout"), "{error}");
}

/// Not a test by itself: the member of the process that a test below starts. Says on standard
/// output what it hears, and ends when its input does.
#[tokio::test]
async fn the_member_of_another_process() {
    let Ok(topic_prefix) = std::env::var(CHILD_PREFIX) else { return };
    let mut fixture = make_classic();
    fixture.settings.topic_prefix = topic_prefix;
    std::thread::spawn(|| {
        let _ = std::io::stdin().lines().count();
        std::process::exit(0);
    });
    let mut member = fixture.made().await.join().await.unwrap();
    loop {
        let news = member.next().await.unwrap();
        println!("heard {news:?}");
        if matches!(news, GroupNews::Revoked { .. }) {
            member.released().await;
        }
    }
}

fn start_member(prefix: &str) -> (Child, impl FnMut() -> String + use<>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_member_of_another_process", "--nocapture"])
        .env(CHILD_PREFIX, prefix)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let heard = move || loop {
        let line = lines.next().expect("the process goes on").unwrap();
        // The harness writes the name of the test before the first.
        if let Some((_, news)) = line.split_once("heard ") {
            return news.to_owned();
        }
    };
    (child, heard)
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_stopped_hears_that_it_is_lost_and_comes_back() {
    if no_broker() {
        return;
    }
    let mut fixture = make_classic();
    let group = fixture.made().await;
    let (mut child, mut heard) = start_member(&fixture.settings.topic_prefix);
    let all: Vec<_> = TopicPartition::all(PARTITIONS).collect();
    let count = |news: &str| news.matches("TopicPartition").count();
    assert_eq!(count(&heard()), all.len());

    signal(&child, "-STOP");
    let mut heir = group.join().await.unwrap();
    let GroupNews::Assigned(share) = hear(&mut heir).await else { panic!("no share") };
    assert_eq!(share.into_iter().collect::<Vec<_>>(), all);

    signal(&child, "-CONT");
    assert_eq!(heard(), "Revoked { is_lost: true }");
    assert_eq!(hear(&mut heir).await, GroupNews::Revoked { is_lost: false });
    heir.released().await;
    let GroupNews::Assigned(share) = hear(&mut heir).await else { panic!("no share") };
    assert_eq!(share.len() + count(&heard()), all.len());
    assert!(share.iter().any(|source| source.topic == Topic::Matches), "{share:?}");
    heir.leave().await;
    child.kill().unwrap();
    child.wait().unwrap();
}
