//! A process that is killed in the middle of a flush leaves it whole or not at all.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use agon_ports::ProjectionStore;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::support::{flush, flushes_of, open};

/// Names the directory to the child; without it the child has nothing to do.
const CHILD_DIR: &str = "AGON_TEST_STORE_DIR";
const KILLS: usize = 20;

/// The child: flushes and says so until it is killed. On its own it is no test.
#[tokio::test]
async fn child_that_flushes_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let store = open(Path::new(&dir)).unwrap();
    let mut number = flushes_of(&store).await.unwrap();
    // Not by the test's own output, which is gathered.
    let mut out = std::io::stdout();
    loop {
        writeln!(out, "\nbegin {number}").and_then(|()| out.flush()).unwrap();
        store.flush(flush(number)).await.unwrap();
        number += 1;
        writeln!(out, "\nanswered {number}").and_then(|()| out.flush()).unwrap();
    }
}

/// Runs a child until it has begun some flushes, kills it a moment later, and answers how many
/// flushes it was told are done.
fn run_and_kill(dir: &Path, begun: u64, moment: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child_that_flushes_until_it_is_killed", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut count = 0;
    while count < begun {
        let line = lines.next().expect("the child goes on until it is killed").unwrap();
        count += u64::from(line.starts_with("begin"));
    }
    // A sleep would be longer than a flush.
    let started = Instant::now();
    while started.elapsed() < moment {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let rest = lines.map_while(Result::ok);
    let answered = rest.filter_map(|line| line.strip_prefix("answered ")?.parse().ok());
    answered.max().unwrap_or(0)
}

#[tokio::test]
async fn a_killed_process_leaves_whole_flushes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut rng = StdRng::seed_from_u64(1);
    let mut before = 0;
    for kill in 0..KILLS {
        let moment = Duration::from_micros(rng.random_range(0..3_000));
        let answered = run_and_kill(&path, rng.random_range(1..200), moment);
        let store = open(&path).expect("a killed process damages nothing");
        let flushes = flushes_of(&store).await.unwrap();
        assert!(flushes >= answered.max(before), "kill {kill}: {flushes} of {answered}");
        assert!(flushes > 0 || kill == 0, "nothing was ever stored");
        before = flushes;
    }
}
