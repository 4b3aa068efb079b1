//! `agon bench`: what is measured, and with how much.

use std::path::PathBuf;
use std::time::Duration;

use agon_kafka::KafkaAddress;
use agon_scylla::CqlAddress;
use clap::{Args, Subcommand};

use super::FoldLimits;
use super::place::duration;

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// The log's append beside raw writes of equal bytes with equal syncs.
    Append(BenchRun),
    /// Import to durable projections beside a bare append of the same events.
    Pipeline(BenchRun),
    /// Acknowledged to visible on the board, at half load.
    Visible(BenchRun),
    /// GET /leaderboard and /stats beside a bare handler with the same bytes.
    Http(BenchRun),
    /// The consumer beside a bare reader and a bare writer, on servers.
    ///
    /// Needs Kafka or Redpanda, and with --store also Cassandra or ScyllaDB. Makes topics of its
    /// own with a new prefix and, with --store, a keyspace KEYSPACE_PREFIX; both are named and
    /// left. Fills the log with matches, then reads it whole on each side in turn: a bare reader
    /// that decodes, the consumer with a store that drops what it gets, with the embedded store
    /// and, with --store, with the servers' one, that without duplicate checks and positions, and
    /// a bare writer of the same batches.
    Consume(BenchConsume),
    /// From the SIGKILL of a consumer to the first flush of its heir, on servers.
    ///
    /// Needs Kafka or Redpanda and Cassandra or ScyllaDB. Makes topics with a new prefix and a
    /// keyspace KEYSPACE_PREFIX; both are named and left. Runs two `agon consumer` processes,
    /// appends matches at a steady rate, and kills one of the two in each round.
    Takeover(BenchTakeover),
    /// How far API processes are behind the log at half load, on servers.
    ///
    /// Needs Kafka or Redpanda and Cassandra or ScyllaDB. Makes topics with a new prefix and a
    /// keyspace KEYSPACE_PREFIX; both are named and left. Runs one `agon consumer` and two `agon
    /// api` processes, takes the full speed from a first burst, and appends at half of it.
    Behind(BenchBehind),
    /// A live stream into the log, beside bare readers of the same stream.
    ///
    /// Starts a server that replays made-up recent changes as server-sent events, as fast as they
    /// are taken, and reads all of them on each side in turn: bare readers that drop the bytes or
    /// parse the JSON, the source into an embedded log until everything is acknowledged, and `agon
    /// serve` as a process, from its start on, which folds them as well. With --log the source
    /// also appends to topics of its own there with a new prefix; they are named and left.
    Source(BenchSource),
    /// The replay server: as many recent changes as it is told.
    #[command(hide = true)]
    Replay {
        /// Changes of a stream.
        events: u64,
    },
    /// The bare handler: answers with the bytes of a file.
    #[command(hide = true)]
    Bare {
        /// The file.
        file: PathBuf,
    },
}

#[derive(Clone, Debug, Args)]
pub struct BenchRun {
    /// Events of a run.
    #[arg(long, default_value_t = 200_000)]
    pub events: u64,
    /// Runs of each side, in turn; the median is printed.
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
}

#[derive(Clone, Debug, Args)]
pub struct BenchSource {
    #[command(flatten)]
    pub run: BenchRun,
    /// The log on Kafka or Redpanda, for the side that needs it: kafka://HOST:PORT[,…]
    #[arg(long, env = "AGON_LOG", value_name = "URL")]
    pub log: Option<KafkaAddress>,
}

/// The matches that benches on servers append.
#[derive(Clone, Copy, Debug, Args)]
pub struct BenchMatches {
    /// Agents that play, Zipf-distributed: agent number r plays 1/r as often as the first.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(2..))]
    pub agents: u32,
    /// Environments that the matches are spread over evenly.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=9_999))]
    pub environments: u32,
}

/// Both servers.
#[derive(Clone, Debug, Args)]
pub struct BenchServers {
    /// The log on Kafka or Redpanda: kafka://HOST:PORT[,…]
    #[arg(long, env = "AGON_LOG", value_name = "URL")]
    pub log: KafkaAddress,
    /// The store on ScyllaDB or Cassandra: cql://HOST:PORT[,…]/KEYSPACE
    #[arg(long, env = "AGON_STORE", value_name = "URL")]
    pub store: CqlAddress,
}

#[derive(Clone, Debug, Args)]
pub struct BenchConsume {
    /// The log on Kafka or Redpanda: kafka://HOST:PORT[,…]
    #[arg(long, env = "AGON_LOG", value_name = "URL")]
    pub log: KafkaAddress,
    /// The store on ScyllaDB or Cassandra, for the sides that need it.
    #[arg(long, env = "AGON_STORE", value_name = "URL")]
    pub store: Option<CqlAddress>,
    /// Matches in the log.
    #[arg(
        long,
        default_value_t = 2_000_000,
        value_parser = clap::value_parser!(u64).range(1_000..)
    )]
    pub events: u64,
    /// Times that each side reads all of them, in turn; the median is printed.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    #[command(flatten)]
    pub matches: BenchMatches,
    #[command(flatten)]
    pub fold: FoldLimits,
}

#[derive(Clone, Debug, Args)]
pub struct BenchTakeover {
    #[command(flatten)]
    pub servers: BenchServers,
    /// Session timeouts to measure with, one after the other.
    #[arg(
        long,
        default_values = ["6s", "10s"],
        value_delimiter = ',',
        value_parser = duration,
        value_name = "TIME,…"
    )]
    pub session_timeouts: Vec<Duration>,
    /// Kills for each session timeout.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Matches appended a second.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub rate: u64,
    #[command(flatten)]
    pub matches: BenchMatches,
}

#[derive(Clone, Debug, Args)]
pub struct BenchBehind {
    #[command(flatten)]
    pub servers: BenchServers,
    /// Matches of the burst that shows the full speed.
    #[arg(
        long,
        default_value_t = 200_000,
        value_parser = clap::value_parser!(u64).range(1_000..)
    )]
    pub events: u64,
    /// How long half the full speed is kept.
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "TIME")]
    pub time: Duration,
    #[command(flatten)]
    pub matches: BenchMatches,
}
