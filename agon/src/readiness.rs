//! Whether requests should come to a process: what its roles cannot do without is there, and it is
//! not stopping. What they can do without is told all the same.

use std::fmt;
use std::time::Duration;

use agon_consumer::{Consumer, Standing};
use agon_edge::{Code, Problem};
use agon_ports::PortError;
use agon_projections::RowKey;
use agon_schema::{Topic, TopicPartition};
use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::ops::Ops;

/// The body of `/readyz`.
#[derive(Debug, Serialize)]
pub struct Ready {
    ready: bool,
    checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub struct Check {
    /// What; one of a closed set.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// Whether requests should go elsewhere while it is not ok.
    pub required: bool,
    detail: String,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.detail)
    }
}

impl Check {
    /// A check by what was found, or by why it fails.
    pub fn of(name: &'static str, required: bool, found: Result<String, String>) -> Check {
        let ok = found.is_ok();
        Check { name, ok, required, detail: found.unwrap_or_else(|reason| reason) }
    }

    /// Whether requests should go elsewhere.
    pub fn stops_requests(&self) -> bool {
        self.required && !self.ok
    }
}

/// How long a check waits for a server.
const CHECK_WAIT: Duration = Duration::from_secs(2);

async fn answered<T>(call: impl Future<Output = Result<T, PortError>>) -> Result<T, String> {
    match tokio::time::timeout(CHECK_WAIT, call).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", CHECK_WAIT.as_secs())),
    }
}

/// Answers 200 while requests should come here, else 503; with all checks either way.
///
/// # Errors
/// `not_ready`, naming what is missing.
pub async fn readyz(State(ops): State<Ops>) -> Result<Json<Ready>, Problem> {
    ready(checks(&ops).await)
}

/// Looks at everything that the roles of this process stand on; takes two seconds at most.
pub async fn checks(ops: &Ops) -> Vec<Check> {
    let (log, store) = tokio::join!(log_check(ops), store_check(ops));
    let stopping = ops.leaving.is_cancelled();
    let running = if stopping { Err("stopping".to_owned()) } else { Ok("running".to_owned()) };
    let mut checks = vec![log, store];
    checks.extend(folded_check(ops));
    checks.extend(share_check(ops).await);
    checks.extend(boards_check(ops));
    checks.extend(feed_check(ops));
    checks.extend(source_check(ops));
    checks.push(Check::of("running", true, running));
    checks
}

/// All checks, in a problem when one fails that requests should go elsewhere for.
fn ready(checks: Vec<Check>) -> Result<Json<Ready>, Problem> {
    let failing = checks.iter().filter(|check| check.stops_requests());
    let failing: Vec<String> = failing.map(Check::to_string).collect();
    if failing.is_empty() {
        return Ok(Json(Ready { ready: true, checks }));
    }
    let checks = serde_json::to_value(checks).map_err(Problem::internal)?;
    let problem = Problem::new(Code::NotReady, failing.join("; ")).retry_after(1);
    Err(problem.member("ready", false.into()).member("checks", checks))
}

/// Writes and folds need the log; boards are read without it.
async fn log_check(ops: &Ops) -> Check {
    let ends = answered(ops.ports.log.ends()).await;
    let found = ends.map(|ends| format!("{} records", ends.values().sum::<u64>()));
    Check::of("log", ops.has_intake || ops.consumer.is_some(), found)
}

/// Folds need the store; writes and boards in memory go on without it.
async fn store_check(ops: &Ops) -> Check {
    let first = TopicPartition { topic: Topic::Matches, partition: 0 };
    let answer = answered(ops.ports.store.get(vec![RowKey::Progress(first)])).await;
    Check::of("store", ops.consumer.is_some(), answer.map(|_| "answers".to_owned()))
}

fn folded_check(ops: &Ops) -> Option<Check> {
    let found = match ops.caught_up.as_ref()?.is_cancelled() {
        true => Ok("what was in the log at the start is folded".to_owned()),
        false => Err("still folding what was in the log at the start".to_owned()),
    };
    Some(Check::of("folded", true, found))
}

/// A member of a group is ready when it has its share, be it an empty one, and stands where the
/// store does.
async fn share_check(ops: &Ops) -> Option<Check> {
    if ops.caught_up.is_some() {
        return None;
    }
    let consumer = ops.consumer.as_ref()?.read().await;
    let found = match consumer.as_ref().map(Consumer::standing) {
        Some(standing) if standing.is_ready() => {
            Ok(format!("{} partitions", standing.partitions.len()))
        }
        Some(Standing { phase, hindrance: None, .. }) => Err(phase.name().to_owned()),
        Some(Standing { phase, hindrance: Some(reason), .. }) => {
            Err(format!("{}: {reason}", phase.name()))
        }
        None => Err("the consumer has stopped".to_owned()),
    };
    Some(Check::of("share", true, found))
}

fn boards_check(ops: &Ops) -> Option<Check> {
    let reads = ops.api.as_ref()?.readiness();
    let stale = format!("{} boards wait to be read again", reads.cells_stale);
    let found = if reads.is_ready() { Ok(stale) } else { Err(stale) };
    Some(Check::of("boards", true, found))
}

/// How old what is shown may be: boards are served on when nobody tells of news.
fn feed_check(ops: &Ops) -> Option<Check> {
    let reads = ops.api.as_ref()?.readiness();
    let silence = format!(
        "silent for {} ms of at most {}, {} partitions too long",
        reads.silence_ms, reads.staleness_ms_max, reads.partitions_silent
    );
    Some(Check::of("feed", false, if reads.is_fresh() { Ok(silence) } else { Err(silence) }))
}

/// Reads and writes go on while the stream of another is waited for.
fn source_check(ops: &Ops) -> Option<Check> {
    Some(Check::of("source", false, ops.source.as_ref()?.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_and_what_is_not_required_is_only_told() {
        let check = |name, required, ok| {
            let found = if ok { Ok("answers".to_owned()) } else { Err("is away".to_owned()) };
            Check::of(name, required, found)
        };
        let told = ready(vec![check("log", true, true), check("store", false, false)]).unwrap();
        assert!(told.ready && told.checks.len() == 2);

        let problem = ready(vec![check("log", true, false), check("store", false, false)]);
        let problem = problem.unwrap_err();
        assert_eq!((problem.code(), problem.detail()), (Code::NotReady, "log: is away"));
        let named = serde_json::json!([
            {"name": "log", "ok": false, "required": true, "detail": "is away"},
            {"name": "store", "ok": false, "required": false, "detail": "is away"},
        ]);
        let expected = Problem::new(Code::NotReady, "log: is away").retry_after(1);
        assert_eq!(problem, expected.member("ready", false.into()).member("checks", named));
    }
}
