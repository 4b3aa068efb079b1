//! Names of servers that stop resolving while roles are at work, and then lead elsewhere, as those
//! of pods do that were started anew. Each process has names of the test's own.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};
use support::names::{Names, Way};
use support::nodes::{Nodes, Server};
use support::servers::{Deployment, Role};
use tokio::time::{Duration, Instant, sleep};

const KAFKA: &str = "kafka.agon.test";
const CASSANDRA: &str = "cassandra.agon.test";

/// A server that tells its clients to come elsewhere; dropped, to where it did before.
struct Telling<'a> {
    nodes: &'a Nodes,
    server: Server,
    file: PathBuf,
    before: String,
    was: &'static str,
}

impl Telling<'_> {
    /// With nothing changed.
    fn of(nodes: &Nodes, server: Server) -> Telling<'_> {
        let (file, was) = match server {
            Server::Kafka => ("server.properties", "advertised.listeners=PLAINTEXT://127.0.0.1"),
            Server::Cassandra => ("cassandra.yaml", "broadcast_rpc_address: 127.0.0.1"),
        };
        let file = nodes.file(server, 1, file);
        let before = std::fs::read_to_string(&file).unwrap();
        assert!(before.contains(was), "{was} is not in {}", file.display());
        Telling { nodes, server, file, before, was }
    }

    /// Starts it again, to tell this.
    fn tell(&self, host: &str) {
        let now = self.was.replace("127.0.0.1", host);
        std::fs::write(&self.file, self.before.replacen(self.was, &now, 1)).unwrap();
        self.nodes.restart(self.server, 1);
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.tell("127.0.0.1");
    }
}

/// Where the servers of the tests listen.
fn address(variable: &str) -> SocketAddr {
    std::env::var(variable).unwrap().parse().unwrap()
}

/// The servers at an address of the test's own, and the names that lead there.
struct Place {
    host: String,
    _ways: [Way; 2],
}

impl Place {
    /// An address of this machine where nobody else listens.
    async fn open() -> Place {
        let host = format!("127.{}.{}.1", 64 + rand::random::<u8>() / 2, rand::random::<u8>());
        let ways = [
            Way::open(&host, address("TEST_KAFKA")).await,
            Way::open(&host, address("TEST_CQL")).await,
        ];
        Place { host, _ways: ways }
    }

    fn names(&self) -> [(&str, &str); 2] {
        [(KAFKA, &self.host), (CASSANDRA, &self.host)]
    }
}

/// Whether a role says of a server that it is away, and by which address it looks for it.
async fn misses(role: &Role, check: &str, address: &str) -> bool {
    let answer = role.get("/readyz").await;
    let checks = answer["checks"].as_array().cloned().unwrap_or_default();
    let is_away = |at: &Value| at["name"] == check && at["ok"] == false;
    checks.iter().any(|at| is_away(at) && at["detail"].to_string().contains(address))
}

/// Posts matches of ann's until told, each until it is taken.
struct Posts<'a> {
    api: &'a Role,
    token: String,
    taken: u64,
}

impl Posts<'_> {
    /// One attempt at the next match.
    async fn try_one(&mut self) -> (u16, Value) {
        let id = format!("m-{}", self.taken);
        let players = json!([{"agent": "ann", "placement": 1}, {"agent": id, "placement": 2}]);
        let body = json!({"match_id": id, "environment": "e", "players": players});
        let (status, answer) = self.api.post("/matches", &self.token, body).await;
        assert!([202, 503].contains(&status), "{status} {answer}");
        self.taken += u64::from(status == 202);
        (status, answer)
    }

    async fn until_taken(&mut self, count: u64) {
        let (end, deadline) = (self.taken + count, Instant::now() + support::servers::PATIENCE);
        while self.taken < end {
            let (status, answer) = self.try_one().await;
            if status == 503 {
                assert!(Instant::now() < deadline, "{answer}: {}", self.api.said());
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Waits until the board shows all of them.
    async fn shown(&self) {
        let path = "/leaderboard?environment=e&agent=ann";
        self.api
            .until(path, async || self.api.get(path).await["entries"][0]["games"] == self.taken)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_stop_resolving_and_then_lead_elsewhere_lose_nothing() {
    let Some(nodes) = Nodes::one() else { return };
    let Some(names) = Names::new() else { return };
    let Some(_) = Deployment::new() else { return };
    let at = |name: &str, variable: &str| format!("{name}:{}", address(variable).port());
    let (kafka, cassandra) = (at(KAFKA, "TEST_KAFKA"), at(CASSANDRA, "TEST_CQL"));
    let first = Place::open().await;
    let [broker, store] =
        [Server::Kafka, Server::Cassandra].map(|server| Telling::of(&nodes, server));
    broker.tell(KAFKA);
    store.tell(&first.host);
    names.are(&first.names());
    let mut deployment = Deployment::at(&kafka, &cassandra);
    deployment.names = Some(names);
    let names = || deployment.names.as_ref().unwrap();
    deployment.init(2);
    let consumer = deployment.role("consumer", &[]).await;
    let api = deployment.role("api", &["--intake"]).await;
    let token = deployment.operator(&api).await;
    let (status, answer) = api.post("/api/v1/environments", &token, json!({"id": "e"})).await;
    assert_eq!(status, 202, "{answer}");
    let mut posts = Posts { api: &api, token, taken: 0 };
    posts.until_taken(20).await;
    posts.shown().await;

    // While connections stand nobody asks for a name.
    names().are(&[]);
    for _ in 0..20 {
        let (status, answer) = posts.try_one().await;
        assert_eq!(status, 202, "{answer}");
    }
    posts.shown().await;

    // They break, and nobody knows where to go.
    drop(first);
    for role in [&consumer, &api] {
        role.until("without both", async || {
            misses(role, "log", &kafka).await && misses(role, "store", &cassandra).await
        })
        .await;
    }
    assert_eq!(posts.try_one().await.0, 503);
    let board = api.get("/leaderboard?environment=e&agent=ann").await;
    assert_eq!(board["entries"][0]["games"], posts.taken, "{board}");

    // Elsewhere, as pods that were started anew.
    let second = Place::open().await;
    store.tell(&second.host);
    assert!(misses(&api, "store", &cassandra).await, "its name leads nowhere yet");
    names().are(&second.names());
    consumer.ready().await;
    api.ready().await;
    posts.until_taken(20).await;
    posts.shown().await;
    for role in [consumer, api] {
        assert_eq!(role.terminate().await, Some(0));
    }
    deployment.verified();
}
