//! Watches the consumers: how far they are, how long they stood still, who ended by itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Error;
use crate::deployment::Deployment;

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Ends that are kept in mind.
const ENDED_MAX: usize = 100;
/// A consumer that is paused does not answer; whoever looks for stalls does not wait for it.
const ANSWER_MAX: Duration = Duration::from_millis(1_500);

/// How far the consumers are, by what those that answer say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Partitions of which anyone knows.
    pub partitions: usize,
    /// Records that are folded and flushed, over all partitions.
    pub applied: u64,
    /// Records that are not, over all partitions, as the consumer with the least lag has it.
    pub lag: u64,
    /// Consumers that answered.
    pub answered: usize,
}

impl Progress {
    /// What the bodies of /status say together.
    pub fn of(statuses: &[Value]) -> Progress {
        let mut partitions: BTreeMap<(String, u64), (u64, u64)> = BTreeMap::new();
        for line in statuses.iter().flat_map(|status| status["partitions"].as_array()).flatten() {
            let topic = line["topic"].as_str().unwrap_or_default().to_owned();
            let applied = line["applied"].as_u64().map_or(0, |applied| applied + 1);
            let lag = line["lag_records"].as_u64().unwrap_or(u64::MAX);
            let key = (topic, line["partition"].as_u64().unwrap_or(u64::MAX));
            let seen = partitions.entry(key).or_insert((0, u64::MAX));
            *seen = (seen.0.max(applied), seen.1.min(lag));
        }
        Progress {
            partitions: partitions.len(),
            applied: partitions.values().map(|(applied, _)| applied).sum(),
            lag: partitions.values().fold(0, |sum, (_, lag)| sum.saturating_add(*lag)),
            answered: statuses.len(),
        }
    }
}

/// What was seen over the run.
#[derive(Debug, Default)]
pub struct Seen {
    /// The longest time without progress although there was something to fold, faults included.
    pub stall_ms_max: AtomicU64,
    /// Roles that ended without being told to, and how; they were started again.
    pub ended_by_themselves: Mutex<Vec<String>>,
}

impl Seen {
    fn ended(&self, how: String) {
        let mut ended = self.ended_by_themselves.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.len() < ENDED_MAX {
            ended.push(how);
        }
    }
}

/// Asks every consumer that runs; one that does not know, or not within `longest`, is as one that
/// is silent.
pub async fn look(http: &reqwest::Client, urls: &[String], longest: Duration) -> Progress {
    let mut asked = tokio::task::JoinSet::new();
    for url in urls {
        let request = http.get(format!("{url}/status")).timeout(longest);
        asked.spawn(async move {
            let answer = request.send().await.ok()?.error_for_status().ok()?;
            let text = answer.text().await.ok()?;
            serde_json::from_str::<Value>(&text).ok()
        });
    }
    Progress::of(&asked.join_all().await.into_iter().flatten().collect::<Vec<_>>())
}

/// Where the consumers answer.
pub async fn urls(deployment: &Deployment) -> Vec<String> {
    let mut urls = Vec::new();
    for slot in &deployment.consumers {
        urls.push(slot.lock().await.url());
    }
    urls
}

/// Watches until dropped.
pub async fn stalls(http: reqwest::Client, urls: Vec<String>, seen: Arc<Seen>) {
    let mut applied_max = 0;
    let mut last_progress = Instant::now();
    loop {
        let now = look(&http, &urls, ANSWER_MAX).await;
        let idle = now.answered == urls.len() && now.lag == 0;
        if idle || now.applied > applied_max {
            applied_max = applied_max.max(now.applied);
            last_progress = Instant::now();
        }
        let stall_ms = u64::try_from(last_progress.elapsed().as_millis()).unwrap_or(u64::MAX);
        seen.stall_ms_max.fetch_max(stall_ms, Ordering::Relaxed);
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Starts again what ended by itself, as any supervisor would, until dropped. What a fault works
/// on is left alone.
///
/// # Errors
/// When a role cannot be started again.
pub async fn supervise(deployment: &Deployment, seen: &Seen) -> Result<(), Error> {
    loop {
        for slot in deployment.slots() {
            let Ok(mut process) = slot.try_lock() else { continue };
            if let Some(status) = process.revive()? {
                seen.ended(format!("{} ended by itself: {status}", process.name()));
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_one_who_is_furthest_speaks_for_a_partition() {
        let line = |partition: u64, applied: Value, lag: u64| {
            let (topic, at) = ("t", partition);
            json!({"topic": topic, "partition": at, "applied": applied, "lag_records": lag})
        };
        let zombie = json!({"partitions": [line(0, json!(4), 6)]});
        let owner = json!({"partitions": [line(0, json!(9), 1), line(1, Value::Null, 0)]});
        let expected = Progress { partitions: 2, applied: 10, lag: 1, answered: 2 };
        assert_eq!(Progress::of(&[zombie, owner]), expected);
        assert_eq!(Progress::of(&[]), Progress::default());
    }
}
