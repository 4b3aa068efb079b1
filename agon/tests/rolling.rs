//! A new version rolled out under load, on real servers: two consumers and two API processes are
//! replaced one after the other while matches are posted and everything is read without a pause.
//! Nothing is lost, nothing counts twice, no read fails.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::balancer::Balancer;
use support::servers::{Deployment, Role};
use support::{Server, http};
use tokio::task::JoinSet;

/// The least that a broker allows.
const SESSION: [&str; 2] = ["--session-timeout", "6s"];
/// Long beside the pause between two probes, however busy the machine is.
const DELAY: [&str; 2] = ["--shutdown-delay", "6s"];
/// Writers, each with an environment of its own.
const WRITERS: usize = 3;
/// Matches that a writer posts at once.
const BATCH: u64 = 10;
/// Requests of every caller that must be answered between two replacements.
const SOME: u64 = 10;
/// Matches of a page.
const PAGE: usize = 500;

/// What was seen of the load.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    /// Batches, by writer.
    acknowledged: [AtomicU64; WRITERS],
    /// Attempts of writers that were not answered by 202.
    retried: AtomicU64,
    /// By reader.
    read: [AtomicU64; 4],
    failed: Mutex<Vec<String>>,
    longest_read: Mutex<Duration>,
}

/// Callers that keep their connections, and ask again as soon as they are answered.
struct Load {
    seen: Arc<Seen>,
    tasks: JoinSet<()>,
}

fn environment(writer: usize) -> String {
    format!("arena-{writer}")
}

fn games(writer: usize, batch: u64) -> Value {
    let game = |number: u64| {
        json!({"environment": environment(writer), "match_id": format!("m{number}"), "players": [
            {"agent": format!("agent-{}", number % 7), "placement": 1},
            {"agent": format!("agent-{}", 7 + number % 5), "placement": 2}]})
    };
    (batch * BATCH..(batch + 1) * BATCH).map(game).collect()
}

impl Load {
    /// Begins once each environment has a board.
    async fn begin(base: &str, api: &Role, token: &str) -> Load {
        for writer in 0..WRITERS {
            let body = json!({"id": environment(writer)});
            let (status, answer) = api.post("/api/v1/environments", token, body).await;
            assert_eq!(status, 202, "{answer}");
            let (status, answer) = api.post("/matches", token, games(writer, 0)).await;
            assert_eq!(status, 202, "{answer}");
            let board = format!("/leaderboard?environment={}", environment(writer));
            api.until(&board, async || api.get(&board).await["total"] == 12).await;
        }
        let (seen, mut tasks) = (Arc::new(Seen::default()), JoinSet::new());
        for writer in 0..WRITERS {
            tasks.spawn(write(Arc::clone(&seen), writer, base.to_owned(), token.to_owned()));
        }
        let paths = [
            "/leaderboard?environment=arena-0",
            "/stats",
            "/api/v1/agents/agent-0/ratings",
            "/api/v1/environments/arena-1/matches/m0",
        ];
        for (reader, path) in paths.into_iter().enumerate() {
            let url = format!("{base}{path}");
            tasks.spawn(read(Arc::clone(&seen), reader, url, token.to_owned()));
        }
        let mut load = Load { seen, tasks };
        load.goes_on(api).await;
        load
    }

    /// Waits until every caller was answered some more.
    async fn goes_on(&mut self, role: &Role) {
        let counts = || {
            let all = self.seen.acknowledged.iter().chain(&self.seen.read);
            all.map(|count| count.load(Ordering::SeqCst)).collect::<Vec<_>>()
        };
        let before = counts();
        role.until("answered some more", async || {
            counts().iter().zip(&before).all(|(now, before)| *now >= before + SOME)
                || !self.seen.failed.lock().unwrap().is_empty()
        })
        .await;
        // A caller that failed has said why.
        if let Some(ended) = self.tasks.try_join_next() {
            ended.unwrap();
        }
    }

    async fn end(self) -> Arc<Seen> {
        self.seen.stop.store(true, Ordering::SeqCst);
        self.tasks.join_all().await;
        self.seen
    }
}

/// Posts one batch after the other, each until it is acknowledged.
async fn write(seen: Arc<Seen>, writer: usize, base: String, token: String) {
    let client = http();
    while !seen.stop.load(Ordering::SeqCst) {
        // The first one is there.
        let body = games(writer, 1 + seen.acknowledged[writer].load(Ordering::SeqCst));
        loop {
            let request = client.post(format!("{base}/matches")).bearer_auth(&token).json(&body);
            match request.send().await {
                Ok(answer) if answer.status() == 202 => {
                    let answer: Value = answer.json().await.unwrap();
                    assert_eq!(answer["rejected"], json!([]), "{answer}");
                    break;
                }
                Ok(answer) => assert_eq!(answer.status(), 503, "{}", answer.text().await.unwrap()),
                Err(_) => {}
            }
            seen.retried.fetch_add(1, Ordering::SeqCst);
        }
        seen.acknowledged[writer].fetch_add(1, Ordering::SeqCst);
    }
}

