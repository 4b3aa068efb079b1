//! The listening side: a thread that reads the feed from its end on and looks for gaps, and a
//! bounded queue to whoever listens. While that is full the thread waits: the topic keeps the rest.

use std::thread;
use std::time::{Duration, Instant};

use agon_ports::{Change, ChangeSubscriber, Heard as News, PortError};
use async_trait::async_trait;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use super::KafkaFeed;
use super::tenure::Heard;
use super::wire::{self, Record};
use crate::client::{Cluster, Words, plain};

const POLL_MS: u64 = 100;
/// What the client library holds of the feed at most, before our own queue.
const FETCHED_KIB_MAX: u32 = 4 << 10;
/// How often a listener is told at most that it missed something.
const MISSED_INTERVAL_MS: u64 = 1_000;
/// How long to wait before looking again for the end of a feed whose broker is away.
const LOOK_AGAIN_MS: u64 = 500;

/// One listening side. Dropping it ends it.
#[derive(Debug)]
pub struct KafkaSubscriber(mpsc::Receiver<News>);

impl KafkaSubscriber {
    pub(super) async fn new(feed: &KafkaFeed) -> Result<KafkaSubscriber, PortError> {
        let attempted = feed.attempted("listen on");
        let (tell, heard) = mpsc::channel(feed.changes_max);
        let feed = feed.clone();
        let open = tokio::task::spawn_blocking(move || Listening::open(&feed, tell));
        let listening = match open.await {
            Ok(opened) => opened.map_err(|error| PortError::later(&attempted, plain(&error)))?,
            Err(stopped) => return Err(PortError::later(&attempted, stopped)),
        };
        let thread = thread::Builder::new().name("agon-subscriber".into());
        let thread = thread.spawn(move || listening.run());
        thread.map_err(|error| PortError::later(&attempted, error))?;
        Ok(KafkaSubscriber(heard))
    }
}

#[async_trait]
impl ChangeSubscriber for KafkaSubscriber {
    async fn next(&mut self) -> News {
        // Only a thread that is gone lets go of its end.
        self.0.recv().await.unwrap_or(News::Closed)
    }
}

struct Listening {
    consumer: BaseConsumer<Words>,
    topic: String,
    partitions: u32,
    timeout: Duration,
    tell: mpsc::Sender<News>,
    heard: Heard,
    /// Something is missing that no reload of a source makes good.
    is_missed: bool,
    missed_at: Option<Instant>,
}

fn config(cluster: &Cluster) -> rdkafka::ClientConfig {
    let mut config = cluster.client_config();
    config
        // The library wants a group for any consumer; this one never joins or commits.
        .set("group.id", cluster.changes_name())
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.max.messages.kbytes", FETCHED_KIB_MAX.to_string());
    config
}

impl Listening {
    /// Begins at the feed's end. Blocks.
    fn open(feed: &KafkaFeed, tell: mpsc::Sender<News>) -> KafkaResult<Listening> {
        let listening = Listening {
            consumer: config(&feed.cluster).create_with_context(Words::default())?,
            topic: feed.cluster.changes_name(),
            partitions: feed.partitions,
            timeout: Duration::from_millis(feed.cluster.settings.append_timeout_ms.into()),
            tell,
            heard: Heard::default(),
            is_missed: false,
            missed_at: None,
        };
        listening.begin_at_end()?;
        Ok(listening)
    }

    fn begin_at_end(&self) -> KafkaResult<()> {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            let (_, end) = self.consumer.fetch_watermarks(&self.topic, partition, self.timeout)?;
            list.add_partition_offset(&self.topic, partition, Offset::Offset(end))?;
        }
        self.consumer.assign(&list)
    }

    /// Reads until nobody listens.
    fn run(mut self) {
        while !self.tell.is_closed() {
            let record = match self.consumer.poll(Duration::from_millis(POLL_MS)) {
                None => None,
                Some(Ok(message)) => {
                    Some(Ok(wire::read(message.payload().unwrap_or_default(), self.partitions)))
                }
                Some(Err(error)) => Some(Err(error)),
            };
            let is_told = match record {
                None => true,
                Some(Ok(Ok(record))) => self.hear(record),
                Some(Ok(Err(unreadable))) => {
                    tracing::warn!("a record of {} is skipped: {unreadable}", self.topic);
                    self.is_missed = true;
                    true
                }
                Some(Err(error)) => {
                    self.recover(&error);
                    true
                }
            };
            if !is_told || !self.tell_missed() {
                return;
            }
        }
    }

    /// Hands on a record, after the notice that news before it are missing. Answers whether
    /// somebody listens.
    fn hear(&mut self, Record { stamp, change }: Record) -> bool {
        let source = stamp.source;
        let is_notice = matches!(change, Change::Reload { .. });
        let is_told = !self.heard.is_gap(stamp)
            || is_notice
            || self.tell(News::Change(Change::Reload { source }));
        is_told && self.tell(News::Change(change))
    }

    /// Waits while the listener is slow. Answers whether there is one.
    fn tell(&self, news: News) -> bool {
        self.tell.blocking_send(news).is_ok()
    }

    /// Says that something was missed: at once, but not again and again while more is missed.
    fn tell_missed(&mut self) -> bool {
        let pause = Duration::from_millis(MISSED_INTERVAL_MS);
        if !self.is_missed || self.missed_at.is_some_and(|at| at.elapsed() < pause) {
            return true;
        }
        self.is_missed = false;
        self.missed_at = Some(Instant::now());
        self.tell(News::Missed)
    }

    /// The library mends outages by itself. Where what comes next is gone, reading goes on at the
    /// end, and the listener loads all that it shows.
    fn recover(&mut self, error: &KafkaError) {
        let code = error.rdkafka_error_code();
        let is_gone = [RDKafkaErrorCode::AutoOffsetReset, RDKafkaErrorCode::OffsetOutOfRange];
        if !code.is_some_and(|code| is_gone.contains(&code)) {
            tracing::debug!("the change feed is waited for: {}", plain(error));
            return;
        }
        tracing::warn!("news of the change feed were removed before they were read");
        while let Err(error) = self.begin_at_end() {
            tracing::warn!("the end of the change feed is not known yet: {}", plain(&error));
            if self.tell.is_closed() {
                return;
            }
            thread::sleep(Duration::from_millis(LOOK_AGAIN_MS));
        }
        self.heard.clear();
        self.is_missed = true;
    }
}
