//! Consumers that end at every named step of the way of an event, one after the other on real
//! servers, while events arrive: whoever comes next ends with each event counted once.
#![cfg(feature = "faults")]
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use agon_consumer::CRASH_POINTS;
use serde_json::{Value, json};
use support::servers::Deployment;
use support::{agon, stderr, stdout};

/// The steps of a flush, as the store names them.
const STORE_POINTS: [&str; 5] = [
    "flush.before",
    "flush.after_side_rows",
    "flush.after_cells",
    "flush.before_progress",
    "flush.after_progress",
];
/// The status of a process that ended at a named point.
const ENDED_THERE: Option<i32> = Some(86);
/// A dead member keeps its partitions for so long; the least that a broker allows.
const SESSION: [&str; 2] = ["--session-timeout", "6s"];
/// How long a point may take that must be passed; only a failing test waits so long.
const DEADLINE: Duration = Duration::from_secs(60);

/// New events of each kind that one file brings.
const NEW: u64 = 40;
/// Events of the file before that it tells again, the first of them otherwise.
const AGAIN: u64 = 8;

/// One deployment and what was appended to it.
struct Trial {
    deployment: Deployment,
    /// Files so far, of each kind.
    files: u64,
}

impl Trial {
    /// Appends a file of matches and one of another kind.
    fn append(&mut self, is_stream: bool) {
        let file = self.files;
        self.files += 1;
        let lines: String = numbers(file).map(|(n, is_other)| match_line(n, is_other)).collect();
        let text = format!("match_id,played_on,a,b,outcome_a\n{lines}");
        let path = self.deployment.file(&format!("m{file}.csv"), &text);
        self.deployment.import("matches", &path, &["--environment", "go"]);
        if is_stream {
            let text: String = numbers(file).map(|(n, _)| change_line(n)).collect();
            let path = self.deployment.file(&format!("c{file}.jsonl"), &text);
            self.deployment.import("recentchange", &path, &[]);
        } else {
            let runs = numbers(file).map(|(n, is_other)| run_line(n, is_other));
            let text =
                format!("submission_id,agent,submitted_at,score\n{}", runs.collect::<String>());
            let path = self.deployment.file(&format!("s{file}.csv"), &text);
            self.deployment.import("submissions", &path, &["--benchmark", "maths"]);
        }
    }

    /// Lets one consumer end at a point, with events before it and while it runs.
    async fn end_at(&mut self, point: &str) {
        self.append(false);
        // A partition that was stored already stands beside the one that is cut off.
        let times = if STORE_POINTS.contains(&point) { 2 } else { 1 };
        let at = format!("{point}:{times}");
        let variables = [("AGON_CRASH_AT", &*at)];
        let mut dying = self.deployment.role_with("consumer", &SESSION, &variables);
        let mut heir = None;
        let ended = tokio::time::timeout(DEADLINE, async {
            match point.split_once('.').unwrap().0 {
                "revoke" => {
                    dying.ready().await;
                    heir = Some(self.deployment.role_with("consumer", &SESSION, &[]));
                }
                "shutdown" => dying.ready().await,
                _ => {}
            }
            self.append(true);
            if point.starts_with("shutdown") {
                dying.signal("TERM");
            }
            dying.ended().await
        });
        let ended = ended.await.unwrap_or_else(|_| panic!("{point} was not passed"));
        let said = dying.said();
        assert_eq!(ended, ENDED_THERE, "{point} was not passed: {said}");
        assert!(said.contains(&format!("ends at {point}")), "{point}: {said}");
        if let Some(heir) = heir {
            assert_eq!(heir.terminate().await, Some(0), "the heir of {point}");
        }
    }
}

/// What a file tells: new events, then some of the file before, of which one says otherwise.
fn numbers(file: u64) -> impl Iterator<Item = (u64, bool)> {
    let before = file.saturating_sub(2) * NEW;
    let again = (before..before + AGAIN).map(move |n| (n, n == before));
    let again = again.filter(move |_| file >= 2);
    (file * NEW..(file + 1) * NEW).map(|n| (n, false)).chain(again)
}

fn match_line(n: u64, is_other: bool) -> String {
    let outcome = if n.is_multiple_of(3) != is_other { "1" } else { "0" };
    format!("m{n},2026-01-01,agent-{},agent-{},{outcome}\n", n * n % 11, 11 + n % 13)
}

