//! A log that is not the one the store was folded from, by real brokers: each is refused at the
//! start of a consumer with what was expected and what was found, and the store stays as it was.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::path::Path;
use std::process::Command;

use support::cql::Cql;
use support::servers::Deployment;
use support::{matches_csv, stderr};
use tokio::sync::RwLock;

/// What a keyspace holds, table by table.
type Contents = Vec<(String, Vec<u8>)>;

/// One test stops the broker, which all share.
static BROKER: RwLock<()> = RwLock::const_new(());

/// A deployment whose whole log is stored, nobody at work; none, said aloud, without servers that
/// tools can be used on.
async fn stored() -> Option<(Deployment, Contents)> {
    if std::env::var("TEST_SERVERS").is_err() {
        eprintln!("skipped: TEST_SERVERS is not set; run scripts/servers");
        return None;
    }
    let deployment = Deployment::new()?;
    deployment.init(2);
    let consumer = deployment.role("consumer", &[]).await;
    for environment in ["go", "chess"] {
        import(&deployment, environment);
    }
    consumer.drained().await;
    assert_eq!(consumer.terminate().await, Some(0));
    deployment.verified();
    let contents = contents(&deployment);
    Some((deployment, contents))
}

fn import(deployment: &Deployment, environment: &str) {
    let file = deployment.file("matches.csv", "");
    matches_csv(file.as_ref(), 50, environment.len() as u64);
    deployment.import("matches", &file, &["--environment", environment]);
}

fn contents(deployment: &Deployment) -> Contents {
    let cql = std::env::var("TEST_CQL").unwrap();
    let node = cql.split(',').next().unwrap();
    let (_, keyspace) = deployment.store.rsplit_once('/').unwrap();
    Cql::connect(node, "cassandra", "cassandra").contents(keyspace)
}

/// `scripts/servers` on the servers of the tests.
fn servers(verb: &str, args: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/servers");
    let mut command = Command::new(script);
    command.arg(verb).args(["--dir", &std::env::var("TEST_SERVERS").unwrap()]).args(args);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{verb} {args:?}: {}", stderr(&output));
}

/// Every topic of a deployment.
fn topics(deployment: &Deployment) -> String {
    format!("{}\\.agon\\..*", deployment.prefix.trim_end_matches('.'))
}

/// Fails unless a consumer ends at once with code 3, says all this, and leaves the store alone.
fn refused(deployment: &Deployment, before: &Contents, said: &[&str]) {
    let consumer = ["consumer", "--wait", "1h", "--listen", "127.0.0.1:0"];
    let message = stderr(&deployment.expect(3, &consumer));
    for words in said {
        assert!(message.contains(words), "{words} is not said: {message}");
    }
    let after = contents(deployment);
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        assert!(before == after, "table {name} was written");
    }
    assert_eq!(before.len(), after.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_made_anew_are_another_log() {
    let _uses = BROKER.read().await;
    let Some((deployment, before)) = stored().await else { return };
    servers("tool", &["--", "TopicCommand", "--delete", "--topic", &topics(&deployment)]);
    // Topics are made first, then the store refuses to be that log's.
    deployment.expect(3, &["init", "--partitions", "2"]);
    import(&deployment, "other");
    refused(&deployment, &before, &[&deployment.store, "belongs to log", "agon init --new-epoch"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_clusters_keyspace_is_not_folded_into() {
    let _uses = BROKER.read().await;
    let Some((deployment, before)) = stored().await else { return };
    let other = Deployment::new().unwrap();
    other.init(2);
    import(&other, "go");
    let strange = other.with(&other.prefix, &deployment.store);
    refused(&strange, &before, &[&deployment.store, "belongs to log", "--store"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_partition_counts_are_refused() {
    let _uses = BROKER.read().await;
    let Some((deployment, before)) = stored().await else { return };
    let topics = topics(&deployment);
    let alter = ["--", "TopicCommand", "--alter", "--topic", &topics, "--partitions", "3"];
    servers("tool", &alter);
    refused(&deployment, &before, &[&deployment.store, "made for 2 partitions", "has 3"]);
    let one = format!("{}agon.submissions.v1", deployment.prefix);
    servers("tool", &["--", "TopicCommand", "--alter", "--topic", &one, "--partitions", "4"]);
    refused(&deployment, &before, &[&deployment.log, &one, "partitions 4", "expected 3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_that_passed_over_unread_events_is_refused() {
    let _uses = BROKER.read().await;
    let Some((deployment, before)) = stored().await else { return };
    for environment in ["go", "chess", "shogi", "draughts"] {
        import(&deployment, environment);
    }
    let all = |partition: u32| {
        let topic = format!("{}agon.matches.v1", deployment.prefix);
        format!("{{\"topic\": \"{topic}\", \"partition\": {partition}, \"offset\": -1}}")
    };
    let list = format!("{{\"partitions\": [{}, {}], \"version\": 1}}", all(0), all(1));
    let file = deployment.file("delete.json", &list);
    servers("tool", &["--", "DeleteRecordsCommand", "--offset-json-file", &file]);
    refused(&deployment, &before, &["agon.matches.v1", "begins at", "retention", "agon rebuild"]);
}

/// The broker comes back without what it had not synced, under the same id.
#[tokio::test(flavor = "multi_thread")]
async fn a_tail_that_was_lost_is_refused() {
    let _stops = BROKER.write().await;
    let Some((deployment, before)) = stored().await else { return };
    servers("kill", &["kafka", "1"]);
    let data = Path::new(&std::env::var("TEST_SERVERS").unwrap()).join("kafka-1/data");
    for partition in 0..2 {
        let name = format!("{}agon.matches.v1-{partition}", deployment.prefix);
        let segment = data.join(name).join("00000000000000000000.log");
        let file = std::fs::OpenOptions::new().write(true).open(segment).unwrap();
        // A record batch that is not whole is cut off when the broker starts.
        let bytes = file.metadata().unwrap().len();
        file.set_len(bytes.saturating_sub(10)).unwrap();
    }
    servers("restart", &["kafka", "1"]);
    refused(&deployment, &before, &["agon.matches.v1", "but the log ends at", "agon rebuild"]);
}
