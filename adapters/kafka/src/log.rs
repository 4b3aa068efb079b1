//! [`KafkaLog`]: an opened log.

use std::sync::Arc;

use agon_ports::{Append, Assignment, EventLog, LogReader, PortError};
use agon_schema::{LogId, Position, Topic, TopicPartition};
use async_trait::async_trait;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::address::KafkaAddress;
use crate::client::Cluster;
use crate::error::{Difference, OpenError};
use crate::fetching::Source;
use crate::inquiry::{Edge, Inquiry};
use crate::producer::{Appender, INLINE_RECORDS_MAX, refusal};
use crate::reader::KafkaReader;
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
    appender: Appender,
    /// Held while a producer is replaced, which one of several callers does.
    renewing: Mutex<()>,
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
    let appender = Appender::new(&cluster, &inquiry)?;
    let renewing = Mutex::new(());
    let inner = Inner { cluster, id, partitions, inquiry, appender, renewing };
    Ok(KafkaLog { inner: Arc::new(inner) })
}

#[async_trait]
impl EventLog for KafkaLog {
    fn id(&self) -> LogId {
        self.inner.id
    }

    fn partitions(&self) -> u32 {
        self.inner.partitions
    }

    async fn append(&self, records: Vec<Append>) -> Result<Vec<Position>, PortError> {
        let appender = &self.inner.appender;
        let count = records.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let partitions = self.inner.partitions;
        if let Some(reason) = records.iter().find_map(|append| refusal(append, partitions)) {
            return Err(PortError::never(appender.attempted(count), reason));
        }
        self.renew(count).await?;
        let call = appender.admit(&records).await?;
        let targets: Vec<TopicPartition> = records.iter().map(|append| append.target).collect();
        if count > INLINE_RECORDS_MAX {
            let (inner, sent) = (Arc::clone(&self.inner), Arc::clone(&call));
            // A caller that goes away leaves a call that is sent whole.
            tokio::task::spawn_blocking(move || inner.appender.send(&records, &sent));
        } else {
            appender.send(&records, &call);
            drop(records);
        }
        let offsets = call.outcome().await.map_err(|error| appender.failed(count, &error))?;
        let positions = targets.into_iter().zip(offsets);
        let positions: Option<Vec<Position>> = positions
            .map(|(source, offset)| offset.map(|offset| Position { source, offset }))
            .collect();
        positions.ok_or_else(|| {
            let reason = "the brokers have the records but did not say where; append them again";
            PortError::later(appender.attempted(count), reason)
        })
    }

    async fn ends(&self) -> Result<Assignment, PortError> {
        self.edges(Edge::End).await
    }

    async fn starts(&self) -> Result<Assignment, PortError> {
        self.edges(Edge::Start).await
    }

    async fn read(&self, from: Assignment) -> Result<Box<dyn LogReader>, PortError> {
        let inner = Arc::clone(&self.inner);
        let work = move || {
            check_offsets(&inner, &from)?;
            KafkaReader::start(inner.source(), from)
        };
        let reader = in_background("read the log", work).await?;
        Ok(Box::new(reader))
    }
}

impl KafkaLog {
    async fn edges(&self, edge: Edge) -> Result<Assignment, PortError> {
        let inner = Arc::clone(&self.inner);
        let work = move || {
            let sources = TopicPartition::all(inner.partitions);
            inner.inquiry.offsets(sources, edge)
        };
        in_background("ask for offsets", work).await
    }

    /// Puts a new producer in the place of one that failed for good, if this is still the log that
    /// was opened.
    async fn renew(&self, records: usize) -> Result<(), PortError> {
        if self.inner.appender.fatal().is_none() {
            return Ok(());
        }
        let _renewing = self.inner.renewing.lock().await;
        let Some(reason) = self.inner.appender.fatal() else { return Ok(()) };
        tracing::warn!(reason, "the producer failed for good; making a new one");
        let attempted = self.inner.appender.attempted(records);
        let inner = Arc::clone(&self.inner);
        let work = move || {
            inner.source().check_identity().map_err(|doubt| doubt.into_error(&attempted))?;
            inner.appender.renew().map_err(|error| PortError::later(attempted, error))
        };
        in_background("make a producer", work).await
    }
}

impl Inner {
    fn source(&self) -> Source {
        Source { cluster: self.cluster.clone(), inquiry: Arc::clone(&self.inquiry), id: self.id }
    }
}

/// Every partition exists, and has the offset or ends there.
fn check_offsets(inner: &Inner, from: &Assignment) -> Result<(), PortError> {
    let last = inner.partitions.saturating_sub(1);
    let refused = |source: TopicPartition, offset: u64, reason: String| {
        let address = &inner.cluster.address;
        let attempted = format!("read {source} from {offset} at {address}");
        Err(PortError::never(attempted, reason))
    };
    let unknown = |source: &TopicPartition| source.partition > last;
    if let Some((source, offset)) = from.iter().find(|(source, _)| unknown(source)) {
        let reason = format!("there is no partition {source}, the last one is {last}");
        return refused(*source, *offset, reason);
    }
    let starts = inner.inquiry.offsets(from.keys().copied(), Edge::Start)?;
    let ends = inner.inquiry.offsets(from.keys().copied(), Edge::End)?;
    for (source, offset) in from {
        let start = starts.get(source).copied().unwrap_or_default();
        let end = ends.get(source).copied().unwrap_or_default();
        if !(start..=end).contains(offset) {
            let reason = format!("{source} begins at {start} and ends at {end}; start there");
            return refused(*source, *offset, reason);
        }
    }
    Ok(())
}

/// Runs what blocks where blocking is allowed.
async fn in_background<T: Send + 'static>(
    attempted: &str,
    work: impl FnOnce() -> Result<T, PortError> + Send + 'static,
) -> Result<T, PortError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(PortError::later(attempted, error)))
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
pub(crate) fn log_id(cluster: &Cluster, inquiry: &Inquiry) -> Result<LogId, OpenError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::{InitSettings, init};
    use crate::survey::{admin, options};
    use agon_schema::Record;

    #[tokio::test(flavor = "multi_thread")]
    #[allow(clippy::print_stderr)]
    async fn a_producer_that_failed_for_good_is_replaced() {
        let Ok(broker) = std::env::var("TEST_KAFKA") else {
            eprintln!("skipped: TEST_KAFKA is not set; run scripts/servers");
            return;
        };
        let address = format!("kafka://{broker}").parse().unwrap();
        let topic_prefix = format!("t{}.", Uuid::now_v7().simple());
        let settings = KafkaSettings { topic_prefix, ..KafkaSettings::default() };
        let wanted =
            InitSettings { partitions: 1, replication: None, changes_retention_ms: 60_000 };
        let made = init(&address, &settings, wanted).await.unwrap().made;
        let log = KafkaLog::open(&address, settings).await.unwrap();
        let target = TopicPartition { topic: Topic::Matches, partition: 0 };
        let record = Record { key: vec![], headers: vec![], value: vec![1], appended_at_ms: 0 };
        for offset in 0..3 {
            let append = Append { target, record: record.clone() };
            let positions = log.append(vec![append]).await.unwrap();
            assert_eq!(positions, [Position { source: target, offset }]);
            log.inner.appender.fail_for_good();
            assert!(log.inner.appender.fatal().is_some(), "the producer failed for good");
        }
        let names: Vec<&str> = made.iter().map(String::as_str).collect();
        let cluster = log.cluster().clone();
        admin(&cluster).unwrap().delete_topics(&names, &options(&cluster)).await.unwrap();
    }
}
