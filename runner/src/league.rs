//! The league: built-in agents play match after match and send each result through the public
//! intake, until stopped. It owns no truth: what it sent is in Agon's log, or was never accepted.

use crate::agents::ROSTER;
use crate::benchmark::{self, Position, Scorecard};
use crate::client::{Bearer, Client, Delivery, Receipt, Rejected};
use crate::dice::{dice, mix};
use crate::error::Error;
use crate::games::IllegalMove;
use crate::report::LeagueReport;
use crate::retry::RetryPolicy;
use crate::schedule::{MatchBody, Schedule, TABLES, run_name};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Matches of one request while the boards are filled.
const BURST_BATCH_MATCHES: u64 = 20;
/// Matches of one request afterwards, at most; a request is then well below 64 KiB.
const BATCH_MATCHES_MAX: u64 = 200;
/// Requests a second that the pace aims at: smooth for who watches, cheap for who serves.
const REQUESTS_PER_SECOND: f64 = 10.0;
/// The highest pace that is allowed.
const MATCHES_PER_SECOND_MAX: f64 = 1_000.0;
/// One new submission for so many matches.
const MATCHES_PER_SUBMISSION: u64 = 100;
/// So many refused deliveries in a row mean that something is wrong that time will not mend.
const REFUSALS_IN_ROW_MAX: u32 = 20;

/// Streams of the run's seed: the schedule uses the seed itself.
const STREAM_RETRY: u64 = 0x7265;
const STREAM_BENCHMARK: u64 = 0x6265;

/// What a league is run with.
#[derive(Clone, Debug)]
pub struct LeagueConfig {
    /// Where Agon listens, as `http://HOST:PORT`.
    pub base_url: String,
    /// The token of a producer who may define environments and benchmarks.
    pub bearer: Bearer,
    /// Gives every pairing, move and id of the run. Another run on the same log needs another
    /// seed: with the same one it sends the same matches again, and nothing counts twice.
    pub seed: u64,
    /// The pace once the boards are filled: above 0, at most 1000.
    pub matches_per_second: f64,
    /// So many matches are played as fast as possible at the start.
    pub burst_matches: u64,
    /// How long one request may take.
    pub request_timeout_ms: u64,
    /// When a request is repeated.
    pub retry: RetryPolicy,
}

impl LeagueConfig {
    /// The demo's league: boards fill at once, then 20 matches a second.
    pub fn demo(base_url: impl Into<String>, bearer: Bearer, seed: u64) -> Self {
        Self {
            base_url: base_url.into(),
            bearer,
            seed,
            matches_per_second: 20.0,
            burst_matches: 60,
            request_timeout_ms: 10_000,
            retry: RetryPolicy::PATIENT,
        }
    }

    fn check(&self) -> Result<(), Error> {
        let setting = |name, value: String, remedy| Err(Error::Setting { name, value, remedy });
        let pace = self.matches_per_second;
        if !(pace > 0.0 && pace <= MATCHES_PER_SECOND_MAX) {
            let remedy = "a number above 0 and at most 1000";
            return setting("matches_per_second", pace.to_string(), remedy);
        }
        if !self.base_url.starts_with("http://") {
            return setting("base_url", self.base_url.clone(), "an address http://HOST:PORT");
        }
        if self.request_timeout_ms == 0 {
            return setting("request_timeout_ms", "0".to_owned(), "at least 1");
        }
        if self.retry.attempts_max == 0 {
            return setting("retry.attempts_max", "0".to_owned(), "at least 1");
        }
        Ok(())
    }

    fn batch_matches(&self) -> u64 {
        let per_request = (self.matches_per_second / REQUESTS_PER_SECOND).ceil();
        (per_request as u64).clamp(1, BATCH_MATCHES_MAX)
    }
}

/// Runs a league until `stop` is cancelled.
///
/// Troubles that pass (503, 429, lost connections) are waited out with the same ids; what is
/// refused or cannot be delivered is logged and the league goes on.
///
/// # Errors
/// [`Error`] when the settings make no sense, the token is not accepted, nothing can be defined,
/// or nothing is taken any more.
pub async fn run(config: LeagueConfig, stop: CancellationToken) -> Result<LeagueReport, Error> {
    config.check()?;
    let client = Client::new(
        &config.base_url,
        config.bearer.clone(),
        config.retry,
        Duration::from_millis(config.request_timeout_ms),
        dice(config.seed, STREAM_RETRY),
    )?;
    let league = League {
        schedule: Schedule::new(config.seed),
        config,
        client,
        stop,
        report: LeagueReport::default(),
        submissions: 0,
        refusals_in_row: 0,
    };
    league.season().await
}

struct League {
    config: LeagueConfig,
    client: Client,
    stop: CancellationToken,
    schedule: Schedule,
    report: LeagueReport,
    submissions: u64,
    refusals_in_row: u32,
}

impl League {
    async fn season(mut self) -> Result<LeagueReport, Error> {
        let run = run_name(self.config.seed);
        info!(run, base_url = self.config.base_url, "the league begins");
        self.define_all().await?;
        while self.schedule.handed_out() < self.config.burst_matches && !self.stop.is_cancelled() {
            let left = self.config.burst_matches - self.schedule.handed_out();
            self.play_batch(left.min(BURST_BATCH_MATCHES)).await?;
        }
        let positions = on_thread(|| Arc::<[Position]>::from(benchmark::positions())).await?;
        while self.submissions < ROSTER.len() as u64 && !self.stop.is_cancelled() {
            self.submit(&positions).await?;
        }
        self.keep_pace(&positions).await?;
        self.report.retries = self.client.retries();
        info!(run, report = ?self.report, "the league has ended");
        Ok(self.report)
    }

