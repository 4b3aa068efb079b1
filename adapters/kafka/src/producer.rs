//! The idempotent producer. Records get their partition from the caller; an append is answered
//! when the last of its delivery reports has come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use agon_ports::{Append, PortError};
use agon_schema::Topic;
use agon_schema::record::RECORD_BYTES_MAX;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::call::{Call, Deliveries, Ticket};
use crate::client::{Cluster, Words, plain};
use crate::error::OpenError;
use crate::inquiry::Inquiry;
use crate::reminder::Reminder;
use crate::topics::{MESSAGE_BYTES_MAX, OVERHEAD_BYTES_MAX};

/// Bytes of records that may be under way to the brokers. A larger call goes alone.
const UNDER_WAY_BYTES_MAX: u32 = 128 << 20;
/// What the library itself needs for a record, roughly.
const RECORD_OVERHEAD_BYTES: usize = 256;
/// Bytes that a header may need on the wire beside its name and value.
const HEADER_OVERHEAD_BYTES: usize = 10;
/// Bytes that a batch with one record may need beside key, headers and value.
const BATCH_OVERHEAD_BYTES: usize = 128;
/// How often the thread that hears reports looks whether it is still needed.
const TURN: Duration = Duration::from_millis(100);
/// Calls with more records are handed to the library on a thread that may take its time.
pub(crate) const INLINE_RECORDS_MAX: usize = 256;

/// Appends records. What it waits for is bounded by the settings' timeout.
pub(crate) struct Appender {
    cluster: Cluster,
    inquiry: Arc<Inquiry>,
    /// Names of topics by their place in [`Topic::ALL`].
    names: [String; 3],
    room: Arc<Semaphore>,
    live: Mutex<Arc<Live>>,
}

/// One producer, with the thread that hears its reports.
struct Live {
    producer: Arc<BaseProducer<Deliveries>>,
    words: Words,
    reminder: Reminder,
    is_over: Arc<AtomicBool>,
    /// Held while the records of one call are handed over, so that they stand together.
    turn: Mutex<()>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Appender {
    pub(crate) fn new(cluster: &Cluster, inquiry: &Arc<Inquiry>) -> Result<Appender, OpenError> {
        Ok(Appender {
            cluster: cluster.clone(),
            inquiry: Arc::clone(inquiry),
            names: Topic::ALL.map(|topic| cluster.topic_name(topic)),
            room: Arc::new(Semaphore::new(UNDER_WAY_BYTES_MAX as usize)),
            live: Mutex::new(Arc::new(start(cluster, inquiry)?)),
        })
    }

    /// Nothing panics while it holds this lock, so what a poisoned one guards is whole.
    fn live(&self) -> MutexGuard<'_, Arc<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the producer can send nothing any more, if so.
    pub(crate) fn fatal(&self) -> Option<String> {
        let live = Arc::clone(&*self.live());
        live.producer.client().fatal_error().map(|(_, reason)| reason)
    }

    /// Makes a new producer in the place of one that can send nothing any more.
    pub(crate) fn renew(&self) -> Result<(), OpenError> {
        let fresh = Arc::new(start(&self.cluster, &self.inquiry)?);
        *self.live() = fresh;
        Ok(())
    }

    /// Waits until there is room for these records under way.
    pub(crate) async fn admit(&self, appends: &[Append]) -> Result<Arc<Call>, PortError> {
        let bytes: usize =
            appends.iter().map(|it| it.record.size_bytes() + RECORD_OVERHEAD_BYTES).sum();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(UNDER_WAY_BYTES_MAX);
        let wait = Duration::from_millis(self.cluster.settings.append_timeout_ms.into());
        let room = Arc::clone(&self.room).acquire_many_owned(bytes);
        let Ok(Ok(room)) = timeout(wait, room).await else {
            let reason = format!(
                "{UNDER_WAY_BYTES_MAX} bytes of records are under way to the brokers already; try \
                 again soon"
            );
            return Err(PortError::later(self.attempted(appends.len()), reason));
        };
        Ok(Arc::new(Call::new(appends.len(), room)))
    }

    /// Hands the records over, in the order given. Never waits for a broker.
    pub(crate) fn send(&self, appends: &[Append], call: &Arc<Call>) {
        let live = Arc::clone(&*self.live());
        let _turn = live.turn.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, append) in appends.iter().enumerate() {
            let record = self.record(append, Box::new(Ticket { call: Arc::clone(call), index }));
            if let Err((error, _)) = live.producer.send(record) {
                call.failed(appends.len() - index, error);
                return;
            }
        }
    }

