//! The sending side. Publishing puts a record into a bounded queue and returns; what does not
//! arrive is made good by a reload notice, which is sent again until it arrives.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use agon_ports::{Change, ChangePublisher, PortError};
use agon_schema::TopicPartition;
use async_trait::async_trait;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, NoCustomPartitioner, Producer, ProducerContext,
};

use super::KafkaFeed;
use super::tenure::Tenures;
use super::wire::{self, Stamp};
use crate::client::{Words, plain};

/// A larger record is published as a reload notice; brokers take 1,000,000 bytes by default.
const RECORD_BYTES_MAX: usize = 900 << 10;
/// Records that wait for the broker at most; then news are dropped, and readers told to reload.
const QUEUE_RECORDS_MAX: u32 = 20_000;
const QUEUE_KIB_MAX: u32 = 64 << 10;
/// How long a record waits for the broker at most.
const DELIVERY_TIMEOUT_MS: u32 = 30_000;
const POLL_MS: u64 = 100;
/// How often broken sources are looked for.
const REPAIR_INTERVAL_MS: u64 = 500;
/// How long what was published still waits for the broker when the publisher is gone.
const GOODBYE_MS: u64 = 5_000;

/// The sending side of one process.
#[derive(Debug)]
pub struct KafkaPublisher(Arc<Publishing>);

struct Publishing {
    producer: BaseProducer<Deliveries>,
    topic: String,
    partitions: u32,
    tenures: Arc<Mutex<Tenures>>,
    is_ended: AtomicBool,
}

impl std::fmt::Debug for Publishing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publishing").field("topic", &self.topic).finish_non_exhaustive()
    }
}

fn lock(tenures: &Mutex<Tenures>) -> MutexGuard<'_, Tenures> {
    tenures.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KafkaPublisher {
    pub(super) fn new(feed: &KafkaFeed) -> Result<KafkaPublisher, PortError> {
        let attempted = feed.attempted("publish on");
        let tenures = Arc::new(Mutex::new(Tenures::new()));
        let context = Deliveries { words: Words::default(), tenures: Arc::clone(&tenures) };
        let mut config = feed.cluster.client_config();
        config
            // One request under way keeps the order. An idempotent producer would keep it too, but
            // can fail for good; a record that arrives twice is one more reload notice.
            .set("enable.idempotence", "false")
            .set("max.in.flight.requests.per.connection", "1")
            .set("acks", "all")
            .set("compression.type", "lz4")
            .set("linger.ms", feed.cluster.settings.linger_ms.to_string())
            .set("message.timeout.ms", DELIVERY_TIMEOUT_MS.to_string())
            .set("queue.buffering.max.messages", QUEUE_RECORDS_MAX.to_string())
            .set("queue.buffering.max.kbytes", QUEUE_KIB_MAX.to_string());
        let producer = config.create_with_context(context);
        let publishing = Arc::new(Publishing {
            producer: producer.map_err(|error| PortError::never(&attempted, error))?,
            topic: feed.cluster.changes_name(),
            partitions: feed.partitions,
            tenures,
            is_ended: AtomicBool::new(false),
        });
        let polled = Arc::clone(&publishing);
        let thread = thread::Builder::new().name("agon-publisher".into());
        let thread = thread.spawn(move || polled.poll());
        thread.map_err(|error| PortError::later(&attempted, error))?;
        Ok(KafkaPublisher(publishing))
    }

    /// Waits until what was published has arrived or is given up, for 5 seconds at most; before a
    /// process ends, for one.
    pub async fn flush(&self) {
        let publishing = Arc::clone(&self.0);
        // Its error is that the runtime ends, and all with it.
        let _ = tokio::task::spawn_blocking(move || publishing.flush()).await;
    }
}

#[async_trait]
impl ChangePublisher for KafkaPublisher {
    async fn publish(&self, change: Change) {
        let source = self.0.source(&change);
        let mut body = wire::body(&change);
        if body.len() > RECORD_BYTES_MAX {
            tracing::debug!(%source, bytes = body.len(), "news are too large; readers load anew");
            body = wire::body(&Change::Reload { source });
        }
        self.0.send(source, &body);
    }
}

impl Drop for KafkaPublisher {
    fn drop(&mut self) {
        self.0.is_ended.store(true, Ordering::Relaxed);
    }
}

impl Publishing {
    fn source(&self, change: &Change) -> TopicPartition {
        match change {
            Change::Moved { cell, .. } => cell.source(self.partitions),
            Change::Reload { source } | Change::Progress { source, .. } => *source,
        }
    }

    /// Stamps a record and puts it into the queue, in one go: the order is that of the stamps.
    fn send(&self, source: TopicPartition, body: &[u8]) {
        let mut tenures = lock(&self.tenures);
        let stamp = tenures.stamp(source);
        let bytes = wire::record(stamp, body);
        let partition = i32::try_from(source.partition).unwrap_or(i32::MAX);
        let record: BaseRecord<'_, (), [u8], Box<Stamp>> =
            BaseRecord::with_opaque_to(&self.topic, Box::new(stamp));
        if let Err((error, _)) = self.producer.send(record.partition(partition).payload(&bytes)) {
            tracing::debug!(%source, "news are dropped: {}", plain(&error));
            tenures.lost(stamp);
        }
    }

    /// The thread of a publisher: hears what arrived, and repairs.
    fn poll(&self) {
        let mut looked_at = Instant::now();
        while !self.is_ended.load(Ordering::Relaxed) {
            self.producer.poll(Duration::from_millis(POLL_MS));
            if looked_at.elapsed() >= Duration::from_millis(REPAIR_INTERVAL_MS) {
                looked_at = Instant::now();
                self.repair();
            }
        }
        self.flush();
    }

    fn flush(&self) {
        if let Err(error) = self.producer.flush(Duration::from_millis(GOODBYE_MS)) {
            tracing::warn!("the last news did not reach the change feed: {}", plain(&error));
        }
    }

    /// Has readers load again what they may have missed.
    fn repair(&self) {
        let broken = lock(&self.tenures).broken();
        for source in broken {
            self.send(source, &wire::body(&Change::Reload { source }));
        }
    }
}

/// Hears which records arrived.
struct Deliveries {
    words: Words,
    tenures: Arc<Mutex<Tenures>>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.words.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.words.error(error, reason);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ProducerContext<NoCustomPartitioner> for Deliveries {
    type DeliveryOpaque = Box<Stamp>;

    fn delivery(&self, result: &DeliveryResult<'_>, stamp: Box<Stamp>) {
        let mut tenures = lock(&self.tenures);
        match result {
            Ok(_) => tenures.arrived(*stamp),
            Err((error, _)) => {
                let source = stamp.source;
                tracing::debug!(%source, "news did not arrive: {}", plain(error));
                tenures.lost(*stamp);
            }
        }
    }
}
