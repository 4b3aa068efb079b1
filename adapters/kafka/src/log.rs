//! [`KafkaLog`]: an opened log.

use std::sync::Arc;

use agon_ports::{Append, Assignment, EventLog, LogReader, PortError};
use agon_schema::{LogId, Position, Topic, TopicPartition};
use async_trait::async_trait;
use uuid::Uuid;

use crate::address::KafkaAddress;
use crate::client::Cluster;
use crate::error::{Difference, OpenError};
use crate::inquiry::{Edge, Inquiry};
use crate::settings::KafkaSettings;
use crate::survey::survey;
use crate::topics::{self, Rule};

/// Under which the identities of logs are made.
const LOGS: Uuid = Uuid::from_u128(0x5e0f_7a1d_2c7b_4c55_9a43_61f0_0f0b_a6d4);

/// The log on Kafka or Redpanda. Clones are the same log.
#[derive(Clone)]
pub struct KafkaLog {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: Cluster,
    id: LogId,
    partitions: u32,
    inquiry: Arc<Inquiry>,
}

/// Who a log is, and how many partitions its topics have.
pub(crate) struct Identity {
    pub(crate) id: LogId,
    pub(crate) partitions: u32,
}

impl KafkaLog {
    /// Opens the log: connects, and checks that every topic is there and as it must be.
    ///
    /// # Errors
    /// [`OpenError::Away`] and [`OpenError::NotMade`], which may pass; the others are for good.
    pub async fn open(
        address: &KafkaAddress,
        settings: KafkaSettings,
    ) -> Result<KafkaLog, OpenError> {
        let cluster = Cluster { address: address.clone(), settings };
        blocking(&cluster.clone(), move || open_now(cluster)).await
    }

    /// The cluster, for the group and the feed.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.inner.cluster
    }
}

fn open_now(cluster: Cluster) -> Result<KafkaLog, OpenError> {
    let inquiry = Arc::new(Inquiry::new(&cluster)?);
    let Identity { id, partitions } = identify(&cluster, &inquiry)?;
    Ok(KafkaLog { inner: Arc::new(Inner { cluster, id, partitions, inquiry }) })
}

/// Checks the topics and names the log.
fn identify(cluster: &Cluster, inquiry: &Inquiry) -> Result<Identity, OpenError> {
    let address = cluster.address.clone();
    let all = topics::all(cluster, None);
    let names: Vec<String> = all.iter().map(|(name, _)| name.clone()).collect();
    let seen = survey(cluster, inquiry, &names)?;
    let topics: Vec<String> =
        names.iter().filter(|name| !seen.topics.contains_key(*name)).cloned().collect();
    if !topics.is_empty() {
        return Err(OpenError::NotMade { address, topics });
    }
    let partitions = seen.topics.get(&names[0]).map_or(0, |found| found.partitions);
    let differences: Vec<Difference> = all
        .into_iter()
        .map(|(name, kind)| Rule { name, kind, partitions, replication: None })
        .filter_map(|rule| seen.topics.get(&rule.name).map(|found| rule.differences(found)))
        .flatten()
        .collect();
    if !differences.is_empty() {
        return Err(OpenError::Differs { address, differences });
    }
    Ok(Identity { id: log_id(cluster, inquiry)?, partitions })
}

/// A log is its cluster and its topics of events. Their ids change when they are made anew; where
/// the brokers give no ids, the names must do.
fn log_id(cluster: &Cluster, inquiry: &Inquiry) -> Result<LogId, OpenError> {
    let names = Topic::ALL.map(|topic| cluster.topic_name(topic));
    let mut text = inquiry.cluster_id()?;
    let ids = inquiry.topic_ids(&names)?;
    for name in names {
        let id = ids.get(&name).copied().unwrap_or_default();
        text.push_str(&format!("\n{name} {id:032x}"));
    }
    Ok(LogId(Uuid::new_v5(&LOGS, text.as_bytes())))
}

/// Runs what blocks where blocking is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    cluster: &Cluster,
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(OpenError::Away { address: cluster.address.clone(), reason: error.to_string() })
    })
}
