//! Days on which everything around a server goes wrong: it is stopped in mid-flush, killed twice in
//! a row, its volume is full, a setting, a password file or a name is bad. Each has its outcome in
//! docs/operations.md.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{AGON, PASSWORD, Server};
use support::{add_user, agon, expect, http, matches_csv, stderr, text, verify};

/// How long something may take that must come; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a server says whose store cannot be written to.
const STOPPED: &str = "the store stopped after a failed write";
/// Bytes that the smallest file takes of a volume, and more.
const PAGE_BYTES: u64 = 16 << 10;

async fn wait(moment: Duration) {
    tokio::time::sleep(moment).await;
}

fn a_match(id: &str) -> Value {
    json!({"match_id": id, "environment": "e",
        "players": [{"agent": "ann", "placement": 1}, {"agent": id, "placement": 2}]})
}

/// A flush after every row, so that there is hardly a moment without one.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_in_mid_flush_ends_with_0_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    add_user(dir.path(), "olga", "operator");
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let server = Server::start(dir.path(), &["--flush-rows-max", "1"]);
        let token = server.login("olga").await;
        let defined = server.post("/api/v1/environments", &token, &json!({"id": "e"})).await;
        assert_eq!(defined.0, 202, "{}", defined.1);
        let (base, stop) = (server.base.clone(), 20 + 10 * round);
        let (is_due, due) = tokio::sync::oneshot::channel();
        let posts = tokio::spawn(async move {
            let (mut known, mut is_due) = (Vec::new(), Some(is_due));
            for number in 0.. {
                let ids: Vec<String> = (0..20).map(|i| format!("{round}-{number}-{i}")).collect();
                let body: Vec<Value> = ids.iter().map(|id| a_match(id)).collect();
                let post = http().post(format!("{base}/matches")).bearer_auth(&token);
                let Ok(answer) = post.json(&body).send().await else { break };
                if answer.status() != 202 {
                    break;
                }
                known.extend(ids);
                if number == stop {
                    is_due.take().unwrap().send(()).unwrap();
                }
            }
            known
        });
        due.await.unwrap();
        assert_eq!(server.terminate(), Some(0), "round {round}");
        acknowledged.extend(posts.await.unwrap());
        let report = verify(dir.path());
        assert_eq!(report["differences"], 0, "round {round}: {report}");
    }
    let server = Server::start(dir.path(), &[]);
    ready(&server.base).await;
    let (_, board) = server.get("/leaderboard?environment=e&agent=ann").await;
    let games = board["entries"][0]["games"].as_u64().unwrap() as usize;
    // What was not answered any more may be there as well.
    assert!(games >= acknowledged.len(), "{games} of {}", acknowledged.len());
    assert_eq!(server.terminate(), Some(0));
}

async fn ready(base: &str) {
    let deadline = Instant::now() + PATIENCE;
    while http().get(format!("{base}/readyz")).send().await.unwrap().status() != 200 {
        assert!(Instant::now() < deadline, "not ready");
        wait(Duration::from_millis(20)).await;
    }
}

/// The second time before it has folded what the first death left.
#[tokio::test(flavor = "multi_thread")]
async fn killed_again_while_it_recovers_it_still_equals_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("matches.csv"), dir.path().join("data"));
    matches_csv(&file, 20_000, 7);
    let import = ["import", "matches", text(&file), "--environment", "e", "--data", text(&data)];
    expect(0, &import);
    let whole = verify(&data);
    std::fs::remove_dir_all(data.join("store")).unwrap();
    for _ in 0..2 {
        Server::start(&data, &[]).kill();
        assert_eq!(verify(&data)["differences"], 0);
    }
    let server = Server::start(&data, &[]);
    ready(&server.base).await;
    assert_eq!(server.terminate(), Some(0));
    let after = verify(&data);
    assert_eq!((&after["rows"], &after["hash"]), (&whole["rows"], &whole["hash"]), "{after}");
}

/// A server on a volume of its own of so many bytes, which ends with it.
struct Small {
    child: Option<Child>,
    /// The process that mounted it, and then ran the server as its child.
    pid: u32,
    base: String,
    said: tempfile::NamedTempFile,
    /// The volume, seen from outside.
    volume: PathBuf,
}

