//! The roles that run as processes of their own, and what makes ready for them.

use std::time::Duration;

use clap::Args;

use super::FoldLimits;
use super::Guard;
use super::Streams;
use super::Traces;
use super::place::{Servers, duration};

/// Where a role answers.
#[derive(Clone, Debug, Args)]
pub struct Listen {
    /// Address to listen on.
    #[arg(long, env = "AGON_LISTEN", default_value = "127.0.0.1:8080", value_name = "HOST:PORT")]
    pub listen: String,
    /// Address for /metrics alone; then the main address does not serve it.
    #[arg(long, env = "AGON_METRICS_LISTEN", value_name = "HOST:PORT")]
    pub metrics_listen: Option<String>,
    /// How long everything goes on after SIGTERM while /readyz already says no.
    ///
    /// For whatever sends requests here by /readyz and needs a moment to look elsewhere. Where it
    /// is told before, as by a preStop pause in Kubernetes, nothing need be waited for.
    #[arg(
        long,
        env = "AGON_SHUTDOWN_DELAY",
        default_value = "0s",
        value_parser = duration,
        value_name = "TIME"
    )]
    pub shutdown_delay: Duration,
    #[command(flatten)]
    pub traces: Traces,
}

/// `agon init`.
#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    pub servers: Servers,
    /// Partitions of each topic of events; recorded, and never changed.
    #[arg(long, env = "AGON_PARTITIONS", value_name = "N")]
    pub partitions: Option<u32>,
    /// Copies of everything; the smaller of 3 and the nodes seen unless given.
    #[arg(long, env = "AGON_REPLICATION", value_name = "N")]
    pub replication: Option<u16>,
    /// How long the change feed is kept.
    #[arg(
        long,
        env = "AGON_CHANGES_RETENTION",
        default_value = "1h",
        value_parser = duration,
        value_name = "TIME"
    )]
    pub changes_retention: Duration,
    /// The topics were made anew: empties the tables of what was folded of the old ones, and
    /// begins the next epoch of stamps, so that new facts win over late old ones.
    #[arg(long)]
    pub new_epoch: bool,
}

/// `agon producer`.
#[derive(Debug, Args)]
pub struct Producer {
    #[command(flatten)]
    pub servers: Servers,
    #[command(flatten)]
    pub listen: Listen,
    #[command(flatten)]
    pub streams: Streams,
    #[command(flatten)]
    pub guard: Guard,
    #[command(flatten)]
    pub shutdown: Shutdown,
}

/// `agon consumer`.
#[derive(Debug, Args)]
pub struct Consumer {
    #[command(flatten)]
    pub servers: Servers,
    #[command(flatten)]
    pub listen: Listen,
    /// A consumer that is silent for so long loses its partitions to the others.
    #[arg(
        long,
        env = "AGON_SESSION_TIMEOUT",
        default_value = "10s",
        value_parser = duration,
        value_name = "TIME"
    )]
    pub session_timeout: Duration,
    /// How members agree on their shares: classic works everywhere, consumer needs Kafka 4.
    #[arg(long, env = "AGON_GROUP_PROTOCOL", default_value = "classic", value_name = "PROTOCOL")]
    pub group_protocol: agon_kafka::GroupProtocol,
    #[command(flatten)]
    pub fold: FoldLimits,
    #[command(flatten)]
    pub guard: Guard,
    #[command(flatten)]
    pub shutdown: Shutdown,
}

/// `agon api`.
#[derive(Debug, Args)]
pub struct Api {
    #[command(flatten)]
    pub servers: Servers,
    #[command(flatten)]
    pub listen: Listen,
    /// Take writes as well, so that one address serves all.
    #[arg(long, env = "AGON_INTAKE")]
    pub intake: bool,
    #[command(flatten)]
    pub guard: Guard,
    #[command(flatten)]
    pub shutdown: Shutdown,
}

/// How long an end may take.
#[derive(Clone, Copy, Debug, Args)]
pub struct Shutdown {
    /// Time for shutting down: finish requests and what was accepted.
    #[arg(long, env = "AGON_SHUTDOWN_MS_MAX", default_value_t = 10_000, value_name = "MS")]
    pub shutdown_ms_max: u64,
}
