//! The real servers, by way of `scripts/servers`: started behind proxies, broken, stopped.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use tokio::process::Command;
use tokio::sync::Mutex;

use crate::Error;
use crate::process::finish;
use crate::proxy::Proxy;
use crate::schedule::Link;

/// Ports that one deployment claims: 20 of the servers, of which the last are our proxies', and
/// the rest for roles.
const PORTS_CLAIMED: u16 = 60;
/// Where ranges of ports are looked for: below what kernels hand out by themselves.
const PORT_RANGES: std::ops::Range<u16> = 22_000..32_000;
/// The first port of the proxies before the brokers, and of roles, within the range.
const KAFKA_PROXY: u16 = 16;
const ROLES: u16 = 20;
/// Where CQL is spoken, within the range.
const CQL: u16 = 10;
/// The address of the proxy before the first node of the store; the others follow.
const STORE_PROXY: u8 = 9;
/// How long a server may take to answer: on a busy machine, behind two others, longer than usual.
const ANSWERS_SECONDS_MAX: u64 = 600;
/// Longest wait for a command of the script, of which the longest waits for all nodes.
const SCRIPT_SECONDS_MAX: u64 = 2_000;

/// Which servers.
#[derive(Clone, Debug)]
pub struct ServersConfig {
    /// `scripts/servers`.
    pub script: PathBuf,
    /// Where they keep their data and logs.
    pub dir: PathBuf,
    /// The first of the ports; a free range is looked for unless given.
    pub port_base: Option<u16>,
    /// Brokers, and nodes of the store: 1 or 3 of each.
    pub nodes: u32,
    /// batch or periodic: whether an acknowledged write survives a kill of its node.
    pub cassandra_sync: String,
}

/// Running servers with a proxy before each; dropped, they are stopped.
#[derive(Debug)]
pub struct Servers {
    config: ServersConfig,
    port_base: u16,
    log: Side,
    store: Side,
}

/// One kind of server.
#[derive(Debug, Default)]
struct Side {
    /// Before each node.
    proxies: Vec<Proxy>,
    /// Held while one of the nodes is away.
    turn: Mutex<()>,
}

impl Servers {
    /// Starts new, empty servers and waits until they answer.
    ///
    /// # Errors
    /// When no range of ports is free, a proxy cannot listen, or a server does not come up.
    pub async fn start(config: ServersConfig) -> Result<Servers, Error> {
        let port_base = match config.port_base {
            Some(base) => base,
            None => free_range()?,
        };
        let at = |last: u8, port: u16| {
            SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), port_base + port)
        };
        let (mut log, mut store) = (Side::default(), Side::default());
        for node in 0..u8::try_from(config.nodes).unwrap_or(1) {
            let (broker, number) = (u16::from(node), 1 + node);
            log.proxies.push(proxy(at(1, KAFKA_PROXY + broker), at(1, broker)).await?);
            store.proxies.push(proxy(at(STORE_PROXY + node, CQL), at(number, CQL)).await?);
        }
        let servers = Servers { config, port_base, log, store };
        let ServersConfig { nodes, cassandra_sync, .. } = &servers.config;
        let args = [
            "start".to_owned(),
            format!("--port-base={port_base}"),
            format!("--kafka-nodes={nodes}"),
            format!("--cassandra-nodes={nodes}"),
            format!("--cassandra-sync={cassandra_sync}"),
            format!("--deadline={ANSWERS_SECONDS_MAX}"),
            format!("--kafka-advertised={}", port_base + KAFKA_PROXY),
            format!("--cassandra-advertised=127.0.0.{STORE_PROXY}"),
        ];
        servers.script(&args.each_ref().map(String::as_str)).await?;
        Ok(servers)
    }

    /// Brokers, and nodes of the store.
    pub fn nodes(&self) -> u32 {
        self.config.nodes
    }

    /// The proxies before the nodes at the end of a link, the first node's first.
    pub fn proxies(&self, link: Link) -> &[Proxy] {
        &self.side(link).proxies
    }

    /// Held while one of the nodes at the end of a link is away.
    pub fn turn(&self, link: Link) -> &Mutex<()> {
        &self.side(link).turn
    }

    fn side(&self, link: Link) -> &Side {
        match link {
            Link::Log => &self.log,
            Link::Store => &self.store,
        }
    }

    /// `kill`, `pause`, `resume` or `restart` of node N at the end of a link.
    ///
    /// # Errors
    /// When the script says no, or a restarted server does not come up.
    pub async fn node(&self, verb: &str, link: Link, node: u32) -> Result<(), Error> {
        let server = match link {
            Link::Log => "kafka",
            Link::Store => "cassandra",
        };
        self.script(&[verb, server, &node.to_string()]).await
    }

    /// The log as the program under test is told, through the proxies.
    pub fn log_url(&self) -> String {
        format!("kafka://{}", addresses(&self.log.proxies))
    }

    /// The store as the program under test is told, through the proxies.
    pub fn store_url(&self) -> String {
        format!("cql://{}/agon", addresses(&self.store.proxies))
    }

    /// The address of the role with this number.
    pub fn role_address(&self, number: u16) -> String {
        format!("127.0.0.1:{}", self.port_base + ROLES + number)
    }

    async fn script(&self, args: &[&str]) -> Result<(), Error> {
        let mut command = Command::new(&self.config.script);
        command.args(args).arg("--dir").arg(&self.config.dir);
        finish(command, "", SCRIPT_SECONDS_MAX, &[0]).await.map(drop)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let mut command = std::process::Command::new(&self.config.script);
        // Nothing is kept of them but logs: no need to let them end in order.
        command.args(["stop", "--now", "--dir"]).arg(&self.config.dir);
        command.stderr(std::process::Stdio::null()).status().ok();
    }
}

async fn proxy(listen: SocketAddr, target: SocketAddr) -> Result<Proxy, Error> {
    Proxy::start(listen, target).await.map_err(Error::io(format!("listen on {listen}")))
}

fn addresses(proxies: &[Proxy]) -> String {
    let each: Vec<String> = proxies.iter().map(|proxy| proxy.address().to_string()).collect();
    each.join(",")
}

/// A range of ports on which nobody listens now.
fn free_range() -> Result<u16, Error> {
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let first = PORT_RANGES.start
        + rand::random_range(0..PORT_RANGES.len() as u16 / PORTS_CLAIMED) * PORTS_CLAIMED;
    let mut bases = (first..PORT_RANGES.end - PORTS_CLAIMED).step_by(PORTS_CLAIMED.into());
    bases.find(|&base| (base..base + PORTS_CLAIMED).all(is_free)).ok_or_else(|| Error::Answer {
        what: "look for free ports".to_owned(),
        said: format!("none between {first} and {}; name some", PORT_RANGES.end),
    })
}
