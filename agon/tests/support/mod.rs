//! The real binary in real processes, on loopback and in temporary directories.
#![allow(clippy::unwrap_used, clippy::print_stdout, dead_code)]

pub mod balancer;
pub mod cql;
pub mod log;
pub mod names;
pub mod nodes;
pub mod replay;
pub mod servers;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// The binary under test.
pub const AGON: &str = env!("CARGO_BIN_EXE_agon");
/// A password long enough for a user.
pub const PASSWORD: &str = "seven-quiet-otters-92";

/// A command without any setting of the caller's environment.
pub fn agon(args: &[&str]) -> Command {
    let mut command = Command::new(AGON);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AGON_") {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub fn run(args: &[&str]) -> Output {
    agon(args).output().unwrap()
}

/// Runs the binary and fails the test unless it ends with this code.
pub fn expect(code: i32, args: &[&str]) -> Output {
    let output = run(args);
    let shown = (stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(code), "agon {args:?}: {shown:?}");
    output
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The report of `verify`.
pub fn verify(data: &Path) -> Value {
    let output = run(&["verify", "--data", text(data), "--format", "json"]);
    let report = serde_json::from_slice(&output.stdout);
    report.unwrap_or_else(|error| panic!("verify: {error}: {}", stderr(&output)))
}

/// A shared data set, when it lies beside the project.
pub fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(path);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

/// A running `agon serve`.
pub struct Server {
    pub base: String,
    /// The URL of `/metrics`.
    pub metrics: String,
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts it on a free port and waits until it listens.
    pub fn start(data: &Path, more: &[&str]) -> Server {
        let mut child = agon(&["serve", "--data", text(data), "--listen", "127.0.0.1:0"])
            .args(more)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        let mut after = |words: &str| loop {
            let Some(line) = lines.next() else {
                panic!("serve ended before it listened: {seen}");
            };
            let line = line.unwrap();
            if let Some((_, rest)) = line.split_once(words) {
                return rest.trim().to_owned();
            }
            seen.push_str(&line);
            seen.push('\n');
        };
        let base = after("listens on ");
        let metrics = after("  metrics ");
        // Whatever it says later must not block it.
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| heard.lock().unwrap().push(line));
        });
        Server { base, metrics, child, said }
    }

    /// What it said on standard error since it listens, a line each.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// Ends it without a word.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop and waits for its exit code.
    pub fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().unwrap().code()
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    pub async fn login(&self, name: &str) -> String {
        let body = json!({"username": name, "password": PASSWORD});
        let url = format!("{}/login", self.base);
        let answer = http().post(url).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    pub async fn post(&self, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}{path}", self.base);
        let answer = http().post(url).bearer_auth(token).json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        let answer = http().get(format!("{}{path}", self.base)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Adds a user with the password of this module.
pub fn add_user(data: &Path, name: &str, role: &str) {
    let mut child = agon(&["user", "add", name, "--role", role, "--password-stdin", "--data"])
        .arg(data)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{PASSWORD}").unwrap();
    assert!(child.wait().unwrap().success());
}

/// A file of so many matches between a hundred agents, the same for the same seed.
pub fn matches_csv(path: &Path, lines: u32, seed: u64) {
    let mut text = String::from("match_id,played_on,a,b,outcome_a\n");
    let mut state = seed | 1;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    for line in 0..lines {
        let a = next(100);
        let b = (a + 1 + next(99)) % 100;
        let outcome = ["1", "0.5", "0"][next(3) as usize];
        text.push_str(&format!("m-{line},2026-01-01,agent-{a:02},agent-{b:02},{outcome}\n"));
    }
    std::fs::write(path, text).unwrap();
}
