//! One run: traffic and faults side by side, then heal, drain, verify, compare.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

use crate::Error;
use crate::client::answers;
use crate::deployment::{Deployment, DeploymentConfig};
use crate::ledger::{Answer, Ledger};
use crate::schedule::{Plan, Step, schedule};
use crate::traffic::{Request, body, request};
use crate::watch::{Seen, look, stalls, supervise, urls};
use crate::{check, faults};

/// Requests under way at once; beyond, traffic waits.
const REQUESTS_MAX: usize = 32;
/// Between two attempts of a request.
const TRY_AGAIN: Duration = Duration::from_millis(700);
/// Differences that a report names, and how much of each.
const EXAMPLES_MAX: usize = 20;
const EXAMPLE_CHARS_MAX: usize = 400;
/// Topics whose partitions the consumers share.
const TOPICS: u32 = 3;
/// A drain without any progress for so long has failed. Behind outages a busy machine takes its
/// time: as long as more is folded, it is waited for.
const DRAIN_STILL_MAX: Duration = Duration::from_secs(300);
/// How long a consumer may take to say how far it is, once nothing is broken any more.
const STATUS_MAX: Duration = Duration::from_secs(30);
/// Between two looks at what is left to drain.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A run.
#[derive(Clone, Debug)]
pub struct NemesisConfig {
    /// What is broken when.
    pub plan: Plan,
    /// What is broken.
    pub deployment: DeploymentConfig,
    /// Events that are sent in a second, while it is healthy.
    pub events_per_second: f64,
}

/// How a run ended, in one line of JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Repeats the run's schedule.
    pub seed: u64,
    /// From the first event to the last fault's end.
    pub seconds: u64,
    /// Brokers, and nodes of the store.
    pub nodes: u32,
    /// Faults that were carried out, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Those of nodes, by kind and node; of lost quorums, the node that stayed.
    pub faults_of_nodes: BTreeMap<String, u64>,
    /// Events that were acknowledged.
    pub events_ok: u64,
    /// Events without a clear answer.
    pub events_unknown: u64,
    /// Events that were refused.
    pub events_refused: u64,
    /// Events that count, by their own routes.
    pub events_counted: u64,
    /// Acknowledged events that do not count.
    pub lost: u64,
    /// Events that count more often than once.
    pub counted_twice: u64,
    /// Refused events that count.
    pub counted_refused: u64,
    /// What `agon verify` found.
    pub differences: u64,
    /// Rows that it compared.
    pub rows: u64,
    /// The longest time in which nobody was seen to fold although something waited, faults
    /// included: they overlap, so it is a bound of the whole, not of one fault.
    pub longest_stall_ms: u64,
    /// From the end of the last fault until nothing waited any more.
    pub drained_ms: u64,
    /// Roles that ended without being told to, and how; they were started again.
    pub ended_by_themselves: Vec<String>,
    /// What is wrong, if anything is.
    pub examples: Vec<String>,
}

impl Report {
    /// Whether every acknowledged event counts exactly once and the store equals the log.
    pub fn is_good(&self) -> bool {
        [self.lost, self.counted_twice, self.counted_refused, self.differences] == [0; 4]
    }
}

/// Runs it all; `say` is told what happens.
///
/// # Errors
/// When the run could not be carried out, which says nothing about what it tests.
pub async fn run(config: NemesisConfig, say: fn(&str)) -> Result<Report, Error> {
    let NemesisConfig { plan, deployment, events_per_second } = config;
    say("starting servers and roles");
    let deployment = Arc::new(Deployment::start(deployment).await?);
    let seen = Arc::new(Seen::default());
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let http = reqwest::Client::new();
    let watch = tokio::spawn(stalls(http.clone(), urls(&deployment).await, seen.clone()));
    let start = Instant::now();
    let steps = schedule(&plan);
    say(&format!("{} faults in {} s", steps.len(), plan.duration_ms / 1_000));
    let traffic =
        tokio::spawn(flow(deployment.clone(), ledger.clone(), plan, start, events_per_second));
    let drained_ms = tokio::select! {
        ended = disturb(&deployment, &steps, start, say) => {
            ended?;
            traffic.await.map_err(stopped)?;
            say("healed; draining");
            drain(&deployment, &http).await?
        }
        failed = supervise(&deployment, &seen) => return Err(failed.err().unwrap_or_else(|| {
            Error::Answer { what: "supervise".to_owned(), said: "it ended".to_owned() }
        })),
    };
    let seconds = start.elapsed().as_secs();
    watch.abort();
    say("drained; verifying");
    let verified = deployment.verify(say).await?;
    let ledger = lock(&ledger).clone();
    say("comparing with what was answered");
    let counted = check::counted(&deployment, &ledger).await?;
    let boards = check::boards(&deployment, &ledger.expected(&counted)).await?;
    let verdict = ledger.judge(&counted, &boards);
    let number = |name: &str| verified[name].as_u64().unwrap_or(u64::MAX);
    let (mut faults, mut faults_of_nodes) = (BTreeMap::new(), BTreeMap::new());
    for Step { fault, .. } in &steps {
        *faults.entry(fault.kind()).or_default() += 1;
        if let Some(node) = fault.node() {
            *faults_of_nodes.entry(format!("{} {node}", fault.kind())).or_default() += 1;
        }
    }
    let mut examples = verdict.examples;
    examples.extend(named(&verified));
    Ok(Report {
        seed: plan.seed,
        seconds,
        nodes: plan.nodes,
        faults,
        faults_of_nodes,
        events_ok: ledger.count(Answer::Taken),
        events_unknown: ledger.count(Answer::Unknown),
        events_refused: ledger.count(Answer::Refused),
        events_counted: counted.len() as u64,
        lost: verdict.lost,
        counted_twice: verdict.counted_twice,
        counted_refused: verdict.counted_refused,
        differences: number("differences"),
        rows: number("rows"),
        longest_stall_ms: seen.stall_ms_max.load(Ordering::Relaxed),
        drained_ms,
        ended_by_themselves: lock(&seen.ended_by_themselves).clone(),
        examples,
    })
}

