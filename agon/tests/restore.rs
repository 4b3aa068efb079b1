//! Copies that are put back, as docs/operations.md says to make them: of the store alone, of log
//! and store together, of the log alone; in a directory, and on servers. Whatever is put back, the
//! store equals the fold of the log again, or the start is refused with the remedy.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::nodes::{Nodes, Server as Kind};
use support::servers::{Deployment, PATIENCE};
use support::{Server, add_user, expect, http, matches_csv, stderr, stdout, text, verify};
use tempfile::TempDir;

/// What does not depend on when things were appended, folded and flushed.
fn folded(report: &Value) -> [Value; 3] {
    ["rows", "hash", "differences"].map(|key| report[key].clone())
}

/// Copies a directory as it is.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Puts a copy where something else is.
fn put_back(copied: &Path, to: &Path) {
    fs::remove_dir_all(to).unwrap();
    copy(copied, to);
}

/// Matches before a copy is made, and with those that come after it.
const EARLY: u32 = 500;
const LATE: u32 = 1_200;

/// A file whose first lines are those of any shorter one.
fn matches(file: &Path, lines: u32) {
    matches_csv(file, lines, 20_261_121);
}

/// A directory to which matches were imported twice, with a copy of it as it was in between.
struct Site {
    dir: TempDir,
    data: PathBuf,
    copied: PathBuf,
    /// What `verify` says after the first import, and after both.
    early: Value,
    late: Value,
}

impl Site {
    fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let (data, copied) = (dir.path().join("data"), dir.path().join("copied"));
        add_user(&data, "ana", "operator");
        let mut site = Site { dir, data, copied, early: Value::Null, late: Value::Null };
        site.import(EARLY);
        site.early = verify(&site.data);
        copy(&site.data, &site.copied);
        // Users are no part of log or store: this one is in the new directory alone.
        add_user(&site.data, "bo", "viewer");
        site.import(LATE);
        site.late = verify(&site.data);
        for report in [&site.early, &site.late] {
            assert_eq!(report["differences"], 0, "{report}");
        }
        assert!(site.early["rows"].as_u64() < site.late["rows"].as_u64());
        site
    }

    fn import(&self, lines: u32) {
        let file = self.dir.path().join("matches.csv");
        matches(&file, lines);
        let import = ["import", "matches", text(&file), "--environment", "e"];
        expect(0, &[&import[..], &["--data", text(&self.data)]].concat());
    }

    /// Starts a server and waits until it has folded all that it found.
    async fn caught_up(&self) -> Server {
        let server = Server::start(&self.data, &[]);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = http().get(format!("{}/readyz", server.base)).send().await.unwrap();
            if answer.status() == 200 {
                return server;
            }
            let said = answer.text().await.unwrap();
            assert!(Instant::now() < deadline, "not ready: {said}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn users(&self) -> String {
        stdout(&expect(0, &["user", "list", "--data", text(&self.data)]))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_store_catches_up_with_the_log() {
    let site = Site::new();
    put_back(&site.copied.join("store"), &site.data.join("store"));
    // Seen before anything is mended: the copy is what it was, and behind.
    let behind = verify(&site.data);
    assert_ne!(folded(&behind), folded(&site.late), "the copy was not put back");
    let server = site.caught_up().await;
    let last = format!("/api/v1/environments/e/matches/m-{}", LATE - 1);
    assert_eq!(server.get(&last).await.0, 200);
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(folded(&verify(&site.data)), folded(&site.late));
    assert!(site.users().contains("bo\tviewer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_lost_is_folded_anew() {
    let site = Site::new();
    fs::remove_dir_all(site.data.join("store")).unwrap();
    assert_eq!(site.caught_up().await.terminate(), Some(0));
    assert_eq!(folded(&verify(&site.data)), folded(&site.late));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_directory_is_as_it_was_and_goes_on() {
    let site = Site::new();
    put_back(&site.copied, &site.data);
    assert_eq!(folded(&verify(&site.data)), folded(&site.early));
    assert!(site.users().contains("ana\toperator") && !site.users().contains("bo"));
    // What was lost with the newer one can be sent again.
    site.import(LATE);
    assert_eq!(site.caught_up().await.terminate(), Some(0));
    assert_eq!(folded(&verify(&site.data)), folded(&site.late));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_log_beside_a_newer_store_is_refused_until_it_is_folded_anew() {
    let site = Site::new();
    put_back(&site.copied.join("log"), &site.data.join("log"));
    let refused = expect(3, &["serve", "--data", text(&site.data), "--listen", "127.0.0.1:0"]);
    let said = stderr(&refused);
    assert!(said.contains("the log ends at") && said.contains("agon rebuild"), "{said}");
    expect(0, &["rebuild", "--data", text(&site.data)]);
    assert_eq!(folded(&verify(&site.data)), folded(&site.early));
}

/// A deployment on one node of each, that tests may kill.
struct Servers {
    deployment: Deployment,
    dir: PathBuf,
    nodes: Nodes,
}

impl Servers {
    fn new() -> Option<Servers> {
        let nodes = Nodes::one()?;
        let dir = PathBuf::from(std::env::var("TEST_SERVERS").unwrap());
        let deployment = Deployment::new()?;
        deployment.init(2);
        Some(Servers { deployment, dir, nodes })
    }

    /// Appends a file, and lets a consumer fold to the end.
    async fn import(&self, lines: u32) -> Value {
        let file = self.deployment.file("matches.csv", "");
        matches(file.as_ref(), lines);
        self.deployment.import("matches", &file, &["--environment", "e"]);
        self.caught_up().await
    }

    async fn caught_up(&self) -> Value {
        let consumer = self.deployment.role("consumer", &[]).await;
        consumer.drained().await;
        assert_eq!(consumer.terminate().await, Some(0));
        self.deployment.verified()
    }

    /// Does something to the directories of these servers while they are down.
    fn while_down(&mut self, kinds: &[Kind], to_do: impl Fn(&Path)) {
        for kind in kinds {
            self.nodes.kill(*kind, 1);
        }
        for kind in kinds {
            to_do(&self.dir.join(match kind {
                Kind::Kafka => "kafka-1",
                Kind::Cassandra => "cassandra-1",
            }));
        }
        self.nodes.bring_back();
    }
}

/// The files of the servers themselves, copied while they are down: what a snapshot of their
/// volumes is.
#[tokio::test(flavor = "multi_thread")]
async fn on_servers_an_older_keyspace_catches_up_and_both_together_are_as_they_were() {
    let Some(mut servers) = Servers::new() else { return };
    let copies = tempfile::tempdir().unwrap();
    let copy_of = |node: &Path| copies.path().join(node.file_name().unwrap());
    let both = [Kind::Kafka, Kind::Cassandra];
    let early = servers.import(EARLY).await;
    servers.while_down(&both, |node| copy(node, &copy_of(node)));
    let late = servers.import(LATE).await;
    assert!(early["rows"].as_u64() < late["rows"].as_u64());

    servers.while_down(&[Kind::Cassandra], |node| put_back(&copy_of(node), node));
    let behind = servers.deployment.verify();
    assert_ne!(folded(&behind), folded(&late), "the copy was not put back");
    assert_eq!(folded(&servers.caught_up().await), folded(&late));

    servers.while_down(&both, |node| put_back(&copy_of(node), node));
    assert_eq!(folded(&servers.caught_up().await), folded(&early));
    assert_eq!(folded(&servers.import(LATE).await), folded(&late));
}
