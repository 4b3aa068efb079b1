//! A bare consumer for benches: reads every partition of a log to where it ends now, decodes each
//! record, and drops it. No folding, no position, no order between partitions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agon_ports::{Assignment, EventLog, PortError};
use agon_schema::record::header;
use agon_schema::{Position, Record, TopicPartition, decode};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::client::{Cluster, Words, hear, plain};
use crate::fetch::{Fetched, Fetcher};
use crate::fetching::reader_config;
use crate::log::KafkaLog;

/// What failed, in messages.
const ATTEMPTED: &str = "read the log with a bare consumer";
/// How long one turn waits for a record.
const TURN: Duration = Duration::from_millis(100);
/// Without a record for so long the brokers are taken to be away.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How records are taken from the client library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// Each by a call of its own, as programs on `rdkafka` usually do.
    OneByOne,
    /// Thousands by one call, as the readers of this crate do.
    Batches,
}

/// Reads and decodes all records, with so many clients that share the partitions, each on a thread
/// of its own; answers how many records were decoded.
///
/// # Errors
/// `Retry::Later` when the log is away, `Retry::Never` when the client refuses its settings.
pub async fn read_and_decode(
    log: &KafkaLog,
    clients: usize,
    taking: Taking,
) -> Result<u64, PortError> {
    let mut shares = vec![Assignment::new(); clients.max(1)];
    let ends = log.ends().await?.into_iter().filter(|(_, end)| *end > 0);
    for (number, (source, end)) in ends.enumerate() {
        let share = number % shares.len();
        shares[share].insert(source, end);
    }
    let cluster = Arc::new(log.cluster().clone());
    let readers = shares.into_iter().map(|ends| {
        let cluster = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || Share::new(ends).read(&cluster, taking))
    });
    let readers: Vec<_> = readers.collect();
    let mut records = 0;
    for reader in readers {
        records += reader.await.map_err(|error| PortError::later(ATTEMPTED, error))??;
    }
    Ok(records)
}

/// The partitions of one client that are not read to their ends yet.
struct Share {
    ends: Assignment,
    decoded: u64,
    heard_at: Instant,
}

impl Share {
    fn new(ends: Assignment) -> Share {
        Share { ends, decoded: 0, heard_at: Instant::now() }
    }

    fn read(mut self, cluster: &Cluster, taking: Taking) -> Result<u64, PortError> {
        let read = match taking {
            Taking::OneByOne => self.one_by_one(cluster),
            Taking::Batches => self.batches(cluster),
        };
        read.map_err(|error| PortError::never(ATTEMPTED, plain(&error)))?;
        match self.ends.len() {
            0 => Ok(self.decoded),
            left => {
                let silence_s = SILENCE_MAX.as_secs();
                let reason = format!("{left} partitions gave no record for {silence_s} s");
                Err(PortError::later(ATTEMPTED, reason))
            }
        }
    }

    fn is_over(&self) -> bool {
        self.ends.is_empty() || self.heard_at.elapsed() > SILENCE_MAX
    }

    fn one_by_one(&mut self, cluster: &Cluster) -> KafkaResult<()> {
        let consumer: BaseConsumer<Words> =
            reader_config(cluster).create_with_context(Words::default())?;
        let mut assignment = TopicPartitionList::new();
        for source in self.ends.keys() {
            let (name, partition) = cluster.native(*source);
            assignment.add_partition_offset(&name, partition, Offset::Offset(0))?;
        }
        consumer.assign(&assignment)?;
        while !self.is_over() {
            match consumer.poll(TURN) {
                Some(Ok(message)) => self.take_message(cluster, &message),
                // What passes comes again; what does not is the silence in the end.
                Some(Err(KafkaError::MessageConsumption(_))) | None => {}
                Some(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn batches(&mut self, cluster: &Cluster) -> KafkaResult<()> {
        let consumer: BaseConsumer<Words> =
            reader_config(cluster).create_with_context(Words::default())?;
        let from = self.ends.keys().map(|source| (*source, 0)).collect();
        let mut fetcher = Fetcher::new(cluster, consumer, &from)?;
        let turn_ms = i32::try_from(TURN.as_millis()).unwrap_or(i32::MAX);
        while !self.is_over() {
            hear(&fetcher.consumer);
            fetcher.take(turn_ms, |fetched| {
                if let Fetched::Record(read) = fetched {
                    self.take_record(read.position, &read.record);
                }
            });
        }
        Ok(())
    }

    fn take_message(&mut self, cluster: &Cluster, message: &BorrowedMessage<'_>) {
        let Some(topic) = cluster.topic_of(message.topic()) else { return };
        let partition = u32::try_from(message.partition()).unwrap_or(u32::MAX);
        let offset = u64::try_from(message.offset()).unwrap_or_default();
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        let headers = headers.map(|one| header(one.key, one.value.unwrap_or_default()));
        let record = Record {
            key: message.key().unwrap_or_default().to_vec(),
            headers: headers.collect(),
            value: message.payload().unwrap_or_default().to_vec(),
            appended_at_ms: message.timestamp().to_millis().unwrap_or(0),
        };
        let source = TopicPartition { topic, partition };
        self.take_record(Position { source, offset }, &record);
    }

    fn take_record(&mut self, at: Position, record: &Record) {
        self.heard_at = Instant::now();
        let Some(end) = self.ends.get(&at.source) else { return };
        if at.offset >= *end {
            return;
        }
        let is_last = at.offset + 1 == *end;
        // Kept from being optimised away; what cannot be decoded is not counted.
        self.decoded += u64::from(std::hint::black_box(decode(record)).is_ok());
        if is_last {
            self.ends.remove(&at.source);
        }
    }
}
