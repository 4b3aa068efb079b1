//! The consumer group: who works on which partitions. Membership alone: records are read by
//! position through [`KafkaLog`](crate::KafkaLog), from where the store says, so a member's
//! consumer never fetches.

mod members;
mod membership;
mod state;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use agon_ports::{Assignment, Commits, Group, GroupMember, GroupNews, PortError};
use agon_schema::Topic;
use async_trait::async_trait;
use rdkafka::consumer::Consumer;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::address::KafkaAddress;
use crate::client::{Cluster, plain};
use crate::settings::KafkaSettings;
use membership::Membership;
use state::Shared;

/// The group's name unless another is set.
pub const GROUP_ID_DEFAULT: &str = "agon-consumer";

/// The consumers of one log.
///
/// Under the classic protocol every join and leave revokes all shares. A member that was told to
/// stop is waited for, for half a session timeout. A member that is silent for a whole one has
/// lost its share, hears `Revoked { is_lost: true }` when it comes back, and joins again by itself.
#[derive(Clone, Debug)]
pub struct KafkaGroup {
    cluster: Cluster,
    group: String,
}

impl KafkaGroup {
    /// The group [`GROUP_ID_DEFAULT`] at these brokers; the settings' prefix stands before it.
    pub fn new(address: KafkaAddress, settings: KafkaSettings) -> KafkaGroup {
        KafkaGroup { cluster: Cluster { address, settings }, group: String::new() }
            .with_group_id(GROUP_ID_DEFAULT)
    }

    /// Another group of the same log.
    #[must_use]
    pub fn with_group_id(mut self, group_id: &str) -> KafkaGroup {
        self.group = format!("{}{group_id}", self.cluster.settings.topic_prefix);
        self
    }

    /// The name of the group on the broker, with the prefix.
    pub fn name(&self) -> &str {
        &self.group
    }

    /// How many members the group has now, of any process.
    ///
    /// # Errors
    /// `Retry::Later` when the brokers do not answer.
    pub async fn describe_members(&self) -> Result<usize, PortError> {
        let KafkaGroup { cluster, group } = self.clone();
        let attempted = format!("count the members of group {group} at {}", cluster.address);
        match tokio::task::spawn_blocking(move || members::count(&cluster, &group)).await {
            Ok(Ok(count)) => Ok(count),
            Ok(Err(error)) => Err(PortError::later(attempted, plain(&error))),
            Err(stopped) => Err(PortError::later(attempted, stopped)),
        }
    }

    /// What members told the brokers of stored positions, of any process: what a display of lag
    /// would show. For checks: nothing of ours begins from it.
    ///
    /// # Errors
    /// `Retry::Later` when the brokers do not answer.
    pub async fn committed(&self, partitions: u32) -> Result<Assignment, PortError> {
        let KafkaGroup { cluster, group } = self.clone();
        let attempted = format!("ask {} what group {group} has stored", cluster.address);
        let ask = move || members::committed(&cluster, &group, partitions);
        match tokio::task::spawn_blocking(ask).await {
            Ok(Ok(committed)) => Ok(committed),
            Ok(Err(error)) => Err(PortError::later(attempted, plain(&error))),
            Err(stopped) => Err(PortError::later(attempted, stopped)),
        }
    }
}

#[async_trait]
impl Group for KafkaGroup {
    async fn join(&self) -> Result<Box<dyn GroupMember>, PortError> {
        let attempted = format!("join group {} at {}", self.group, self.cluster.address);
        let shared = Arc::new(Shared::default());
        let membership = Membership::new(self.cluster.clone(), Arc::clone(&shared));
        let names: Vec<String> =
            Topic::ALL.into_iter().map(|topic| self.cluster.topic_name(topic)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let config = membership::config(&self.cluster, &self.group);
        let member: membership::Member = config
            .create_with_context(membership)
            .map_err(|error| PortError::never(&attempted, error))?;
        member.subscribe(&names).map_err(|error| PortError::never(&attempted, error))?;

        let (ended, end) = oneshot::channel::<()>();
        let polled = Arc::clone(&shared);
        let thread = thread::Builder::new().name("agon-group".into()).spawn(move || {
            membership::run(member, &polled);
            drop(ended);
        });
        thread.map_err(|error| PortError::later(&attempted, error))?;
        let goodbye_ms = u64::from(self.cluster.settings.session_timeout_ms);
        let goodbye = Duration::from_millis(goodbye_ms);
        Ok(Box::new(KafkaMember { shared, attempted, end: Some(end), goodbye }))
    }
}

/// One member; dropping it is leaving without waiting for the broker's answer.
struct KafkaMember {
    shared: Arc<Shared>,
    /// What a refusal refuses.
    attempted: String,
    /// Ends with the thread of this member.
    end: Option<oneshot::Receiver<()>>,
    /// How long leaving waits for the broker at most; then the group finds out by itself.
    goodbye: Duration,
}

#[async_trait]
impl GroupMember for KafkaMember {
    async fn next(&mut self) -> Result<GroupNews, PortError> {
        loop {
            match self.shared.hear() {
                Some(Ok(news)) => return Ok(news),
                Some(Err(reason)) => return Err(PortError::never(&self.attempted, reason)),
                None => self.shared.told().await,
            }
        }
    }

    async fn released(&mut self) {
        self.shared.release();
    }

    fn commits(&self) -> Arc<dyn Commits> {
        Arc::new(KafkaCommits(Arc::clone(&self.shared)))
    }

    async fn leave(mut self: Box<Self>) {
        self.shared.leave();
        if let Some(end) = self.end.take() {
            // Its error is the end of the thread, which is waited for.
            let _ = timeout(self.goodbye, end).await;
        }
    }
}

impl Drop for KafkaMember {
    fn drop(&mut self) {
        self.shared.leave();
    }
}

struct KafkaCommits(Arc<Shared>);

impl Commits for KafkaCommits {
    fn commit(&self, next: Assignment) {
        self.0.keep(next);
    }
}
