//! The nodes of the servers that `scripts/servers` started, killed and paused one by one.
#![allow(clippy::unwrap_used, clippy::print_stderr, dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Which servers a node is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Kafka,
    Cassandra,
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Server::Kafka => "kafka",
            Server::Cassandra => "cassandra",
        }
    }
}

/// Three brokers and three nodes of the store; dropped, what a failed test left away is back.
pub struct Nodes {
    dir: PathBuf,
    /// What is away, and what brings it back.
    away: Vec<(Server, u32, &'static str)>,
}

impl Nodes {
    /// The servers of `TEST_SERVERS`; `None`, said aloud, unless there are three of each.
    pub fn three() -> Option<Nodes> {
        let Ok(dir) = std::env::var("TEST_SERVERS") else {
            eprintln!("skipped: TEST_SERVERS is not set; run scripts/servers");
            return None;
        };
        let settings = std::fs::read_to_string(Path::new(&dir).join("settings")).unwrap();
        let has = |setting: &str| settings.lines().any(|line| line == setting);
        if !has("kafka_nodes=3") || !has("cassandra_nodes=3") {
            eprintln!(
                "skipped: TEST_SERVERS has not three nodes of each; run scripts/servers start \
                 --kafka-nodes 3 --cassandra-nodes 3"
            );
            return None;
        }
        Some(Nodes { dir: dir.into(), away: Vec::new() })
    }

    /// The one broker and the one node of the store; `None`, said aloud, unless there are such.
    pub fn one() -> Option<Nodes> {
        let Ok(dir) = std::env::var("TEST_SERVERS") else {
            eprintln!("skipped: TEST_SERVERS is not set; run scripts/servers");
            return None;
        };
        let settings = std::fs::read_to_string(Path::new(&dir).join("settings")).unwrap();
        if settings.contains("_nodes=3") {
            eprintln!("skipped: TEST_SERVERS has three nodes; run scripts/servers start");
            return None;
        }
        Some(Nodes { dir: dir.into(), away: Vec::new() })
    }

    /// SIGKILL.
    pub fn kill(&mut self, server: Server, node: u32) {
        assert!(self.said_yes("kill", server, node), "kill {server:?} {node}");
        self.away.push((server, node, "restart"));
    }

    /// SIGSTOP.
    pub fn pause(&mut self, server: Server, node: u32) {
        assert!(self.said_yes("pause", server, node), "pause {server:?} {node}");
        self.away.push((server, node, "resume"));
    }

    /// Starts a node again with what its files say now; it answers when this returns.
    pub fn restart(&self, server: Server, node: u32) {
        assert!(self.said_yes("restart", server, node), "restart {server:?} {node}");
    }

    /// The configuration of a node.
    pub fn file(&self, server: Server, node: u32, name: &str) -> PathBuf {
        self.dir.join(format!("{}-{node}", server.name())).join(name)
    }

    /// Brings back what is away; a killed one answers when this returns.
    pub fn bring_back(&mut self) {
        for (server, node, mends) in self.take_away() {
            assert!(self.said_yes(mends, server, node), "{mends} {server:?} {node}");
        }
    }

    /// What is away, the paused first: a killed one may need them to answer again.
    fn take_away(&mut self) -> Vec<(Server, u32, &'static str)> {
        let mut away = std::mem::take(&mut self.away);
        away.sort_by_key(|(.., mends)| *mends == "restart");
        away
    }

    fn said_yes(&self, verb: &str, server: Server, node: u32) -> bool {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/servers");
        let mut command = Command::new(script);
        command.args([verb, server.name(), &node.to_string(), "--dir"]).arg(&self.dir);
        // Its output would be held open by the server that it starts.
        command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap().success()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for (server, node, mends) in self.take_away() {
            self.said_yes(mends, server, node);
        }
    }
}
