//! TLS to a real broker, which only a build with the feature `tls` speaks. Runs on
//! `scripts/servers start --auth yes`.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use agon_kafka::{
    InitSettings, KafkaAddress, KafkaLog, KafkaSettings, Login, Mechanism, OpenError, TlsSettings,
    init,
};
use agon_ports::{Append, EventLog, ReadLimits};
use agon_schema::{Record, Topic, TopicPartition};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);
const WANTED: InitSettings =
    InitSettings { partitions: 1, replication: None, changes_retention_ms: 60_000 };

fn variable(name: &str) -> Option<String> {
    let found = std::env::var(name).ok();
    if found.is_none() {
        eprintln!("skipped: {name} is not set; run scripts/servers --auth yes");
    }
    found
}

/// The broker of a variable, and settings that trust it.
fn trusting(name: &str) -> Option<(KafkaAddress, KafkaSettings)> {
    let address = format!("kafka://{}", variable(name)?).parse().unwrap();
    let ca_file = Some(PathBuf::from(variable("TEST_SECURE_CA")?));
    let tls = Some(TlsSettings { ca_file, ..TlsSettings::default() });
    let topic_prefix = format!("t{}.", Uuid::now_v7().simple());
    Some((address, KafkaSettings { tls, topic_prefix, ..KafkaSettings::default() }))
}

/// Makes topics, appends a record and reads it.
async fn works(address: &KafkaAddress, settings: KafkaSettings) {
    init(address, &settings, WANTED).await.unwrap();
    let log = KafkaLog::open(address, settings).await.unwrap();
    let target = TopicPartition { topic: Topic::Matches, partition: 0 };
    let record = Record { key: vec![1], headers: vec![], value: vec![2; 100], appended_at_ms: 0 };
    log.append(vec![Append { target, record: record.clone() }]).await.unwrap();
    let mut reader = log.read([(target, 0)].into()).await.unwrap();
    let limits = ReadLimits { records_max: 10, bytes_max: 1 << 20 };
    let read = reader.next(limits, PATIENCE).await.unwrap();
    assert_eq!(read[0].record.value, record.value);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_and_go_over_tls() {
    let Some((address, settings)) = trusting("TEST_SECURE_KAFKA_TLS") else { return };
    works(&address, settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_proved_over_tls() {
    let Some((address, settings)) = trusting("TEST_SECURE_KAFKA_SASL_TLS") else { return };
    let (user, password) = ("admin".to_owned(), "admin-secret".to_owned());
    let login = Some(Login { user, password, mechanism: Mechanism::ScramSha256 });
    works(&address, KafkaSettings { login, ..settings }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_not_trusted_is_refused_for_good() {
    let Some((address, settings)) = trusting("TEST_SECURE_KAFKA_TLS") else { return };
    let settings = KafkaSettings { tls: Some(TlsSettings::default()), ..settings };
    let refused = init(&address, &settings, WANTED).await.unwrap_err();
    let said = refused.to_string();
    assert!(!refused.may_pass() && said.contains(&address.to_string()), "{said}");
    assert!(said.contains("--log-ca"), "{said}");
}

/// A broker that stops hangs up in the same way, so this is waited for, and named at the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_tls_is_named() {
    let Some((_, settings)) = trusting("TEST_SECURE_KAFKA_TLS") else { return };
    let Some(plain) = variable("TEST_SECURE_KAFKA") else { return };
    let address: KafkaAddress = format!("kafka://{plain}").parse().unwrap();
    let away = init(&address, &settings, WANTED).await.unwrap_err();
    assert!(matches!(away, OpenError::Away { .. }), "{away}");
    assert!(away.to_string().contains("leave out --log-tls"), "{away}");
}

/// The test below, as another process: it ends while eight readers shake hands with the broker.
const CHILD_PREFIX: &str = "TEST_TLS_CHILD_PREFIX";

/// OpenSSL must not be taken down beneath threads that speak it.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_ends_in_peace_while_readers_connect() {
    let Some((address, mut settings)) = trusting("TEST_SECURE_KAFKA_TLS") else { return };
    if let Ok(prefix) = std::env::var(CHILD_PREFIX) {
        settings.topic_prefix = prefix;
        let log = KafkaLog::open(&address, settings).await.unwrap();
        let target = TopicPartition { topic: Topic::Matches, partition: 0 };
        for _ in 0..8 {
            drop(log.read([(target, 0)].into()).await.unwrap());
        }
        return;
    }
    init(&address, &settings, WANTED).await.unwrap();
    for run in 0..20 {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_process_ends_in_peace_while_readers_connect"])
            .env(CHILD_PREFIX, &settings.topic_prefix)
            .output()
            .unwrap();
        assert!(child.status.success(), "run {run}: {}", child.status);
    }
}
