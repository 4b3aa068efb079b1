//! Three brokers and three nodes of the store, each killed or paused while events flow: with one
//! away everything goes on, with two away writes are refused and folds wait, and afterwards every
//! acknowledged event counts once.
//!
//! `scripts/servers run --kafka-nodes 3 --cassandra-nodes 3 -- cargo test -p agon --test
//! three_nodes`
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use support::nodes::{Nodes, Server};
use support::servers::{Deployment, Role};
use support::stdout;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// Two tests never break the same nodes at once.
static TURN: Mutex<()> = Mutex::const_new(());
/// Environments with a writer each, so many that every partition has one.
const WRITERS: usize = 9;
const PARTITIONS: u32 = 3;
/// Matches that each writer must have acknowledged before something counts as going on.
const SOME: u64 = 3;
/// Looks until a consumer must be full.
const ROUNDS_MAX: usize = 100;
/// Matches that wait while the store is away; far more than a consumer may hold in memory.
const WAITING: u64 = 12_000;
/// How much more memory a consumer may take meanwhile, in KiB: its limits are far below.
const MEMORY_MORE_KIB_MAX: u64 = 64 << 10;

/// Writers that post one match after the other, each until it is acknowledged.
struct Flow {
    stop: Arc<AtomicBool>,
    /// By writer.
    acknowledged: Arc<[AtomicU64; WRITERS]>,
    /// Those of them that no earlier attempt had brought into the log, by writer.
    appended: Arc<[AtomicU64; WRITERS]>,
    /// Answers that refused, by writer.
    refused: Arc<[AtomicU64; WRITERS]>,
    tasks: JoinSet<()>,
}

impl Flow {
    /// Begins when all environments are defined.
    async fn begin(producer: &Role, token: &str) -> Flow {
        for writer in 0..WRITERS {
            let body = json!({"id": environment(writer)});
            let (status, answer) = producer.post("/api/v1/environments", token, body).await;
            assert_eq!(status, 202, "{answer}");
        }
        let mut flow = Flow {
            stop: Arc::default(),
            acknowledged: Arc::default(),
            appended: Arc::default(),
            refused: Arc::default(),
            tasks: JoinSet::new(),
        };
        for writer in 0..WRITERS {
            let (stop, acknowledged) = (flow.stop.clone(), flow.acknowledged.clone());
            let (appended, refused) = (flow.appended.clone(), flow.refused.clone());
            let url = format!("{}/matches", producer.base);
            let token = token.to_owned();
            flow.tasks.spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let body = game(writer, acknowledged[writer].load(Ordering::SeqCst));
                    let is_known = loop {
                        match acknowledged_as_known(&url, &token, &body).await {
                            Some(is_known) => break is_known,
                            None => refused[writer].fetch_add(1, Ordering::SeqCst),
                        };
                    };
                    appended[writer].fetch_add(u64::from(!is_known), Ordering::SeqCst);
                    acknowledged[writer].fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        flow
    }

    /// Waits until every writer has more of these than now.
    async fn more(&mut self, role: &Role, what: &str, more: u64) {
        let counters = match what {
            "acknowledged" => &self.acknowledged,
            _ => &self.refused,
        };
        let before = counts(counters);
        role.until(&format!("{more} more {what} of every writer"), async || {
            let now = counts(counters);
            now.iter().zip(&before).all(|(now, before)| *now >= before + more)
        })
        .await;
        // A writer that failed has said why.
        if let Some(ended) = self.tasks.try_join_next() {
            ended.unwrap();
        }
    }

    /// Ends all writers; answers how many matches each one had acknowledged.
    async fn end(self) -> [u64; WRITERS] {
        self.stop.store(true, Ordering::SeqCst);
        self.tasks.join_all().await;
        counts(&self.acknowledged)
    }
}

fn counts(counters: &[AtomicU64; WRITERS]) -> [u64; WRITERS] {
    counters.each_ref().map(|counter| counter.load(Ordering::SeqCst))
}

fn environment(writer: usize) -> String {
    format!("arena-{writer}")
}

fn game(writer: usize, number: u64) -> Value {
    let (one, other) = (number % 7, 7 + number % 5);
    json!({"environment": environment(writer), "match_id": format!("m{number}"), "players": [
        {"agent": format!("agent-{one}"), "placement": 1},
        {"agent": format!("agent-{other}"), "placement": 2}]})
}

/// Whether the log had it already; none where it was refused, in the one way that says: later.
async fn acknowledged_as_known(url: &str, token: &str, body: &Value) -> Option<bool> {
    let request = support::http().post(url).bearer_auth(token).json(body);
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await.unwrap();
    if status == 202 {
        let answer: Value = serde_json::from_str(&text).unwrap();
        return Some(answer["duplicate"].as_bool().unwrap());
    }
    assert_eq!(status, 503, "{text}");
    assert!(headers.contains_key("retry-after"), "{headers:?}");
    assert!(text.contains("log_unavailable"), "{text}");
    None
}

/// Everything that runs, and the writers.
struct Trial {
    nodes: Nodes,
    deployment: Deployment,
    consumer: Role,
    producer: Role,
    flow: Flow,
}

impl Trial {
    async fn begin() -> Option<Trial> {
        let deployment = Deployment::new()?;
        let nodes = Nodes::three()?;
        deployment.init(PARTITIONS);
        // It chose three copies by itself, of which min.insync.replicas is checked with them.
        let partitions = PARTITIONS.to_string();
        let init = ["init", "--partitions", &partitions, "--replication"];
        deployment.expect(0, &[&init[..], &["3"]].concat());
        deployment.expect(3, &[&init[..], &["1"]].concat());
        let consumer = deployment.role("consumer", &[]).await;
        let producer = deployment.role("producer", &[]).await;
        let token = deployment.operator(&producer).await;
        let mut flow = Flow::begin(&producer, &token).await;
        flow.more(&producer, "acknowledged", SOME).await;
        Some(Trial { nodes, deployment, consumer, producer, flow })
    }