/// A few of the differences that `agon verify` named, in a line each.
fn named(verified: &Value) -> impl Iterator<Item = String> {
    let each = verified["named"].as_array().into_iter().flatten().take(EXAMPLES_MAX);
    each.map(|difference| difference.to_string().chars().take(EXAMPLE_CHARS_MAX).collect())
}

/// Carries out every step at its time, overlapping, and heals at the end.
async fn disturb(
    deployment: &Arc<Deployment>,
    steps: &[Step],
    start: Instant,
    say: fn(&str),
) -> Result<(), Error> {
    let mut under_way: JoinSet<Result<(), Error>> = JoinSet::new();
    for step in steps {
        let at = start + Duration::from_millis(step.at_ms);
        tokio::time::sleep_until(at.into()).await;
        say(&format!("{:>7} ms  {:?}", step.at_ms, step.fault));
        let (deployment, fault) = (deployment.clone(), step.fault);
        under_way.spawn(async move { faults::carry_out(&deployment, fault).await });
    }
    while let Some(joined) = under_way.join_next().await {
        joined.map_err(stopped)??;
    }
    faults::heal(deployment).await
}

/// A task of ours that did not end in order.
fn stopped(error: JoinError) -> Error {
    Error::Answer { what: "carry out the run".to_owned(), said: error.to_string() }
}

/// Sends events at their pace until the last fault's time is over.
async fn flow(
    deployment: Arc<Deployment>,
    ledger: Arc<Mutex<Ledger>>,
    plan: Plan,
    start: Instant,
    events_per_second: f64,
) {
    let permits = Arc::new(Semaphore::new(REQUESTS_MAX));
    let mut under_way = JoinSet::new();
    let mut due = start;
    let end = start + Duration::from_millis(plan.duration_ms);
    for number in 0.. {
        let request = request(plan.seed, number);
        due += Duration::from_secs_f64(request.events.len() as f64 / events_per_second);
        // What could not be sent in time is not made up for: there are limits to what is open.
        due = due.max(Instant::now() - Duration::from_secs(1));
        if due > end {
            break;
        }
        tokio::time::sleep_until(due.into()).await;
        let permit = permits.clone().acquire_owned().await.ok();
        let (deployment, ledger) = (deployment.clone(), ledger.clone());
        under_way.spawn(async move {
            send(&deployment, &ledger, &request).await;
            drop(permit);
        });
        while under_way.try_join_next().is_some() {}
    }
    under_way.join_all().await;
}

/// Sends a request until it is answered or its attempts are over, then what comes after.
async fn send(deployment: &Deployment, ledger: &Mutex<Ledger>, request: &Request) {
    let body = body(request);
    let mut attempts = request.attempts_max;
    while attempts > 0 {
        attempts -= 1;
        let answer = deployment.writer.post(request.path, &body).await;
        let each = answers(request.events.len(), &answer);
        for (event, answer) in request.events.iter().zip(&each) {
            lock(ledger).note(event, *answer);
        }
        if !each.contains(&Answer::Unknown) {
            break;
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
    if request.again {
        let answer = deployment.writer.post(request.path, &body).await;
        let each = answers(request.events.len(), &answer);
        for (event, answer) in request.events.iter().zip(&each) {
            lock(ledger).note(event, *answer);
        }
    }
    if let Some(rival) = &request.rival {
        // Whatever is answered: it must not count beside the first, which board and rows show.
        deployment.writer.post(request.path, rival).await.ok();
    }
}

/// Nothing is left half done by whoever panicked with it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until every role is ready and nothing is left to fold, twice in a row: a partition may be
/// on its way from one consumer to another.
async fn drain(deployment: &Deployment, http: &reqwest::Client) -> Result<u64, Error> {
    let start = Instant::now();
    deployment.ready().await?;
    let urls = urls(deployment).await;
    let partitions = (TOPICS * deployment.partitions()) as usize;
    let (mut applied_max, mut last_progress) = (0, Instant::now());
    let mut in_a_row = 0;
    while in_a_row < 2 {
        let now = look(http, &urls, STATUS_MAX).await;
        let drained = now.lag == 0 && now.partitions == partitions && now.answered == urls.len();
        in_a_row = if drained { in_a_row + 1 } else { 0 };
        if drained || now.applied > applied_max {
            applied_max = applied_max.max(now.applied);
            last_progress = Instant::now();
        }
        if last_progress.elapsed() > DRAIN_STILL_MAX {
            let what = format!("the consumers have not folded everything: {now:?}, no progress");
            return Err(deployment.late(&what, DRAIN_STILL_MAX.as_secs()));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX))
}
