//! The live source by role, on real servers: 20,000 real edits from a server that cuts, refuses
//! and repeats go through Kafka into Cassandra, while the producer and a consumer are
//! killed; the statistics are the figures of the data.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader};

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use support::replay::Replay;
use support::servers::{Deployment, Role};
use support::{http, shared};

/// The least that a broker allows.
const SESSION: [&str; 2] = ["--session-timeout", "6s"];
/// Events of the data; counted in it without any of this project's code.
const EVENTS: u64 = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_counts_once_through_the_deaths_of_roles() {
    let Some(deployment) = Deployment::new() else { return };
    let Some(file) = shared("wikimedia-edits-2015/recentchange_shaped.jsonl.gz") else { return };
    let events = BufReader::new(GzDecoder::new(File::open(file).unwrap()));
    let events = events.lines().map(Result::unwrap).collect();
    let upstream = Replay::start(events).await;
    let source = ["--source", "wikimedia", "--source-url", &upstream.url];

    deployment.init(4);
    let consumer = deployment.role("consumer", &SESSION).await;
    let victim = deployment.role("consumer", &SESSION).await;
    let api = deployment.role("api", &[]).await;
    for _ in 0..2 {
        let producer = deployment.role("producer", &source).await;
        producer.until("a quarter", async || appended(&producer).await > EVENTS / 4).await;
        producer.kill();
    }
    victim.kill();
    let _producer = deployment.role("producer", &source).await;

    let token = deployment.operator(&api).await;
    let counted = async || {
        let answer = http().get(format!("{}/stats", api.base)).bearer_auth(&token).send().await;
        answer.unwrap().json::<Value>().await.unwrap_or_default()
    };
    api.until("all counted", async || counted().await["messages"] == EVENTS).await;
    let stats = counted().await;
    let servers = stats["by_server_name"].as_object().map(|servers| servers.len());
    let figures = ["messages", "distinct_users", "bots", "non_bots"].map(|name| &stats[name]);
    assert_eq!(json!(figures), json!([EVENTS, 5850, 8773, 11227]), "{stats}");
    assert_eq!(servers, Some(49), "{stats}");
    consumer.drained().await;
    deployment.verified();
}

async fn appended(producer: &Role) -> u64 {
    producer.metric("agon_source_events_total{result=\"appended\"}").await as u64
}