impl Small {
    /// `None`, said aloud, where nobody may mount. When it has ended it is started once more, and
    /// then `verify` prints its report.
    fn start(at: &Path, mib: u32) -> Option<Small> {
        let mounts = format!("mount -t tmpfs -o size={mib}m tmpfs {}", text(at));
        let try_it = Command::new("unshare").args(["-rm", "sh", "-c", &mounts]).output();
        if !try_it.is_ok_and(|tried| tried.status.success()) {
            eprintln!("skipped: no volume can be mounted here (unshare -rm, mount -t tmpfs)");
            return None;
        }
        let script = format!(
            "{mounts} && \
             echo {PASSWORD} | $0 user add olga --role operator --password-stdin --data $1 && \
             $0 serve --data $1 --listen 127.0.0.1:0; echo ended with $? >&2; \
             $0 serve --data $1 --listen 127.0.0.1:0 && $0 verify --data $1 --format json"
        );
        let data = at.join("data");
        let said = tempfile::NamedTempFile::new().unwrap();
        let child = Command::new("unshare")
            .args(["-rm", "sh", "-c", &script, AGON, text(&data)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(said.reopen().unwrap())
            .spawn()
            .unwrap();
        let pid = child.id();
        let volume = PathBuf::from(format!("/proc/{pid}/root{}", text(at)));
        Some(Small { child: Some(child), pid, base: String::new(), said, volume })
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.said.path()).unwrap()
    }

    fn filler(&self) -> PathBuf {
        self.volume.join("filler")
    }

    /// Takes all the room that its volume has left.
    fn fill(&self) -> std::fs::File {
        let mut filler = std::fs::File::create(self.filler()).unwrap();
        let full = std::io::copy(&mut std::io::repeat(7), &mut filler).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        filler
    }

    /// Waits until the server listens that was started as the `nth`, and is ready.
    async fn listens(&mut self, nth: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.said();
            let base = said.split("listens on ").nth(nth).and_then(|rest| rest.split_once('\n'));
            if let Some((base, _)) = base {
                self.base = base.trim().to_owned();
                break ready(&self.base).await;
            }
            assert!(Instant::now() < deadline, "does not listen: {said}");
            wait(Duration::from_millis(20)).await;
        }
    }

