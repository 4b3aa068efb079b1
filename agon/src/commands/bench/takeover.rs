//! From the SIGKILL of a consumer to the first flush of its heir, and what the heir folds again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use agon_ports::{Assignment, EventLog};
use agon_schema::{Topic, TopicPartition};

use super::child::Server;
use super::deployment::{Deployment, PATIENCE, get, metrics, until};
use super::http::client;
use super::median;
use super::workload::Workload;
use crate::cli::BenchTakeover;
use crate::exit::Exit;
use crate::output;

/// Under load before each kill, so that flushes are under way.
const WARM: Duration = Duration::from_secs(2);
/// Pause between two looks at the heir.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Measures and prints a line a kill, and the median of each session timeout.
///
/// # Errors
/// When a server or a role is away.
pub async fn run(options: &BenchTakeover) -> Result<(), Exit> {
    let servers = &options.servers;
    let deployment = Deployment::make(&servers.log, Some(&servers.store)).await?;
    let (agents, environments) = (options.matches.agents, options.matches.environments);
    let workload = Workload::spread(0, agents as usize, environments)?;
    deployment.define(&workload).await?;
    let busy = busy_partitions(&deployment, &workload);
    let rate = options.rate;
    let _load = deployment.load(workload, rate);
    output::line(format_args!(
        "takeover: two consumers, {rate} matches/s in {environments} environments; one is killed.\n\
         first and all: seconds until the heir stored, on the first and on every partition of the \
         dead,\na record that was appended after the kill. replayed: events that the heir found in \
         the store\n{:>14} {:>6} {:>11} {:>8} {:>8} {:>9}",
        "session", "kill", "partitions", "first s", "all s", "replayed"
    ))?;
    for timeout in &options.session_timeouts {
        let mut bench = Bench::start(&deployment, &busy, *timeout)?;
        let (mut first, mut all) = (Vec::new(), Vec::new());
        for round in 1..=options.rounds {
            let took = bench.kill_one().await?;
            output::line(format_args!(
                "{:>12} s {round:>6} {:>11} {:>8.2} {:>8.2} {:>9}",
                timeout.as_secs_f64(),
                took.partitions,
                took.first_s,
                took.all_s,
                took.replayed
            ))?;
            first.push(took.first_s);
            all.push(took.all_s);
        }
        let (first, all, timeout_s) = (median(&first), median(&all), timeout.as_secs_f64());
        output::line(format_args!(
            "{timeout_s:>12} s median {:>11} {first:>8.2} {all:>8.2}; first / session timeout = \
             {:.2}",
            "",
            first / timeout_s
        ))?;
    }
    Ok(())
}

/// The partitions that the matches go to.
fn busy_partitions(deployment: &Deployment, workload: &Workload) -> BTreeSet<u32> {
    let count = deployment.log.partitions();
    let of = |id: &agon_schema::EnvironmentId| {
        TopicPartition::of_key(Topic::Matches, id.as_str().as_bytes(), count).partition
    };
    workload.environments().iter().map(of).collect()
}

/// Two consumers of one session timeout, the older one first.
struct Bench<'a> {
    deployment: &'a Deployment,
    busy: &'a BTreeSet<u32>,
    timeout: String,
    http: reqwest::Client,
    consumers: Vec<Server>,
}

/// What one kill led to.
struct Took {
    partitions: usize,
    first_s: f64,
    all_s: f64,
    replayed: u64,
}