    /// Waits until writes go on.
    async fn writes_go_on(&mut self) {
        self.flow.more(&self.producer, "acknowledged", SOME).await;
    }

    /// Waits until more is stored than now.
    async fn folds_go_on(&self) {
        let before = stored(&self.consumer).await;
        let more = SOME * WRITERS as u64;
        self.consumer
            .until(&format!("{more} more stored than {before}"), async || {
                stored(&self.consumer).await >= before + more
            })
            .await;
    }

    /// Records that the consumer has read and folded.
    async fn consumed(&self) -> u64 {
        self.consumer.metric("agon_events_consumed_total{").await as u64
    }

    /// Waits until the consumer reads nothing although writes go on; answers how many records it
    /// has read.
    async fn folds_wait(&mut self) -> u64 {
        for _ in 0..ROUNDS_MAX {
            let before = self.consumed().await;
            self.writes_go_on().await;
            // Room for a little more is left until it is full; then there is none.
            if self.consumed().await == before {
                return before;
            }
        }
        panic!("it reads on and on: {}", self.consumer.said());
    }

    /// Every acknowledged match counts exactly once, and the store equals the log.
    async fn end(self, more: &[(&str, u64)]) {
        let acknowledged = self.flow.end().await;
        self.consumer.drained().await;
        let own = acknowledged.iter().enumerate();
        let own = own.map(|(writer, count)| (environment(writer), *count));
        let more = more.iter().map(|(name, count)| ((*name).to_owned(), *count));
        for (name, count) in own.chain(more) {
            let board = ["board", "--environment", &name, "--format", "json", "--limit", "1000"];
            let board = stdout(&self.deployment.expect(0, &board));
            let board: Value = serde_json::from_str(&board).unwrap();
            let entries = board["entries"].as_array().unwrap().iter();
            let games: u64 = entries.map(|entry| entry["games"].as_u64().unwrap()).sum();
            assert_eq!(games, 2 * count, "{name}: {count} acknowledged");
        }
        self.deployment.verified();
        assert_eq!(self.consumer.terminate().await, Some(0));
    }
}

/// Records that are stored, as the consumer has it; 0 while it does not know.
async fn stored(consumer: &Role) -> u64 {
    let status = consumer.get("/status").await;
    let lines = status["partitions"].as_array().into_iter().flatten();
    lines.filter_map(|line| line["applied"].as_u64()).map(|applied| applied + 1).sum()
}

/// Each broker is the leader of some partitions: whoever goes, what was acknowledged is kept.
#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_without_one_broker_and_wait_without_two() {
    let _turn = TURN.lock().await;
    let Some(mut trial) = Trial::begin().await else { return };
    for node in 1..=3 {
        trial.nodes.kill(Server::Kafka, node);
        trial.writes_go_on().await;
        trial.folds_go_on().await;
        trial.nodes.bring_back();
    }
    trial.nodes.pause(Server::Kafka, 2);
    trial.writes_go_on().await;
    trial.nodes.bring_back();
    trial.writes_go_on().await;

    trial.nodes.kill(Server::Kafka, 1);
    trial.nodes.pause(Server::Kafka, 3);
    // What was under way when the second one went is answered now.
    trial.flow.more(&trial.producer, "refused", 1).await;
    let appended = counts(&trial.flow.appended);
    trial.flow.more(&trial.producer, "refused", 1).await;
    // What a quorum took before, with an answer that came too late, may be known when it is sent
    // again. Nobody could take anything more.
    assert_eq!(counts(&trial.flow.appended), appended, "nobody could acknowledge that");
    trial.nodes.bring_back();
    trial.writes_go_on().await;
    trial.folds_go_on().await;
    trial.end(&[]).await;
}

/// Each node coordinates some requests: whoever goes, a quorum takes the flush.
#[tokio::test(flavor = "multi_thread")]
async fn folds_go_on_without_one_node_of_the_store_and_wait_without_two() {
    let _turn = TURN.lock().await;
    let Some(mut trial) = Trial::begin().await else { return };
    trial.nodes.kill(Server::Cassandra, 1);
    trial.folds_go_on().await;
    trial.nodes.bring_back();
    trial.nodes.pause(Server::Cassandra, 2);
    trial.folds_go_on().await;
    trial.nodes.bring_back();

    let memory_kib = trial.consumer.memory_kib();
    trial.nodes.kill(Server::Cassandra, 3);
    trial.nodes.pause(Server::Cassandra, 1);
    let consumed = trial.consumed().await;
    let lines = (0..WAITING).map(|n| format!("m{n},2026-01-01,a{},b{},1\n", n % 97, n % 89));
    let text = format!("match_id,played_on,a,b,outcome_a\n{}", lines.collect::<String>());
    let file = trial.deployment.file("waiting.csv", &text);
    trial.deployment.import("matches", &file, &["--environment", "waiting"]);
    let more = trial.folds_wait().await - consumed;
    assert!(more < WAITING / 2, "{more} of {WAITING} were folded into memory");
    let more_kib = trial.consumer.memory_kib().saturating_sub(memory_kib);
    assert!(more_kib < MEMORY_MORE_KIB_MAX, "{more_kib} KiB more than {memory_kib} KiB");
    trial.nodes.bring_back();
    trial.folds_go_on().await;
    trial.end(&[("waiting", WAITING)]).await;
}
