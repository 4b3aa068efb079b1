//! From the acknowledgement of a result to the board that shows it, while others post at half of
//! what the server takes.

use std::time::{Duration, Instant};

use agon_schema::Event;
use serde_json::{Value, json};

use super::Scratch;
use super::child::{Server, add_user};
use super::http::{client, login};
use super::workload::{ENVIRONMENT, Workload};
use crate::cli::BenchRun;
use crate::exit::Exit;
use crate::output;

/// Matches of one posted batch.
const BATCH: u64 = 500;
/// Results whose way is timed, in each round.
const PROBES: usize = 200;

/// Measures and prints the percentiles.
///
/// # Errors
/// When the server does not start or refuses.
pub async fn run(options: &BenchRun) -> Result<(), Exit> {
    let scratch = Scratch::new("visible")?;
    let data = scratch.path().join("data");
    add_user(&data)?;
    let server =
        Server::start(&["serve", "--data", &data.to_string_lossy(), "--listen", "127.0.0.1:0"])?;
    let token = login(&server.address).await?;
    let poster = Poster { base: format!("http://{}", server.address), token, http: client()? };
    poster.post("/api/v1/environments", &json!({"id": ENVIRONMENT})).await?;
    let idle = server.memory();
    let full = poster.full_speed(options.events.min(50_000)).await?;
    let half = full / 2.0;
    let mut waits = Vec::new();
    for round in 0..options.rounds {
        let load = tokio::spawn(poster.clone().load(half, u64::from(round) + 1));
        for probe in 0..PROBES {
            waits.push(poster.probe(round, probe).await?);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        load.abort();
    }
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
    output::line(format_args!("full speed {full:.0} matches/s over HTTP, load {half:.0}/s"))?;
    output::line(format_args!(
        "acknowledged to visible on the board: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms \
         ({} probes)",
        at(0.5),
        at(0.99),
        at(1.0),
        waits.len()
    ))?;
    output::line(format_args!("agon serve: idle {idle}; under load {}", server.memory()))
}

/// Posts to one server.
#[derive(Clone)]
struct Poster {
    base: String,
    token: String,
    http: reqwest::Client,
}

impl Poster {
    async fn post(&self, path: &str, body: &Value) -> Result<Value, Exit> {
        let url = format!("{}{path}", self.base);
        let answer = self.http.post(url).bearer_auth(&self.token).json(body).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status).map_err(Exit::missing)?;
        answer.json().await.map_err(Exit::missing)
    }

    /// Matches a second, when batches follow each other without a pause.
    async fn full_speed(&self, events: u64) -> Result<f64, Exit> {
        let mut workload = Workload::new(u64::MAX);
        let started = Instant::now();
        let batches = events.div_ceil(BATCH);
        for _ in 0..batches {
            self.post("/matches", &body(workload.take(BATCH)?)).await?;
        }
        Ok((batches * BATCH) as f64 / started.elapsed().as_secs_f64())
    }

    /// Posts batches at a steady pace until aborted.
    async fn load(self, matches_per_second: f64, run: u64) {
        let mut workload = Workload::new(run);
        let pace = Duration::from_secs_f64(BATCH as f64 / matches_per_second);
        let mut ticks = tokio::time::interval(pace);
        loop {
            ticks.tick().await;
            let posted = match workload.take(BATCH) {
                Ok(matches) => self.post("/matches", &body(matches)).await,
                Err(error) => Err(error),
            };
            if let Err(error) = posted {
                output::say(format_args!("load: {error}"));
            }
        }
    }

    /// Milliseconds from the acknowledgement of one match to the board that includes it.
    async fn probe(&self, round: u32, probe: usize) -> Result<f64, Exit> {
        let body = json!({"match_id": format!("probe-{round}-{probe}"), "environment": ENVIRONMENT,
            "players": [{"agent": "probe", "placement": 1}, {"agent": "other", "placement": 2}]});
        let answer = self.post("/matches", &body).await?;
        let acknowledged = Instant::now();
        let position = answer["position"].as_str().unwrap_or_default();
        let url = format!(
            "{}/leaderboard?environment={ENVIRONMENT}&limit=1&min_position={position}",
            self.base
        );
        let answer = self.http.get(url).send().await;
        answer.and_then(reqwest::Response::error_for_status).map_err(Exit::missing)?;
        Ok(acknowledged.elapsed().as_secs_f64() * 1_000.0)
    }
}

fn body(matches: Vec<Event>) -> Value {
    let item = |event: Event| match event {
        Event::MatchFinished(event) => {
            let players = event.players.as_slice().iter();
            let players: Vec<Value> = players
                .map(|p| json!({"agent": p.agent.as_str(), "placement": p.placement}))
                .collect();
            json!({"match_id": event.match_id.as_str(), "environment": ENVIRONMENT,
                "players": players})
        }
        _ => Value::Null,
    };
    Value::Array(matches.into_iter().map(item).collect())
}