fn run_line(n: u64, is_other: bool) -> String {
    let score = n % 50 + u64::from(is_other);
    format!("s{n},agent-{},2026-01-01,{score}\n", n % 17)
}

fn change_line(n: u64) -> String {
    let user = format!("user {}", n % 70);
    let meta = json!({"id": format!("c{n}"), "dt": "2026-01-01T00:00:00Z"});
    let server = format!("{}.example.org", n % 5);
    let is_bot = n.is_multiple_of(4);
    let line = json!({"meta": meta, "user": user, "bot": is_bot, "server_name": server});
    format!("{line}\n")
}

/// Every second one of all points, from this one on, in one deployment.
async fn every_second(first: usize) {
    let Some(deployment) = Deployment::new() else { return };
    deployment.init(2);
    let mut trial = Trial { deployment, files: 0 };
    let points = CRASH_POINTS.iter().chain(&STORE_POINTS).skip(first).step_by(2);
    for point in points {
        trial.end_at(point).await;
    }
    let Trial { deployment, files } = trial;
    let last = deployment.role("consumer", &SESSION).await;
    last.drained().await;
    let appended = files * NEW;
    let board = |option: &str, id: &str, counted: &str| {
        let shown = deployment.expect(0, &["board", option, id, "--format", "json"]);
        let board: Value = serde_json::from_str(&stdout(&shown)).unwrap();
        let entries = board["entries"].as_array().unwrap();
        let sum: u64 = entries.iter().map(|entry| entry[counted].as_u64().unwrap()).sum();
        (entries.len(), sum)
    };
    // Two agents a match; squares modulo 11 are six, and thirteen stand against them.
    assert_eq!(board("--environment", "go", "games"), (6 + 13, 2 * appended));
    assert_eq!(board("--benchmark", "maths", "submissions"), (17, appended / 2));
    let stats = stdout(&deployment.expect(0, &["stats", "--format", "json"]));
    let stats: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!((&stats["messages"], &stats["distinct_users"]), (&json!(appended / 2), &json!(70)));
    // Each file from the third on says one match otherwise, and every second of them one run.
    let list = ["events", "dead-letters", "list", "--limit", "1000"];
    let list = stdout(&deployment.expect(0, &list));
    let conflicts = list.lines().filter(|line| line.contains("conflicting_duplicate")).count();
    assert_eq!(conflicts as u64, (files - 2) + (files - 2) / 2, "{list}");
    deployment.verified();
    assert_eq!(last.terminate().await, Some(0));
}

/// A fault that never comes would make its test pass.
#[test]
fn what_names_no_fault_is_refused() {
    let shown = |variable: &str, value: &str| {
        let output = agon(&["config", "print"]).env(variable, value).output().unwrap();
        (output.status.code(), stderr(&output))
    };
    for (variable, value, named) in [
        ("AGON_BREAK", "progress_frist", "progress_first"),
        ("AGON_BREAK", "resume_from_brokers", "resume_from_broker"),
        ("AGON_BREAK", "", "no_first_seen"),
        ("AGON_CRASH_AT", "flush.after_cell", "flush.after_cells"),
        ("AGON_CRASH_AT", "fold.after_batch:", "fold.after_batch"),
        ("AGON_CRASH_AT", "fold.after_batch:0", "fold.after_batch"),
        ("AGON_CRASH_AT", "fold.after_batch:once", "fold.after_batch"),
    ] {
        let (code, said) = shown(variable, value);
        let says_all = said.contains(&format!("{variable} is '{value}'")) && said.contains(named);
        assert!(code == Some(2) && says_all, "{variable}={value}: {code:?} {said}");
    }
    let points = CRASH_POINTS.iter().chain(&STORE_POINTS).map(|point| ("AGON_CRASH_AT", *point));
    let others = [("AGON_CRASH_AT", "fold.after_batch:3"), ("AGON_BREAK", "no_record_hash")];
    for (variable, value) in points.chain(others) {
        assert_eq!(shown(variable, value).0, Some(0), "{variable}={value}");
    }
}

// Two deployments at a time: a test mostly waits until a dead member's session is over.

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_after_a_death_counts_each_event_once_first_half() {
    every_second(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_after_a_death_counts_each_event_once_second_half() {
    every_second(1).await;
}
