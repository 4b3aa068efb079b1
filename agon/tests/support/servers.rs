//! One deployment on the servers that `scripts/servers` started: topics and a keyspace of its own,
//! and roles as processes.
#![allow(clippy::unwrap_used, clippy::print_stderr, dead_code)]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use agon_kafka::{KafkaLog, KafkaSettings};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::names::Names;
use super::{PASSWORD, agon, http, stderr, stdout, text};

/// How long something may take that must come; only a failing test waits so long.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Where a deployment lives.
pub struct Deployment {
    pub log: String,
    pub store: String,
    pub prefix: String,
    /// Settings of every command: users and passwords.
    pub variables: Vec<(&'static str, String)>,
    /// What its processes resolve, instead of what this machine does.
    pub names: Option<Names>,
    /// Configuration and logs of its processes.
    dir: TempDir,
}

impl Deployment {
    /// A name of its own for everything, nothing made yet; `None`, said aloud, without servers.
    pub fn new() -> Option<Deployment> {
        let address = |name: &str| {
            let found = std::env::var(name).ok();
            if found.is_none() {
                eprintln!("skipped: {name} is not set; run scripts/servers");
            }
            found
        };
        Some(Deployment::at(&address("TEST_KAFKA")?, &address("TEST_CQL")?))
    }

    /// The same on these servers, each `HOST:PORT[,…]`.
    pub fn at(kafka: &str, cql: &str) -> Deployment {
        let name = format!("t{:08x}", rand::random::<u32>());
        Deployment {
            log: format!("kafka://{kafka}"),
            store: format!("cql://{cql}/{name}"),
            prefix: format!("{name}."),
            variables: Vec::new(),
            names: None,
            dir: TempDir::new().unwrap(),
        }
    }

    /// The same log with another keyspace, or the other way round.
    pub fn with(&self, prefix: &str, store: &str) -> Deployment {
        Deployment {
            log: self.log.clone(),
            store: store.to_owned(),
            prefix: prefix.to_owned(),
            variables: self.variables.clone(),
            names: None,
            dir: TempDir::new().unwrap(),
        }
    }

    /// Options of every command.
    pub fn options(&self) -> Vec<String> {
        ["--log", &self.log, "--store", &self.store, "--topic-prefix", &self.prefix]
            .map(str::to_owned)
            .into()
    }

    /// A command on this deployment.
    pub fn command(&self, args: &[&str]) -> Command {
        let command = agon(args);
        let mut command = self.names.as_ref().map_or(command, |names| names.around(args));
        command.args(self.options()).current_dir(self.dir.path());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must end with this code.
    pub fn expect(&self, code: i32, args: &[&str]) -> Output {
        let output = self.run(args);
        let shown = (stdout(&output), stderr(&output));
        assert_eq!(output.status.code(), Some(code), "agon {args:?}: {shown:?}");
        output
    }

    /// The log itself, for records that nobody would post.
    pub async fn kafka(&self) -> KafkaLog {
        let settings =
            KafkaSettings { topic_prefix: self.prefix.clone(), ..KafkaSettings::default() };
        KafkaLog::open(&self.log.parse().unwrap(), settings).await.unwrap()
    }

    /// Makes topics and tables.
    pub fn init(&self, partitions: u32) {
        self.expect(0, &["init", "--partitions", &partitions.to_string()]);
    }

    /// Starts a role and waits until it is ready.
    pub async fn role(&self, role: &str, more: &[&str]) -> Role {
        let role = self.role_with(role, more, &[]);
        role.ready().await;
        role
    }

    /// Starts a role with variables of its own, and waits for nothing.
    pub fn role_with(&self, role: &str, more: &[&str], variables: &[(&str, &str)]) -> Role {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let name = format!("{role}-{port}.log");
        let output = std::fs::File::create(self.dir.path().join(&name)).unwrap();
        let mut command = self.command(&[role, "--listen", &format!("127.0.0.1:{port}")]);
        let child = command
            .args(more)
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .unwrap();
        let output = self.dir.path().join(name);
        Role { base: format!("http://127.0.0.1:{port}"), child, output }
    }

    /// The report of `verify`.
    pub fn verify(&self) -> Value {
        let output = self.run(&["verify", "--format", "json"]);
        let report = serde_json::from_slice(&output.stdout);
        report.unwrap_or_else(|error| panic!("verify: {error}: {}", stderr(&output)))
    }

    /// Fails unless everything stored is the fold of the log.
    pub fn verified(&self) -> Value {
        let mut report = self.verify();
        let named = report["named"].take();
        let first: String = named.to_string().chars().take(2_000).collect();
        assert_eq!(report["differences"], 0, "{report} {first}");
        report
    }

    /// Writes a file for an import.
    pub fn file(&self, name: &str, contents: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, contents).unwrap();
        text(&path).to_owned()
    }