impl<'a> Bench<'a> {
    fn start(
        deployment: &'a Deployment,
        busy: &'a BTreeSet<u32>,
        timeout: Duration,
    ) -> Result<Bench<'a>, Exit> {
        let (timeout, http) = (format!("{}ms", timeout.as_millis()), client()?);
        let mut bench = Bench { deployment, busy, timeout, http, consumers: Vec::new() };
        bench.start_one()?;
        bench.start_one()?;
        Ok(bench)
    }

    fn start_one(&mut self) -> Result<(), Exit> {
        let more = ["--session-timeout", &self.timeout];
        self.consumers.push(self.deployment.role("consumer", &more)?);
        Ok(())
    }

    /// Kills the older one, waits until the other has flushed all of its partitions, and starts a
    /// new one.
    async fn kill_one(&mut self) -> Result<Took, Exit> {
        self.settled().await?;
        tokio::time::sleep(WARM).await;
        let share = self.settled().await?;
        let dead = self.consumers.remove(0);
        let replayed_before = self.replayed().await?;
        let killed_at = Instant::now();
        drop(dead);
        // The dead one cannot have read what is appended from here on.
        let ends = self.deployment.log.ends().await.map_err(Exit::missing)?;
        let times = self.taken_over(&share, &ends, killed_at).await?;
        let replayed = self.replayed().await? - replayed_before;
        self.start_one()?;
        let (first_s, all_s) = (times.first(), times.last());
        Ok(Took {
            partitions: share.len(),
            first_s: first_s.copied().unwrap_or(f64::NAN),
            all_s: all_s.copied().unwrap_or(f64::NAN),
            replayed,
        })
    }

    /// Seconds until the heir stored more than these ends, partition by partition as they came.
    async fn taken_over(
        &self,
        share: &BTreeSet<u32>,
        ends: &Assignment,
        killed_at: Instant,
    ) -> Result<Vec<f64>, Exit> {
        let (mut waiting, mut times) = (share.clone(), Vec::new());
        while !waiting.is_empty() {
            let applied = self.applied(0).await;
            let now_s = killed_at.elapsed().as_secs_f64();
            let is_taken = |partition: &u32| {
                let source = TopicPartition { topic: Topic::Matches, partition: *partition };
                let end = ends.get(&source).copied().unwrap_or(0);
                applied.get(partition).is_some_and(|applied| *applied >= end)
            };
            let before = waiting.len();
            waiting.retain(|partition| !is_taken(partition));
            times.extend(std::iter::repeat_n(now_s, before - waiting.len()));
            if killed_at.elapsed() > PATIENCE {
                return Err(Exit::missing("the heir did not take over"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(times)
    }

    /// Waits until both have a share of the busy partitions and together all of them; answers the
    /// older one's.
    async fn settled(&self) -> Result<BTreeSet<u32>, Exit> {
        until("two consumers share the partitions", async || {
            let of = async |number| -> BTreeSet<u32> {
                let applied = self.applied(number).await;
                applied.into_keys().filter(|partition| self.busy.contains(partition)).collect()
            };
            let (older, younger) = (of(0).await, of(1).await);
            let is_whole = older.len() + younger.len() == self.busy.len();
            let is_shared = !older.is_empty() && !younger.is_empty() && older.is_disjoint(&younger);
            Ok((is_whole && is_shared).then_some(older))
        })
        .await
    }

    /// How far each of a consumer's partitions of matches is stored.
    async fn applied(&self, number: usize) -> BTreeMap<u32, u64> {
        let status = get(&self.http, &self.consumers[number], "/status").await;
        let lines = status["partitions"].as_array().cloned().unwrap_or_default();
        let lines = lines.iter().filter(|line| line["topic"] == Topic::Matches.name());
        let applied = lines.filter_map(|line| {
            let partition = u32::try_from(line["partition"].as_u64()?).ok()?;
            Some((partition, line["applied"].as_u64()?))
        });
        applied.collect()
    }

    /// What the only one that is left has found in the store.
    async fn replayed(&self) -> Result<u64, Exit> {
        Ok(replayed(&metrics(&self.http, &self.consumers[0]).await?))
    }
}

/// Events that were read again and found in the store.
fn replayed(metrics: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with("agon_events_replayed_total{"));
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum::<f64>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replayed_events_of_all_topics_are_added() {
        let text = "# TYPE agon_events_replayed_total counter\n\
            agon_events_replayed_total{topic=\"a\"} 3\nagon_events_replayed_total{topic=\"b\"} 4\n\
            agon_events_consumed_total{topic=\"a\"} 9\n";
        assert_eq!(replayed(text), 7);
        assert_eq!(replayed(""), 0);
    }
}
