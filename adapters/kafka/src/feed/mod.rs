//! The change feed on the topic `agon.changes.v1`: hints of what changed, from consumers to every
//! process that shows boards. It is kept by time and read from its end on; a reader that lost some
//! is told, and loads from the store. News of one source keep their order: they share a partition.

mod publisher;
mod subscriber;
mod tenure;
mod wire;

use agon_ports::{EventLog, PortError};

use crate::client::Cluster;
use crate::log::KafkaLog;

pub use publisher::KafkaPublisher;
pub use subscriber::KafkaSubscriber;

/// How much news wait for a slow reader in its process unless set; the topic keeps the others.
const CHANGES_MAX_DEFAULT: usize = 1_024;

/// Where publishers and subscribers of one log come from.
#[derive(Clone, Debug)]
pub struct KafkaFeed {
    cluster: Cluster,
    partitions: u32,
    changes_max: usize,
}

impl KafkaFeed {
    /// The feed beside a log: at the same brokers, with as many partitions as its topics.
    pub fn new(log: &KafkaLog) -> KafkaFeed {
        let (cluster, partitions) = (log.cluster().clone(), log.partitions());
        KafkaFeed { cluster, partitions, changes_max: CHANGES_MAX_DEFAULT }
    }

    /// The same feed, with so much news at most that wait for each slow subscriber in its process,
    /// at least 1.
    #[must_use]
    pub fn with_changes_max(self, changes_max: usize) -> KafkaFeed {
        KafkaFeed { changes_max: changes_max.max(1), ..self }
    }

    /// A sending side.
    ///
    /// # Errors
    /// `Retry::Never` when the client library refuses its settings.
    pub fn publisher(&self) -> Result<KafkaPublisher, PortError> {
        KafkaPublisher::new(self)
    }

    /// A listening side, which hears what is published from now on: it notes the feed's end first.
    ///
    /// # Errors
    /// `Retry::Later` when the brokers do not answer.
    pub async fn subscriber(&self) -> Result<KafkaSubscriber, PortError> {
        KafkaSubscriber::new(self).await
    }

    fn attempted(&self, what: &str) -> String {
        format!("{what} {} at {}", self.cluster.changes_name(), self.cluster.address)
    }
}
