//! Asks the API what counts, event by event and board by board.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Error;
use crate::deployment::Deployment;
use crate::ledger::{Counts, Ledger};
use crate::traffic::{BENCHMARKS, Board, ENVIRONMENTS, benchmark, environment};

/// Questions under way at once.
const ASKED_MAX: usize = 16;
/// How often a question without a clear answer is asked.
const ATTEMPTS_MAX: u32 = 20;
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How long boards may lag behind what they are folded from; only a bad run waits so long.
const CATCH_UP_MAX: Duration = Duration::from_secs(180);

/// The ids of all events that the API finds.
///
/// # Errors
/// When it says neither yes nor no.
pub async fn counted(
    deployment: &Arc<Deployment>,
    ledger: &Ledger,
) -> Result<BTreeSet<String>, Error> {
    let permits = Arc::new(Semaphore::new(ASKED_MAX));
    let mut asked = JoinSet::new();
    for (id, board) in ledger.events() {
        let path = match board {
            Board::Environment(name) => format!("/api/v1/environments/{name}/matches/{id}"),
            Board::Benchmark(name) => format!("/api/v1/benchmarks/{name}/submissions/{id}"),
        };
        let (permits, deployment, id) = (permits.clone(), deployment.clone(), id.to_owned());
        asked.spawn(async move {
            // Never closed: an error would only mean to ask without a limit.
            let _permit = permits.acquire().await.ok();
            exists(&deployment, &path).await.map(|exists| exists.then_some(id))
        });
    }
    let mut found = BTreeSet::new();
    while let Some(joined) = asked.join_next().await {
        let Ok(answer) = joined else { continue };
        found.extend(answer?);
    }
    Ok(found)
}

async fn exists(deployment: &Deployment, path: &str) -> Result<bool, Error> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS_MAX {
        match deployment.reader.get(path).await {
            Ok((200, _)) => return Ok(true),
            Ok((404, _)) => return Ok(false),
            Ok((status, body)) => last = format!("{status} {body}"),
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
    Err(Error::Answer { what: format!("GET {path}"), said: last })
}

/// What the boards count, once it is what is expected or they had time enough.
///
/// # Errors
/// When a board is not answered.
pub async fn boards(deployment: &Deployment, expected: &Counts) -> Result<Counts, Error> {
    let start = Instant::now();
    loop {
        let found = read_boards(deployment).await;
        if found.as_ref().is_ok_and(|found| found == expected) || start.elapsed() > CATCH_UP_MAX {
            return found;
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

async fn read_boards(deployment: &Deployment) -> Result<Counts, Error> {
    let environments = (0..ENVIRONMENTS).map(environment).map(Board::Environment);
    let benchmarks = (0..BENCHMARKS).map(benchmark).map(Board::Benchmark);
    let mut counts = Counts::new();
    for board in environments.chain(benchmarks) {
        let (query, field) = match &board {
            Board::Environment(name) => (format!("environment={name}"), "games"),
            Board::Benchmark(name) => (format!("benchmark={name}"), "submissions"),
        };
        let path = format!("/api/v1/leaderboard?{query}&limit=1000");
        let (status, body) = deployment.reader.get(&path).await?;
        let Some(entries) = body["entries"].as_array() else {
            let said = format!("{status} {body}");
            return Err(Error::Answer { what: format!("GET {path}"), said });
        };
        counts.extend(entries.iter().filter_map(|entry| count(&board, entry, field)));
    }
    Ok(counts)
}

fn count(board: &Board, entry: &Value, field: &str) -> Option<((Board, String), u64)> {
    let agent = entry["agent"].as_str()?.to_owned();
    Some(((board.clone(), agent), entry[field].as_u64()?))
}
