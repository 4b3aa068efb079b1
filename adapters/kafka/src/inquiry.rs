//! A client that only asks: which topics there are, where partitions begin and end, which cluster
//! this is. Its calls block, each for the settings' timeout at most.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use agon_ports::{Assignment, PortError};
use agon_schema::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use crate::client::{Cluster, Words, hear, plain};
use crate::describe::{TopicIds, topic_ids};
use crate::error::OpenError;
use crate::reminder::Reminder;

/// How long one try of a call lasts before the client's words are heard.
const SLICE: Duration = Duration::from_millis(500);

/// How long to wait between two tries.
const BETWEEN: Duration = Duration::from_millis(50);

/// Which end of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// The offset of the first record that is still there.
    Start,
    /// The offset that the next record gets.
    End,
}

pub(crate) struct Inquiry {
    cluster: Cluster,
    words: Words,
    reminder: Reminder,
    consumer: BaseConsumer<Words>,
}

impl Inquiry {
    /// A client of this cluster; connects when first asked.
    ///
    /// # Errors
    /// [`OpenError::Refused`] for settings that the library does not take.
    pub(crate) fn new(cluster: &Cluster) -> Result<Inquiry, OpenError> {
        let words = Words::default();
        let mut config = cluster.client_config();
        // Brokers that hang up on a client of the wrong kind say no more than that. What was heard
        // of idle connections is forgotten before anything is asked.
        config.set("log.connection.close", "true");
        let consumer = config.create_with_context(words.clone());
        let consumer = consumer.map_err(|error| cluster.refused("make a client", error))?;
        Ok(Inquiry { cluster: cluster.clone(), words, reminder: Reminder::default(), consumer })
    }

