//! Where things are: a directory, or servers by their addresses.

use std::path::PathBuf;
use std::time::Duration;

use agon_kafka::{KafkaAddress, KafkaSettings};
use agon_scylla::CqlAddress;
use clap::Args;

use super::access::{LogAccess, StoreAccess};
use crate::exit::Exit;
use crate::production::Link;

/// The data directory.
#[derive(Clone, Debug, Args)]
pub struct Data {
    /// Directory of log, store and users; made when absent.
    #[arg(long, env = "AGON_DATA", default_value = "./agon-data", value_name = "DIR")]
    pub data: PathBuf,
}

/// How long to wait for servers.
#[derive(Clone, Copy, Debug, Args)]
pub struct Wait {
    /// How long to wait for a log and a store that are away or not made yet: 500ms, 60s, 2m.
    #[arg(long, env = "AGON_WAIT", default_value = "60s", value_parser = duration)]
    pub wait: Duration,
}

/// How topics and groups are called.
#[derive(Clone, Debug, Default, Args)]
pub struct Topics {
    /// Stands before the names of topics and groups, where several deployments share brokers.
    #[arg(long, env = "AGON_TOPIC_PREFIX", default_value = "", value_name = "TEXT")]
    pub topic_prefix: String,
}

impl Topics {
    fn settings(&self) -> KafkaSettings {
        KafkaSettings { topic_prefix: self.topic_prefix.clone(), ..KafkaSettings::default() }
    }
}

/// A directory, or servers instead.
#[derive(Clone, Debug, Args)]
pub struct Place {
    #[command(flatten)]
    pub data: Data,
    /// The log on Kafka or Redpanda: kafka://HOST:PORT[,…]
    #[arg(long, env = "AGON_LOG", value_name = "URL", conflicts_with = "data")]
    pub log: Option<KafkaAddress>,
    /// The store on ScyllaDB or Cassandra: cql://HOST:PORT[,…]/KEYSPACE
    #[arg(long, env = "AGON_STORE", value_name = "URL", conflicts_with = "data")]
    store: Option<CqlAddress>,
    #[command(flatten)]
    topics: Topics,
    #[command(flatten)]
    log_access: LogAccess,
    #[command(flatten)]
    store_access: StoreAccess,
    #[command(flatten)]
    pub wait: Wait,
}

impl Place {
    /// The settings of the log.
    ///
    /// # Errors
    /// Options that do not go together.
    pub fn settings(&self) -> Result<KafkaSettings, Exit> {
        self.log_access.apply(self.topics.settings())
    }

    /// The store on servers, with its user.
    ///
    /// # Errors
    /// As [`Place::settings`].
    pub fn store(&self) -> Result<Option<CqlAddress>, Exit> {
        self.store.as_ref().map(|address| self.store_access.apply(address)).transpose()
    }
}

/// The servers of a role.
#[derive(Clone, Debug, Args)]
pub struct Servers {
    /// The log on Kafka or Redpanda: kafka://HOST:PORT[,…]
    #[arg(long, env = "AGON_LOG", value_name = "URL")]
    pub log: KafkaAddress,
    /// The store on ScyllaDB or Cassandra: cql://HOST:PORT[,…]/KEYSPACE
    #[arg(long, env = "AGON_STORE", value_name = "URL")]
    store: CqlAddress,
    #[command(flatten)]
    topics: Topics,
    #[command(flatten)]
    log_access: LogAccess,
    #[command(flatten)]
    store_access: StoreAccess,
    #[command(flatten)]
    pub wait: Wait,
}

impl Servers {
    /// The settings of the log.
    ///
    /// # Errors
    /// Options that do not go together.
    pub fn settings(&self) -> Result<KafkaSettings, Exit> {
        self.log_access.apply(self.topics.settings())
    }

    /// The store, with its user.
    ///
    /// # Errors
    /// As [`Servers::settings`].
    pub fn store(&self) -> Result<CqlAddress, Exit> {
        self.store_access.apply(&self.store)
    }

    /// The ways to log and store, for who judges their safety.
    pub fn links(&self) -> (Link, Link) {
        (self.log_access.link(&self.log), self.store_access.link(&self.store))
    }
}

/// A directory, servers, or a running agon.
#[derive(Clone, Debug, Args)]
pub struct Source {
    #[command(flatten)]
    pub place: Place,
    /// Ask a running server instead of opening anything: http://HOST:PORT
    #[arg(
        long,
        env = "AGON_SERVER",
        value_name = "URL",
        conflicts_with_all = ["data", "log", "store"]
    )]
    pub server: Option<String>,
    /// Bearer token for the server; AGON_TOKEN_FILE names a file that holds it.
    #[arg(long, env = "AGON_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// File that holds the bearer token.
    #[arg(long, env = "AGON_TOKEN_FILE", value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
}

/// A span of time as people write it: 500ms, 60s, 2m.
pub fn duration(text: &str) -> Result<Duration, String> {
    let span = text.parse::<jiff::SignedDuration>().map_err(|error| error.to_string())?;
    Duration::try_from(span).map_err(|_| "a span of time is not below zero".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time() {
        for (text, expected) in [
            ("500ms", Some(500)),
            ("60s", Some(60_000)),
            ("2m", Some(120_000)),
            ("1m 30s", Some(90_000)),
            ("0s", Some(0)),
            ("-1s", None),
            ("60", None),
            ("", None),
            ("soon", None),
        ] {
            let parsed = duration(text).ok().map(|span| span.as_millis());
            assert_eq!(parsed, expected, "{text:?}");
        }
    }
}