    /// Plays batch after batch. After a wait the pace is not caught up with: that would be a flood
    /// just when the server has come back.
    async fn keep_pace(&mut self, positions: &Arc<[Position]>) -> Result<(), Error> {
        let batch = self.config.batch_matches();
        let period = batch as f64 / self.config.matches_per_second;
        let mut ticks = interval(Duration::from_secs_f64(period));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let first = self.schedule.handed_out();
        let stop = self.stop.clone();
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.play_batch(batch).await?;
            let due = (self.schedule.handed_out() - first) / MATCHES_PER_SUBMISSION;
            if self.submissions < ROSTER.len() as u64 + due && !stop.is_cancelled() {
                self.submit(positions).await?;
            }
        }
        Ok(())
    }

    async fn define_all(&mut self) -> Result<(), Error> {
        for table in TABLES {
            let id = table.environment();
            self.define("/environments", id, json!({ "id": id })).await?;
        }
        let body = json!({
            "id": benchmark::ID,
            "metric": benchmark::METRIC,
            "direction": "higher",
            "aggregation": "best",
        });
        self.define("/benchmarks", benchmark::ID, body).await
    }

    async fn define(
        &mut self,
        path: &'static str,
        id: &'static str,
        body: serde_json::Value,
    ) -> Result<(), Error> {
        let delivery = self.client.post(path, &body, &self.stop).await?;
        if let Delivery::Undelivered { attempts, reason } = delivery {
            return Err(Error::Undefined { id, path, attempts, reason });
        }
        // A definition that somebody made otherwise stands, and is good enough to play under.
        self.report.definitions.count(path, &[id], &delivery);
        Ok(())
    }

    async fn play_batch(&mut self, count: u64) -> Result<(), Error> {
        let fixtures = self.schedule.next_batch(count);
        let played: Result<Vec<MatchBody>, IllegalMove> =
            on_thread(move || fixtures.iter().map(|fixture| fixture.play()).collect()).await?;
        let matches = played?;
        let path = "/matches";
        let delivery = match matches.as_slice() {
            [single] => self.client.post(path, single, &self.stop).await?,
            batch => self.client.post(path, &batch, &self.stop).await?,
        };
        let ids: Vec<&str> = matches.iter().map(MatchBody::match_id).collect();
        self.report.matches.count(path, &ids, &delivery);
        self.stop_when_hopeless(path, &delivery)
    }

    /// Scores the next agent and sends what it reached: every second time at once, otherwise as
    /// a submission that waits for its score.
    async fn submit(&mut self, positions: &Arc<[Position]>) -> Result<(), Error> {
        let number = self.submissions;
        self.submissions += 1;
        let agent = ROSTER[(number % ROSTER.len() as u64) as usize];
        let seed = mix(mix(self.config.seed, STREAM_BENCHMARK), number);
        let positions = Arc::clone(positions);
        let card: Scorecard = on_thread(move || benchmark::score(&agent, &positions, seed)).await?;

        let id = format!("{}-{}-{number:04}", run_name(self.config.seed), agent.name);
        let mut submission =
            json!({ "submission_id": id, "benchmark": benchmark::ID, "agent": agent.name });
        let is_scored_later = number % 2 == 1;
        if !is_scored_later {
            submission["metrics"] = json!(card.metrics());
        }
        let path = "/submissions";
        let delivery = self.client.post(path, &submission, &self.stop).await?;
        self.report.submissions.count(path, &[&id], &delivery);
        if !is_scored_later || !matches!(delivery, Delivery::Answered(_)) {
            return Ok(());
        }
        let score = json!({
            "benchmark": benchmark::ID,
            "submission_id": id,
            // With an id of its own a repeated score is the same score.
            "run_id": format!("{id}-run"),
            "metrics": card.metrics(),
            "status": "completed",
        });
        let path = "/scores";
        let delivery = self.client.post(path, &score, &self.stop).await?;
        self.report.scores.count(path, &[&id], &delivery);
        Ok(())
    }

    fn stop_when_hopeless(&mut self, path: &'static str, delivery: &Delivery) -> Result<(), Error> {
        let (code, detail) = match delivery {
            Delivery::Refused(problem) => (&problem.code, &problem.detail),
            Delivery::Answered(Receipt { accepted: 0, duplicates: 0, rejected }) => {
                match rejected.first() {
                    Some(Rejected { code, detail, .. }) => (code, detail),
                    None => return Ok(()),
                }
            }
            Delivery::Answered(_) => {
                self.refusals_in_row = 0;
                return Ok(());
            }
            Delivery::Undelivered { .. } | Delivery::Stopped => return Ok(()),
        };
        self.refusals_in_row += 1;
        if self.refusals_in_row < REFUSALS_IN_ROW_MAX {
            return Ok(());
        }
        let (code, detail) = (code.clone(), detail.clone());
        Err(Error::RefusedInRow { path, refusals: self.refusals_in_row, code, detail })
    }
}

/// Runs what computes on a thread where it cannot hold up the async runtime.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|source| Error::Thread { source })
}