    async fn post(&self, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let post = http().post(format!("{}{path}", self.base)).bearer_auth(token);
        let answer = post.json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    /// Sends the server a signal.
    fn signal(&self, name: &str) {
        let path = format!("/proc/{0}/task/{0}/children", self.pid);
        let server = std::fs::read_to_string(path).unwrap_or_default();
        Command::new("kill").args(["-s", name, server.trim()]).status().ok();
    }

    /// Asks the second server to stop; what `verify` says of its volume then, and the code of both.
    fn ended(mut self) -> (Value, Option<i32>) {
        self.signal("TERM");
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        (serde_json::from_slice(&output.stdout).unwrap_or_default(), output.status.code())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            self.signal("KILL");
            child.kill().ok();
            child.wait().ok();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_volume_writes_are_refused_and_reads_go_on_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut small) = Small::start(dir.path(), 96) else { return };
    small.listens(1).await;
    let login = json!({"username": "olga", "password": PASSWORD});
    let (_, answer) = small.post("/login", "", &login).await;
    let token = answer["access_token"].as_str().unwrap().to_owned();
    let (status, answer) = small.post("/api/v1/environments", &token, &json!({"id": "e"})).await;
    assert_eq!(status, 202, "{answer}");
    let (status, answer) = small.post("/matches", &token, &a_match("before")).await;
    assert_eq!(status, 202, "{answer}");
    let position = answer["position"].as_str().unwrap().to_owned();

    let filler = small.fill();
    let (mut refused, mut sent) = (0, 0);
    // What fits into the last page that is there already may still be taken: by the log, until the
    // store has a row too many. So each gets another page now and then.
    while refused < 3 || !small.said().contains(STOPPED) {
        let body = a_match(&format!("full-{sent}-{}", "x".repeat(100)));
        let (status, answer) = small.post("/matches", &token, &body).await;
        assert!([202, 503].contains(&status), "{status} {answer}");
        refused += u32::from(status == 503);
        sent += 1;
        assert!(sent < 5_000, "a full volume takes everything: {}", small.said());
        if status == 503 {
            let left = filler.metadata().unwrap().len().saturating_sub(PAGE_BYTES);
            filler.set_len(left).unwrap();
            wait(Duration::from_millis(20)).await;
        }
    }
    let board = format!("{}/leaderboard?environment=e&min_position={position}", small.base);
    assert_eq!(http().get(&board).send().await.unwrap().status(), 200);

    std::fs::remove_file(small.filler()).unwrap();
    drop(filler);
    let deadline = Instant::now() + PATIENCE;
    let position = loop {
        let (status, answer) = small.post("/matches", &token, &a_match("after")).await;
        if status == 202 {
            break answer["position"].as_str().unwrap().to_owned();
        }
        assert!(status == 503 && Instant::now() < deadline, "{status} {answer}");
        wait(Duration::from_millis(50)).await;
    };
    // The boards move on as well, without a hand.
    let board = format!("{}/leaderboard?environment=e&min_position={position}", small.base);
    while http().get(&board).send().await.unwrap().status() != 200 {
        assert!(Instant::now() < deadline, "the boards stand still: {}", small.said());
    }
    small.signal("TERM");
    small.listens(2).await;
    assert!(small.said().contains("\nended with 0\n"), "{}", small.said());
    let after = format!("{}/api/v1/environments/e/matches/after", small.base);
    assert_eq!(http().get(&after).send().await.unwrap().status(), 200);
    let (report, code) = small.ended();
    assert_eq!((code, &report["differences"]), (Some(0), &0.into()), "{report}");
}

#[test]
fn a_setting_with_a_wrong_value_is_named_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agon.toml");
    for (key, value, named) in [
        ("flush_interval_ms", "\"soon\"", "--flush-interval-ms"),
        ("flush_interval_ms", "-1", "--flush-interval-ms"),
        ("log_format", "\"xml\"", "--log-format"),
        ("source_line_bytes_max", "5", "--source-line-bytes-max"),
        ("demo", "\"perhaps\"", "--demo"),
    ] {
        std::fs::write(&file, format!("{key} = {value}\n")).unwrap();
        let args = ["--config", text(&file), "serve", "--data", text(dir.path())];
        let said = stderr(&expect(2, &args));
        let value = value.trim_matches('"');
        assert!(said.contains(named) && said.contains(value), "{key} = {value}: {said}");
    }
    let mut serve = agon(&["serve", "--data", text(dir.path()), "--listen", "127.0.0.1:0"]);
    let output = serve.env("AGON_WORKERS", "many").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("many"), "{}", stderr(&output));
}

#[test]
fn a_password_file_that_is_not_there_is_named() {
    let role = ["consumer", "--log", "kafka://127.0.0.1:9", "--store", "cql://127.0.0.1:9/a"];
    for of in ["LOG", "STORE"] {
        let output = agon(&role)
            .env(format!("AGON_{of}_USER"), "ann")
            .env(format!("AGON_{of}_PASSWORD_FILE"), "/secrets/nothing-here")
            .output()
            .unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        let option = format!("--{}-password-file", of.to_lowercase());
        for named in ["/secrets/nothing-here", &option, "No such file"] {
            assert!(said.contains(named), "{named} is not said: {said}");
        }
    }
}

/// Names under `.invalid` never resolve.
#[test]
fn a_name_that_does_not_resolve_is_waited_for_and_then_named() {
    let servers = ["--log", "kafka://log.invalid:9092", "--store", "cql://store.invalid:9042/agon"];
    let role = ["consumer", "--wait", "2s", "--listen", "127.0.0.1:0"];
    let said = stderr(&expect(3, &[&role[..], &servers].concat()));
    assert!(said.contains("kafka://log.invalid:9092"), "{said}");
    let add = ["user", "list", "--wait", "2s"];
    let said = stderr(&expect(3, &[&add[..], &servers].concat()));
    assert!(said.contains("store.invalid"), "{said}");
}