    fn record<'a>(
        &'a self,
        append: &'a Append,
        ticket: Box<Ticket>,
    ) -> BaseRecord<'a, [u8], [u8], Box<Ticket>> {
        let Append { target, record } = append;
        let headers = OwnedHeaders::new_with_capacity(record.headers.len());
        let headers = record.headers.iter().fold(headers, |headers, (key, value)| {
            headers.insert(Header { key, value: Some(&**value) })
        });
        let name = &self.names[usize::from(target.topic.code()) - 1];
        BaseRecord::with_opaque_to(name, ticket)
            .partition(i32::try_from(target.partition).unwrap_or(i32::MAX))
            .key(record.key.as_slice())
            .payload(record.value.as_slice())
            // 0 is the library's word for now.
            .timestamp(record.appended_at_ms.max(0))
            .headers(headers)
    }

    pub(crate) fn attempted(&self, records: usize) -> String {
        format!("append {records} records to {}", self.cluster.address)
    }

    /// What a failed delivery means for the caller.
    pub(crate) fn failed(&self, records: usize, error: &KafkaError) -> PortError {
        use RDKafkaErrorCode as Code;
        let attempted = self.attempted(records);
        // Without the right to write a producer does not even begin, and drops what it has.
        let fatal = self.live().producer.client().fatal_error();
        if let Some((code, reason)) = fatal
            && let Some(remedy) = self.cluster.remedy(code)
        {
            return PortError::never(attempted, format!("{reason}; {remedy}"));
        }
        let Some(code) = error.rdkafka_error_code() else {
            return PortError::later(attempted, plain(error));
        };
        if let Some(remedy) = self.cluster.remedy(code) {
            return PortError::never(attempted, format!("{code}; {remedy}"));
        }
        match code {
            Code::MessageTimedOut => {
                let waited_ms = self.cluster.settings.append_timeout_ms;
                let live = Arc::clone(&*self.live());
                live.reminder.remind(live.producer.client(), &self.cluster);
                let why = live.words.trouble();
                let why = why.unwrap_or_else(|| "the brokers do not answer".to_owned());
                let reason = format!("no acknowledgement within {waited_ms} ms: {why}");
                PortError::later(attempted, reason)
            }
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
                let reason = format!("{code}; a topic was removed or made anew since the start");
                PortError::never(attempted, reason)
            }
            Code::MessageSizeTooLarge | Code::InvalidMessage | Code::InvalidTimestamp => {
                PortError::never(attempted, format!("{code}; the brokers refuse a record"))
            }
            _ => PortError::later(attempted, code),
        }
    }
}

/// Why a record is refused for good before anything is sent, if so.
pub(crate) fn refusal(append: &Append, partitions: u32) -> Option<String> {
    let Append { target, record } = append;
    let size_bytes = record.size_bytes();
    let overhead_bytes = BATCH_OVERHEAD_BYTES + HEADER_OVERHEAD_BYTES * record.headers.len();
    if size_bytes > RECORD_BYTES_MAX {
        Some(format!(
            "a record for {target} has {size_bytes} bytes, more than {RECORD_BYTES_MAX}; send less"
        ))
    } else if overhead_bytes > OVERHEAD_BYTES_MAX {
        let headers = record.headers.len();
        Some(format!("a record for {target} has {headers} headers, too many; send fewer"))
    } else if record.headers.iter().any(|(name, _)| name.contains('\0')) {
        Some(format!("a record for {target} has a header with a zero byte in its name"))
    } else if target.partition >= partitions {
        let last = partitions.saturating_sub(1);
        Some(format!("there is no partition {target}, the last one is {last}"))
    } else {
        None
    }
}

fn config(cluster: &Cluster) -> ClientConfig {
    let timeout_ms = cluster.settings.append_timeout_ms;
    let linger_ms = cluster.settings.linger_ms.min(timeout_ms);
    let mut config = cluster.client_config();
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // `enable.gapless.guarantee` stays off, its default: a record that timed out may be
        // missing before later ones, since its caller was told.
        .set("message.timeout.ms", timeout_ms.to_string())
        .set("request.timeout.ms", timeout_ms.to_string())
        .set("linger.ms", linger_ms.to_string())
        .set("compression.type", "lz4")
        .set("batch.size", "1000000")
        .set("batch.num.messages", "10000")
        .set("message.max.bytes", MESSAGE_BYTES_MAX.to_string())
        // What waits is bounded by `UNDER_WAY_BYTES_MAX`, call by call.
        .set("queue.buffering.max.messages", "0")
        .set("queue.buffering.max.kbytes", i32::MAX.to_string());
    config
}

fn start(cluster: &Cluster, inquiry: &Arc<Inquiry>) -> Result<Live, OpenError> {
    let words = Words::default();
    let producer: Result<BaseProducer<Deliveries>, KafkaError> =
        config(cluster).create_with_context(Deliveries(words.clone()));
    let producer = producer.map_err(|error| cluster.refused("make a producer", error))?;
    let producer = Arc::new(producer);
    let is_over = Arc::new(AtomicBool::new(false));
    let hearing = thread::Builder::new().name("kafka-reports".to_owned()).spawn({
        let (producer, inquiry) = (Arc::clone(&producer), Arc::clone(inquiry));
        let is_over = Arc::clone(&is_over);
        move || {
            while !is_over.load(Ordering::Relaxed) {
                producer.poll(TURN);
                inquiry.serve();
            }
        }
    });
    hearing.map_err(|error| OpenError::Refused {
        address: cluster.address.clone(),
        attempted: "start the thread that hears delivery reports".to_owned(),
        reason: error.to_string(),
    })?;
    Ok(Live { producer, words, reminder: Reminder::default(), is_over, turn: Mutex::new(()) })
}

#[cfg(test)]
impl Appender {
    /// Makes the library believe that its producer failed for good, as a broker can.
    #[allow(unsafe_code)]
    pub(crate) fn fail_for_good(&self) {
        use rdkafka::bindings as native;
        let live = Arc::clone(&*self.live());
        let code = native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        // SAFETY: the producer lives in `live`; the reason is a C string.
        unsafe {
            let handle = live.producer.client().native_ptr();
            native::rd_kafka_test_fatal_error(handle, code, c"as a test says".as_ptr());
        }
    }
}
