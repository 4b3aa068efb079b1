//! The thread of one member: it polls the broker, answers rebalances, and tells stored positions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agon_ports::Assignment;
use agon_schema::TopicPartition;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{
    BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance, RebalanceProtocol,
};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::state::{Share, Shared};
use crate::client::{Cluster, Words, plain};
use crate::settings::GroupProtocol;

/// How long one poll waits: how late the thread sees that the member leaves.
const POLL_MS: u64 = 50;
/// How often stored positions are told at most.
const COMMIT_INTERVAL_MS: u64 = 500;
/// A member that does not poll for so many session timeouts is put out of the group. Callbacks
/// wait for half of one.
const POLL_INTERVAL_SESSIONS: u32 = 3;

/// A member's consumer, which never fetches.
pub(super) type Member = BaseConsumer<Membership>;

/// The settings of a member.
pub(super) fn config(cluster: &Cluster, group: &str) -> ClientConfig {
    let settings = &cluster.settings;
    let mut config = cluster.client_config();
    let poll_interval_ms = settings.session_timeout_ms.saturating_mul(POLL_INTERVAL_SESSIONS);
    config
        .set("group.id", group)
        .set("group.protocol", settings.group_protocol.to_string())
        .set("max.poll.interval.ms", poll_interval_ms.to_string())
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false");
    // Under the other protocol these are the broker's.
    if settings.group_protocol == GroupProtocol::Classic {
        config
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", settings.session_timeout_ms.to_string())
            .set("heartbeat.interval.ms", settings.heartbeat_interval_ms.to_string());
    }
    config
}

/// What a member's consumer tells the rest of the member.
pub(super) struct Membership {
    cluster: Cluster,
    shared: Arc<Shared>,
    words: Words,
}

impl Membership {
    pub(super) fn new(cluster: Cluster, shared: Arc<Shared>) -> Membership {
        Membership { cluster, shared, words: Words::default() }
    }

    fn session(&self) -> Duration {
        Duration::from_millis(self.cluster.settings.session_timeout_ms.into())
    }

    /// How long others wait for this member to release.
    fn patience(&self) -> Duration {
        self.session() / 2
    }

    /// Under a protocol that only adds to shares, a member that gets nothing is told nothing.
    fn is_silence_news(&self) -> bool {
        self.cluster.settings.group_protocol == GroupProtocol::Consumer
    }

    fn share_of(&self, list: &TopicPartitionList) -> Share {
        let source = |name: &str, partition: i32| {
            let topic = self.cluster.topic_of(name)?;
            Some(TopicPartition { topic, partition: u32::try_from(partition).ok()? })
        };
        let elements = list.elements();
        elements.iter().filter_map(|it| source(it.topic(), it.partition())).collect()
    }

    fn list_of(&self, next: &Assignment) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(next.len());
        for (source, offset) in next {
            let (topic, partition) = self.cluster.native(*source);
            let offset = Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
            list.add_partition_offset(&topic, partition, offset)?;
        }
        Ok(list)
    }
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.words.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.words.error(error, reason);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ConsumerContext for Membership {
    /// Before the library acts: what is revoked is released first, so that an heir starts after
    /// our last flush.
    fn pre_rebalance(&self, member: &Member, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                // Where shares are added to, the member has one: it gets the whole anew.
                self.shared.revoke(false, self.patience());
                for mut element in list.elements() {
                    if let Err(error) = element.set_offset(Offset::End) {
                        tracing::warn!("records may be fetched for nothing: {}", plain(&error));
                    }
                }
            }
            Rebalance::Revoke(_) => self.shared.revoke(member.assignment_lost(), self.patience()),
            Rebalance::Error(error) => tracing::warn!("a rebalance failed: {}", plain(error)),
        }
    }

    /// After the library acted: nothing is fetched, and the member hears of its share.
    fn post_rebalance(&self, member: &Member, rebalance: &Rebalance<'_>) {
        let is_whole = !matches!(member.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let is_assigned = matches!(rebalance, Rebalance::Assign(_));
        if !is_assigned && (is_whole || self.shared.is_leaving()) {
            return;
        }
        let assigned = match member.assignment() {
            Ok(assigned) => assigned,
            Err(error) => {
                tracing::warn!("the share of this member is not known: {}", plain(&error));
                return;
            }
        };
        if let Err(error) = member.pause(&assigned) {
            tracing::warn!("records may be fetched for nothing: {}", plain(&error));
        }
        self.shared.assign(self.share_of(&assigned));
    }
}

/// Polls until the member leaves or is refused.
pub(super) fn run(member: Member, shared: &Shared) {
    let joined_at = Instant::now();
    let mut told_at = joined_at;
    let mut is_silence_news = member.context().is_silence_news();
    while !shared.is_leaving() {
        if let Some(Err(error)) = member.poll(Duration::from_millis(POLL_MS)) {
            let reason = member.context().words.why(&error);
            if is_refusal(&error) {
                let code = error.rdkafka_error_code();
                let remedy = code.and_then(|code| member.context().cluster.remedy(code));
                shared.refuse(match remedy {
                    Some(remedy) => format!("{reason}; {remedy}"),
                    None => reason,
                });
                break;
            }
            tracing::debug!("the group is waited for: {reason}");
        }
        if is_silence_news && joined_at.elapsed() >= member.context().session() {
            shared.assign_if_none(Share::new());
            is_silence_news = false;
        }
        if told_at.elapsed() >= Duration::from_millis(COMMIT_INTERVAL_MS) {
            told_at = Instant::now();
            commit(&member, shared);
        }
    }
    shared.leave();
    member.unsubscribe();
    // Dropping it says goodbye to the group.
    drop(member);
}

/// Tells the broker the newest stored positions, without waiting for its answer: the library says
/// itself when one was not taken, and gives up those that find no broker within a session timeout.
fn commit(member: &Member, shared: &Shared) {
    let next = shared.take();
    if next.is_empty() {
        return;
    }
    let list = member.context().list_of(&next);
    if let Err(error) = list.and_then(|list| member.commit(&list, CommitMode::Async)) {
        tracing::debug!("stored positions were not told to the log: {}", plain(&error));
    }
}

/// Whether joining again cannot help.
fn is_refusal(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        ClusterAuthorizationFailed, GroupAuthorizationFailed, InconsistentGroupProtocol,
        InvalidGroupId, InvalidSessionTimeout, TopicAuthorizationFailed, UnsupportedVersion,
    };
    let refusals = [
        ClusterAuthorizationFailed,
        GroupAuthorizationFailed,
        InconsistentGroupProtocol,
        InvalidGroupId,
        InvalidSessionTimeout,
        TopicAuthorizationFailed,
        UnsupportedVersion,
    ];
    matches!(error, KafkaError::MessageConsumptionFatal(_))
        || error.rdkafka_error_code().is_some_and(|code| refusals.contains(&code))
}