    /// Adds a user who may write, and answers a token of hers from a role that answers.
    pub async fn operator(&self, role: &Role) -> String {
        let add = ["user", "add", "olga", "--role", "operator", "--password-stdin"];
        let mut child = self.command(&add).stdin(Stdio::piped()).spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{PASSWORD}").unwrap();
        assert!(child.wait().unwrap().success());
        let body = json!({"username": "olga", "password": PASSWORD});
        let (status, answer) = role.post("/login", "", body).await;
        assert_eq!(status, 200, "{answer}");
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Appends a file to the log.
    pub fn import(&self, what: &str, file: &str, more: &[&str]) {
        let mut command = agon(&["import", what, file, "--log", &self.log]);
        command.args(["--topic-prefix", &self.prefix]).args(more);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let output = command.output().unwrap();
        assert!(output.status.success(), "import {file}: {}", stderr(&output));
    }
}

/// A role in a process of its own; it is killed when it is dropped.
pub struct Role {
    pub base: String,
    child: Child,
    output: PathBuf,
}

impl Role {
    /// Waits until it is ready.
    pub async fn ready(&self) {
        self.until("ready", async || {
            let answer = http().get(format!("{}/readyz", self.base)).send().await;
            answer.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }

    /// The body of a GET; null while nobody answers.
    pub async fn get(&self, path: &str) -> Value {
        match http().get(format!("{}{path}", self.base)).send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }

    /// The status and body of a POST.
    pub async fn post(&self, path: &str, token: &str, body: Value) -> (u16, Value) {
        let request = http().post(format!("{}{path}", self.base)).json(&body);
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    /// The sum of a metric's series, whose lines begin with this.
    pub async fn metric(&self, name: &str) -> f64 {
        let Ok(answer) = http().get(format!("{}/metrics", self.base)).send().await else {
            return 0.0;
        };
        let text = answer.text().await.unwrap_or_default();
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The memory that it has in use, in KiB.
    pub fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Waits until a board's total and its first entrant's rating are these.
    pub async fn board(&self, environment: &str, total: u64, rating: f64) {
        let path = format!("/leaderboard?environment={environment}&limit=1");
        self.until(&path, async || {
            let board = self.get(&path).await;
            let first = board["entries"][0]["rating"].as_f64().unwrap_or(0.0);
            board["total"] == total && (first - rating).abs() < 0.000_5
        })
        .await;
    }

    /// Waits until nothing of what it folds is behind.
    pub async fn drained(&self) {
        self.until("drained", async || {
            let status = self.get("/status").await;
            status["lag_records"] == 0 && status["partitions"].as_array().is_some()
        })
        .await;
    }

    /// Waits until something is true; shows what the process said when it never is.
    pub async fn until(&self, what: &str, is_true: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_true().await {
            assert!(Instant::now() < deadline, "not {what}: {}", self.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What it wrote on standard error.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Waits for its end and answers its code.
    pub async fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "does not end: {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Asks it to stop and answers its code.
    pub async fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        self.ended().await
    }

    /// Ends it without a word.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