    /// Hears what the client has to say beside its answers.
    pub(crate) fn serve(&self) {
        hear(&self.consumer);
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.cluster.settings.append_timeout_ms.into())
    }

    /// Asks in slices, so that a client that cannot connect says so before the time is over.
    fn ask<T>(&self, call: impl Fn(Duration) -> KafkaResult<T>) -> Result<T, OpenError> {
        let deadline = Instant::now() + self.timeout();
        // An idle connection may have been closed long ago: that is no outage.
        self.serve();
        self.words.answered();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = call(left.min(SLICE));
            self.serve();
            match answer {
                Ok(answer) => {
                    self.words.answered();
                    return Ok(answer);
                }
                Err(error) => {
                    let is_over = self.words.away().is_some() || left.is_zero();
                    if is_over || !is_of_connection(&error) {
                        self.reminder.remind(self.consumer.client(), &self.cluster);
                        return Err(self.failed(&error));
                    }
                    thread::sleep(BETWEEN);
                }
            }
        }
    }

    fn failed(&self, error: &KafkaError) -> OpenError {
        let reason = self.words.why(error);
        // What went wrong with a connection outweighs that an answer did not come.
        let trouble = self.words.trouble_code();
        if let Some(remedy) = trouble.and_then(|code| self.cluster.remedy(code)) {
            return self.cluster.refusal("ask the brokers", &reason, &remedy);
        }
        self.cluster.failed("ask the brokers", error, reason)
    }

    /// What the brokers say of one topic.
    pub(crate) fn metadata(&self, topic: &str) -> Result<Metadata, OpenError> {
        self.ask(|wait| self.consumer.fetch_metadata(Some(topic), wait))
    }

    /// The cluster's own name.
    pub(crate) fn cluster_id(&self) -> Result<String, OpenError> {
        let id = self.consumer.client().fetch_cluster_id(self.timeout());
        id.filter(|id| !id.is_empty()).ok_or_else(|| OpenError::Away {
            address: self.cluster.address.clone(),
            reason: "the cluster does not name itself yet".to_owned(),
        })
    }

    /// The ids of topics; zero where the brokers give none.
    pub(crate) fn topic_ids(&self, names: &[String]) -> Result<TopicIds, OpenError> {
        let timeout_ms = i32::try_from(self.timeout().as_millis()).unwrap_or(i32::MAX);
        match topic_ids(self.consumer.client(), names, timeout_ms) {
            Ok(ids) => Ok(ids),
            Err(KafkaError::AdminOp(RDKafkaErrorCode::UnsupportedFeature)) => {
                Ok(names.iter().map(|name| (name.clone(), 0)).collect())
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Where these partitions begin or end: one request a broker.
    pub(crate) fn offsets(
        &self,
        sources: impl Iterator<Item = TopicPartition> + Clone,
        edge: Edge,
    ) -> Result<Assignment, PortError> {
        let attempted = || match edge {
            Edge::Start => format!("ask {} where partitions begin", self.cluster.address),
            Edge::End => format!("ask {} where partitions end", self.cluster.address),
        };
        if sources.clone().next().is_none() {
            return Ok(Assignment::new());
        }
        let answer = self.ask(|wait| self.offsets_once(sources.clone(), edge, wait));
        answer.map_err(|error| PortError::later(attempted(), error))
    }

    fn offsets_once(
        &self,
        sources: impl Iterator<Item = TopicPartition>,
        edge: Edge,
        wait: Duration,
    ) -> KafkaResult<Assignment> {
        let offset = match edge {
            Edge::Start => Offset::Beginning,
            Edge::End => Offset::End,
        };
        let mut asked = TopicPartitionList::new();
        for source in sources {
            let (name, partition) = self.cluster.native(source);
            asked.add_partition_offset(&name, partition, offset)?;
        }
        let answer = self.consumer.offsets_for_times(asked.clone(), wait);
        let answer = answer.map_err(|error| self.learn_leaders(&asked, error, wait))?;
        let mut offsets = Assignment::new();
        for element in answer.elements() {
            element.error().map_err(|error| self.learn_leaders(&asked, error, wait))?;
            let topic = self.cluster.topic_of(element.topic());
            let partition = u32::try_from(element.partition()).ok();
            let (Some(topic), Some(partition), Offset::Offset(offset)) =
                (topic, partition, element.offset())
            else {
                return Err(KafkaError::OffsetFetch(RDKafkaErrorCode::OffsetNotAvailable));
            };
            let source = TopicPartition { topic, partition };
            offsets.insert(source, u64::try_from(offset).unwrap_or_default());
        }
        Ok(offsets)
    }

    /// What an error of `offsets_for_times` means, once the brokers were asked who leads what.
    ///
    /// The client keeps what it heard of leaders for a quarter of an hour. If that was "nobody", as
    /// while a broker starts, it does not ask again by itself, and calls the partition unknown.
    fn learn_leaders(
        &self,
        asked: &TopicPartitionList,
        error: KafkaError,
        wait: Duration,
    ) -> KafkaError {
        use RDKafkaErrorCode as Code;
        if !matches!(
            error.rdkafka_error_code(),
            Some(Code::UnknownPartition | Code::LeaderNotAvailable)
        ) {
            return error;
        }
        let elements = asked.elements();
        let names: BTreeSet<&str> = elements.iter().map(TopicPartitionListElem::topic).collect();
        for name in names {
            let known = match self.consumer.fetch_metadata(Some(name), wait) {
                Ok(known) => known,
                Err(error) => return error,
            };
            let is_known = |partition| {
                let mut partitions = known.topics().iter().flat_map(MetadataTopic::partitions);
                partitions.any(|known| known.id() == partition)
            };
            let of_topic = elements.iter().filter(|element| element.topic() == name);
            if !of_topic.map(TopicPartitionListElem::partition).all(is_known) {
                return error;
            }
        }
        // There are such partitions, so asking again helps, now or when somebody leads them.
        KafkaError::OffsetFetch(Code::LeaderNotAvailable)
    }
}

impl Cluster {
    /// What a failed call means for whoever opens the log.
    pub(crate) fn failed(&self, attempted: &str, error: &KafkaError, reason: String) -> OpenError {
        if let Some(remedy) = error.rdkafka_error_code().and_then(|code| self.remedy(code)) {
            return self.refusal(attempted, &reason, &remedy);
        }
        let reason = match self.suspicion(&reason) {
            Some(suspicion) => format!("{reason}; {suspicion}"),
            None => reason,
        };
        OpenError::Away { address: self.address.clone(), reason }
    }

    /// A refusal for good.
    pub(crate) fn refusal(&self, attempted: &str, reason: &str, remedy: &str) -> OpenError {
        OpenError::Refused {
            address: self.address.clone(),
            attempted: attempted.to_owned(),
            reason: format!("{reason}; {remedy}"),
        }
    }

    /// A refusal of the client library itself.
    pub(crate) fn refused(&self, attempted: &str, error: KafkaError) -> OpenError {
        OpenError::Refused {
            address: self.address.clone(),
            attempted: attempted.to_owned(),
            reason: plain(&error),
        }
    }
}

/// Whether asking again within the time may help.
fn is_of_connection(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let Some(code) = error.rdkafka_error_code() else { return false };
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::TimedOutQueue
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::Resolve
    )
}