/// Reads one address again and again; nothing is tried twice.
async fn read(seen: Arc<Seen>, reader: usize, url: String, token: String) {
    let client = http();
    while !seen.stop.load(Ordering::SeqCst) {
        let started = Instant::now();
        let failure = match client.get(&url).bearer_auth(&token).send().await {
            Ok(answer) if answer.status() == 200 => {
                answer.json::<Value>().await.err().map(|error| format!("{error:?}"))
            }
            Ok(answer) => Some(answer.text().await.unwrap_or_default()),
            Err(error) => Some(format!("{error:?}")),
        };
        let took = started.elapsed();
        let mut longest = seen.longest_read.lock().unwrap();
        *longest = took.max(*longest);
        drop(longest);
        match failure {
            None => _ = seen.read[reader].fetch_add(1, Ordering::SeqCst),
            Some(failure) => seen.failed.lock().unwrap().push(format!("GET {url}: {failure}")),
        }
    }
}

/// The matches of an environment by their ids, as the API lists them.
async fn listed(api: &Role, environment: &str) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/matches?environment={environment}&limit={PAGE}{cursor}");
        let page = api.get(&path).await;
        let items = page["items"].as_array().unwrap_or_else(|| panic!("{path}: {page}"));
        ids.extend(items.iter().map(|item| item["match_id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_under_load_loses_nothing_doubles_nothing_and_fails_no_read() {
    let Some(deployment) = Deployment::new() else { return };
    deployment.init(4);
    let mut consumers =
        [deployment.role("consumer", &SESSION).await, deployment.role("consumer", &SESSION).await];
    let intake = ["--intake"];
    let delayed = [&intake[..], &DELAY].concat();
    let first = deployment.role("api", &intake).await;
    let second = deployment.role("api", &delayed).await;
    let balancer = Balancer::start().await;
    balancer.add(&first).await;
    balancer.add(&second).await;
    let token = deployment.operator(&first).await;
    let started = Instant::now();
    let mut load = Load::begin(&balancer.base, &first, &token).await;

    for consumer in &mut consumers {
        let next = deployment.role("consumer", &SESSION).await;
        let old = std::mem::replace(consumer, next);
        assert_eq!(old.terminate().await, Some(0));
        load.goes_on(consumer).await;
    }
    // As in Kubernetes: it gets no new connections, and is then asked to end.
    let third = deployment.role("api", &intake).await;
    balancer.add(&third).await;
    balancer.take_out(&first);
    load.goes_on(&third).await;
    assert_eq!(first.terminate().await, Some(0));
    load.goes_on(&third).await;
    // As behind anything that asks /readyz: it is asked to end, and says so while it goes on.
    let fourth = deployment.role("api", &intake).await;
    balancer.add(&fourth).await;
    second.signal("TERM");
    second.until("out", async || !balancer.is_in(&second)).await;
    load.goes_on(&fourth).await;
    let mut second = second;
    assert_eq!(second.ended().await, Some(0));
    balancer.take_out(&second);
    load.goes_on(&fourth).await;

    let seen = load.end().await;
    let took = started.elapsed();
    let failed = std::mem::take(&mut *seen.failed.lock().unwrap());
    assert!(failed.is_empty(), "{} reads failed: {:?}", failed.len(), failed.first());
    assert_eq!(balancer.refused(), 0, "connections were refused");
    for _ in 0..2 {
        for consumer in &consumers {
            consumer.ready().await;
            consumer.drained().await;
        }
    }
    let mut acknowledged = 0;
    for writer in 0..WRITERS {
        let name = environment(writer);
        let count = BATCH * (1 + seen.acknowledged[writer].load(Ordering::SeqCst));
        acknowledged += count;
        let path = format!("/leaderboard?environment={name}&limit=1000");
        fourth
            .until(&format!("{count} matches of {name}"), async || {
                let board = fourth.get(&path).await;
                let entries = board["entries"].as_array().into_iter().flatten();
                let games: u64 = entries.filter_map(|entry| entry["games"].as_u64()).sum();
                assert!(games <= 2 * count, "{name}: {games} games of {count} matches");
                games == 2 * count
            })
            .await;
        let ids = listed(&fourth, &name).await;
        let expected: BTreeSet<String> = (0..count).map(|number| format!("m{number}")).collect();
        assert_eq!(ids.len(), expected.len(), "{name}: matches that are listed");
        assert_eq!(BTreeSet::from_iter(ids), expected, "{name}");
    }
    deployment.verified();
    let reads: u64 = seen.read.iter().map(|count| count.load(Ordering::SeqCst)).sum();
    eprintln!(
        "rollout: 4 processes replaced in {:.1} s; {acknowledged} matches acknowledged, each \
         counted once, {} batches tried again; {reads} reads, 0 failed, the longest {} ms",
        took.as_secs_f64(),
        seen.retried.load(Ordering::SeqCst),
        seen.longest_read.lock().unwrap().as_millis()
    );
    for role in consumers.into_iter().chain([third, fourth]) {
        assert_eq!(role.terminate().await, Some(0));
    }
}

/// No server is needed for this.
#[tokio::test]
async fn who_is_asked_to_end_says_so_first_and_a_second_signal_is_for_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--shutdown-delay", "1h"]);
    let status = async |path: &str| server.get(path).await.0;
    while status("/readyz").await != 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.signal("TERM");
    while status("/readyz").await != 503 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (_, readiness) = server.get("/readyz").await;
    assert!(readiness["detail"].as_str().unwrap().contains("stopping"), "{readiness}");
    for path in ["/livez", "/api/v1/environments"] {
        assert_eq!(status(path).await, 200, "{path}");
    }
    assert_eq!(server.terminate(), Some(130));
}
