//! The thread of a reader: fetches, makes records, and tells what keeps it from doing so. It owns
//! the consumer, so making and dropping that never blocks the runtime.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use agon_ports::{Assignment, LogRecord, PortError};
use agon_schema::{LogId, Topic, TopicPartition};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use tokio::sync::{mpsc, watch};

use crate::client::{Cluster, Words, hear, plain};
use crate::fetch::{Fetched, Fetcher, Trouble};
use crate::inquiry::{Edge, Inquiry};
use crate::log::log_id;
use crate::reminder::Reminder;

/// Bytes of a batch, unless a single record has more.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// How long the thread waits for a record before it looks after other things, in milliseconds.
const TURN_MS: i32 = 100;
/// How long the thread waits for room before it looks after other things.
const ROOM_TURN: Duration = Duration::from_millis(20);
/// After so long without a record the brokers are asked whether they are there.
const SILENCE: Duration = Duration::from_secs(5);
/// How long the brokers get to show that they are there.
const PROBE: Duration = Duration::from_secs(2);

/// Records in order, or why none will come any more.
pub(crate) type Batch = Result<Vec<LogRecord>, PortError>;

/// What a reader reads from.
pub(crate) struct Source {
    pub(crate) cluster: Cluster,
    pub(crate) inquiry: Arc<Inquiry>,
    /// Which log it is.
    pub(crate) id: LogId,
}

/// The log may not be the one that was opened.
pub(crate) enum Doubt {
    /// It is another one.
    Other(LogId, LogId),
    /// It cannot be told now.
    Unclear(String),
}

impl Doubt {
    pub(crate) fn into_error(self, attempted: &str) -> PortError {
        match self {
            Doubt::Other(expected, found) => {
                let reason = format!(
                    "this is log {found}, expected {expected}: its topics were made anew; start \
                     again"
                );
                PortError::never(attempted, reason)
            }
            Doubt::Unclear(reason) => PortError::later(attempted, reason),
        }
    }
}

impl Source {
    /// Whether this is still the log that was opened. Blocks.
    pub(crate) fn check_identity(&self) -> Result<(), Doubt> {
        match log_id(&self.cluster, &self.inquiry) {
            Ok(found) if found == self.id => Ok(()),
            Ok(found) => Err(Doubt::Other(self.id, found)),
            Err(error) => Err(Doubt::Unclear(error.to_string())),
        }
    }
}

/// The settings of a client that reads by positions and belongs to no group.
pub(crate) fn reader_config(cluster: &Cluster) -> ClientConfig {
    let mut config = cluster.client_config();
    config
        // Asked for by the library; no group of this name is ever joined.
        .set("group.id", format!("{}agon.reader", cluster.settings.topic_prefix))
        .set("auto.offset.reset", "error")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("check.crcs", "true")
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.error.backoff.ms", "100")
        .set("queued.min.messages", "50000")
        .set("queued.max.messages.kbytes", "32768")
        .set("fetch.max.bytes", "16777216");
    config
}

/// What the thread has.
pub(crate) struct Fetching {
    source: Source,
    words: Words,
    reminder: Reminder,
    to_reader: mpsc::Sender<Batch>,
    is_away: watch::Sender<Option<String>>,
    attempted: String,
    /// When the brokers last showed that they are there.
    heard_at: Instant,
    /// A topic was missing: what comes now may be of another one of that name.
    in_doubt: bool,
}

/// The reader has gone, or nothing can be read any more.
struct Over;

impl Fetching {
    pub(crate) fn new(
        source: Source,
        to_reader: mpsc::Sender<Batch>,
        is_away: watch::Sender<Option<String>>,
        attempted: String,
    ) -> Fetching {
        let (words, heard_at) = (Words::default(), Instant::now());
        Fetching {
            source,
            words,
            reminder: Reminder::default(),
            to_reader,
            is_away,
            attempted,
            heard_at,
            in_doubt: false,
        }
    }

    /// Fetches from these offsets on until the reader goes or nothing can come any more.
    pub(crate) fn run(mut self, from: &Assignment) {
        let mut fetcher = match self.fetcher(from) {
            Ok(fetcher) => fetcher,
            Err(error) => {
                let refused = PortError::never(&self.attempted, plain(&error));
                // A reader that has gone needs no answer.
                let _gone = self.to_reader.try_send(Err(refused));
                return;
            }
        };
        while self.turn(&mut fetcher, from).is_ok() {}
    }

    fn fetcher(&self, from: &Assignment) -> KafkaResult<Fetcher> {
        let config = reader_config(&self.source.cluster);
        let consumer: BaseConsumer<Words> = config.create_with_context(self.words.clone())?;
        Fetcher::new(&self.source.cluster, consumer, from)
    }

    fn turn(&mut self, fetcher: &mut Fetcher, from: &Assignment) -> Result<(), Over> {
        if self.to_reader.is_closed() {
            return Err(Over);
        }
        hear(&fetcher.consumer);
        let (mut batches, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut troubles = Vec::new();
        fetcher.take(TURN_MS, |fetched| match fetched {
            Fetched::Record(read) => {
                let size_bytes = read.record.size_bytes();
                if bytes + size_bytes > BATCH_BYTES_MAX && !batch.is_empty() {
                    batches.push(std::mem::take(&mut batch));
                    bytes = 0;
                }
                bytes += size_bytes;
                batch.push(read);
            }
            Fetched::Trouble(trouble) => troubles.push(trouble),
        });
        if !batch.is_empty() {
            batches.push(batch);
            self.settle_doubt(&fetcher.consumer)?;
        }
        for batch in batches {
            self.hand_over(Ok(batch), &fetcher.consumer)?;
        }
        for trouble in troubles {
            self.judge(trouble, &fetcher.consumer)?;
        }
        if self.words.away().is_some() || self.heard_at.elapsed() > SILENCE {
            self.probe(&fetcher.consumer, from);
        }
        Ok(())
    }

    /// Records came, so the brokers are there.
    fn reachable(&mut self) {
        self.heard_at = Instant::now();
        self.words.answered();
        self.is_away.send_if_modified(|why| why.take().is_some());
    }

    /// Asks the brokers whether they and the topics are there, where nothing comes to be read.
    fn probe(&mut self, consumer: &BaseConsumer<Words>, from: &Assignment) {
        let topics: BTreeSet<Topic> = from.keys().map(|source| source.topic).collect();
        for topic in topics {
            let name = self.source.cluster.topic_name(topic);
            let why = match consumer.fetch_metadata(Some(&name), PROBE) {
                Ok(told) if told.topics().iter().all(|topic| topic.error().is_none()) => continue,
                Ok(_) => {
                    self.in_doubt = true;
                    format!("there is no topic {name}")
                }
                Err(error) => {
                    self.reminder.remind(consumer.client(), &self.source.cluster);
                    self.words.why(&error)
                }
            };
            self.is_away.send_replace(Some(why));
            return;
        }
        self.reachable();
    }

    /// Waits until there is room; hears the client meanwhile.
    fn hand_over(&self, batch: Batch, consumer: &BaseConsumer<Words>) -> Result<(), Over> {
        let mut waiting = batch;
        loop {
            match self.to_reader.try_send(waiting) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(Over),
                Err(mpsc::error::TrySendError::Full(batch)) => waiting = batch,
            }
            hear(consumer);
            // The reader unparks this thread when it took a batch.
            thread::park_timeout(ROOM_TURN);
        }
    }

    /// After a topic was missing: makes sure that it is the same one that is there now.
    fn settle_doubt(&mut self, consumer: &BaseConsumer<Words>) -> Result<(), Over> {
        while self.in_doubt {
            match self.source.check_identity() {
                Ok(()) => self.in_doubt = false,
                Err(Doubt::Unclear(why)) => {
                    self.is_away.send_replace(Some(why));
                    if self.to_reader.is_closed() {
                        return Err(Over);
                    }
                    hear(consumer);
                    thread::park_timeout(PROBE);
                }
                Err(doubt) => {
                    self.hand_over(Err(doubt.into_error(&self.attempted)), consumer)?;
                    return Err(Over);
                }
            }
        }
        self.reachable();
        Ok(())
    }

    /// What keeps a partition from being read: for good, or until it passes.
    fn judge(&mut self, trouble: Trouble, consumer: &BaseConsumer<Words>) -> Result<(), Over> {
        use RDKafkaErrorCode as Code;
        let Trouble { source, offset, code, reason } = trouble;
        let named = source.map_or_else(|| "a partition".to_owned(), |source| source.to_string());
        let refusal = match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => {
                format!("{}; {reason}", self.out_of_range(source, offset))
            }
            Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed => {
                let remedy = self.source.cluster.remedy(code).unwrap_or_default();
                format!("{named}: {code}; {remedy}")
            }
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopicId
            | Code::UnknownPartition => {
                self.in_doubt = true;
                self.is_away.send_replace(Some(format!("{named}: {reason}")));
                return Ok(());
            }
            _ => {
                tracing::warn!(partition = named, %code, reason, "a partition cannot be read now");
                return Ok(());
            }
        };
        self.hand_over(Err(PortError::never(&self.attempted, refusal)), consumer)?;
        Err(Over)
    }

    fn out_of_range(&self, source: Option<TopicPartition>, offset: i64) -> String {
        let Some(source) = source else { return format!("offset {offset} is not there") };
        let edge = |edge| {
            let answer = self.source.inquiry.offsets([source].into_iter(), edge);
            answer.ok().and_then(|offsets| offsets.get(&source).copied())
        };
        match (edge(Edge::Start), edge(Edge::End)) {
            (Some(start), Some(end)) => format!(
                "expected offset {offset} in {source}, found that it begins at {start} and ends at \
                 {end}: it was cut or made anew"
            ),
            _ => format!("expected offset {offset} in {source}, which is not there any more"),
        }
    }
}
