//! Takes fetched records from the C library by batches: several times as fast as one by one, which
//! is all that the crate `rdkafka` offers. The consumer itself is the crate's; this only forwards
//! its partitions to one queue and empties that. Every pointer that is ours is in an [`Owned`].
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_void};
use std::ptr;
use std::slice;

use agon_ports::{Assignment, LogRecord};
use agon_schema::record::{Header, header};
use agon_schema::{Position, Record, Topic, TopicPartition};
use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use crate::client::{Cluster, Words};
use crate::owned::Owned;

/// Messages taken in one call.
const MESSAGES_MAX: usize = 4096;

/// What the library fetched: a record, or what keeps a partition from being read.
pub(crate) enum Fetched {
    Record(LogRecord),
    Trouble(Trouble),
}

/// A partition that cannot be read, in the library's words.
pub(crate) struct Trouble {
    pub(crate) source: Option<TopicPartition>,
    pub(crate) offset: i64,
    pub(crate) code: RDKafkaErrorCode,
    pub(crate) reason: String,
}

/// A consumer of some partitions, and the queue that they arrive in. Stays on one thread.
pub(crate) struct Fetcher {
    // Before the consumer that it is a queue of: fields are dropped in this order.
    queue: Owned<native::rd_kafka_queue_t>,
    pub(crate) consumer: BaseConsumer<Words>,
    cluster: Cluster,
    messages: Vec<*mut native::rd_kafka_message_t>,
    /// The topic object of the last message, whose name need not be read again.
    last_topic: (*mut native::rd_kafka_topic_t, Option<Topic>),
}

impl Fetcher {
    /// Starts to fetch these partitions from these offsets on.
    ///
    /// # Errors
    /// The library's own, for settings or partitions that it does not take.
    pub(crate) fn new(
        cluster: &Cluster,
        consumer: BaseConsumer<Words>,
        from: &Assignment,
    ) -> KafkaResult<Fetcher> {
        let handle = consumer.client().native_ptr();
        // SAFETY: `handle` is alive for as long as `consumer`, which the queue goes before.
        let queue = unsafe { native::rd_kafka_queue_new(handle) };
        let queue = Owned::new(queue, native::rd_kafka_queue_destroy)?;
        let mut assignment = TopicPartitionList::new();
        for (source, offset) in from {
            let (name, partition) = cluster.native(*source);
            let offset = i64::try_from(*offset).unwrap_or(i64::MAX);
            assignment.add_partition_offset(&name, partition, Offset::Offset(offset))?;
            let name = CString::new(name)?;
            // SAFETY: handle and name are alive; both queues are, and forwarding keeps its target.
            unsafe {
                let one = native::rd_kafka_queue_get_partition(handle, name.as_ptr(), partition);
                let one = Owned::new(one, native::rd_kafka_queue_destroy)?;
                native::rd_kafka_queue_forward(one.get(), queue.get());
            }
        }
        consumer.assign(&assignment)?;
        Ok(Fetcher {
            queue,
            consumer,
            cluster: cluster.clone(),
            messages: vec![ptr::null_mut(); MESSAGES_MAX],
            last_topic: (ptr::null_mut(), None),
        })
    }

    /// Waits so long for a first message, then takes all that are there, in order within each
    /// partition, and hands them over.
    pub(crate) fn take(&mut self, wait_ms: i32, mut each: impl FnMut(Fetched)) {
        let first = self.fill(0, 1, wait_ms);
        let count = if first == 0 { 0 } else { first + self.fill(1, MESSAGES_MAX - 1, 0) };
        for index in 0..count {
            let message = self.messages[index];
            if let Ok(message) = Owned::new(message, native::rd_kafka_message_destroy) {
                each(self.read(&message));
            }
        }
    }

    /// Takes up to `count` messages to the places from `start` on; answers how many came.
    fn fill(&mut self, start: usize, count: usize, wait_ms: i32) -> usize {
        let places = &mut self.messages[start..start + count];
        // SAFETY: the queue is alive; the array has as many places as said.
        let filled = unsafe {
            native::rd_kafka_consume_batch_queue(
                self.queue.get(),
                wait_ms,
                places.as_mut_ptr(),
                places.len(),
            )
        };
        // Negative for an error that is told elsewhere.
        usize::try_from(filled).unwrap_or(0).min(count)
    }

    fn read(&mut self, message: &Owned<native::rd_kafka_message_t>) -> Fetched {
        // SAFETY: the message is alive for as long as `message` is borrowed, and nobody writes it.
        let raw = unsafe { &*message.get() };
        let topic = self.topic_of(raw.rkt);
        let partition = u32::try_from(raw.partition).unwrap_or(u32::MAX);
        let source = topic.map(|topic| TopicPartition { topic, partition });
        // SAFETY: payload and key are of the message, with the lengths that stand beside them.
        let (value, key) = unsafe { (bytes(raw.payload, raw.len), bytes(raw.key, raw.key_len)) };
        match (RDKafkaErrorCode::from(raw.err), source) {
            (RDKafkaErrorCode::NoError, Some(source)) => {
                let offset = u64::try_from(raw.offset).unwrap_or_default();
                let record = Record {
                    key: key.to_vec(),
                    headers: headers(message),
                    value: value.to_vec(),
                    appended_at_ms: appended_at_ms(message),
                };
                Fetched::Record(LogRecord { position: Position { source, offset }, record })
            }
            (code, source) => {
                let reason = String::from_utf8_lossy(value).into_owned();
                Fetched::Trouble(Trouble { source, offset: raw.offset, code, reason })
            }
        }
    }

    fn topic_of(&mut self, topic: *mut native::rd_kafka_topic_t) -> Option<Topic> {
        if topic.is_null() {
            return None;
        }
        if self.last_topic.0 != topic {
            // SAFETY: the topic object lives while a message of it does; its name is a C string.
            let name = unsafe { CStr::from_ptr(native::rd_kafka_topic_name(topic)) };
            self.last_topic = (topic, self.cluster.topic_of(&name.to_string_lossy()));
        }
        self.last_topic.1
    }
}

/// Bytes of a message; none where it has none.
///
/// # Safety
/// `start` is null, or so many bytes are there for as long as the answer is used.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> &'a [u8] {
    if start.is_null() {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { slice::from_raw_parts(start.cast(), length) }
}

/// When the record was appended, in milliseconds; 0 where the broker does not say.
fn appended_at_ms(message: &Owned<native::rd_kafka_message_t>) -> i64 {
    let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the message is alive; `kind` is ours.
    unsafe { native::rd_kafka_message_timestamp(message.get(), &mut kind) }.max(0)
}

/// The headers as they were written: names that are no UTF-8 with a mark, an absent value as an
/// empty one. Headers that cannot be parsed are none.
fn headers(message: &Owned<native::rd_kafka_message_t>) -> Vec<Header> {
    let mut all = ptr::null_mut();
    // SAFETY: the message is alive; the headers that are answered are part of it.
    let answer = unsafe { native::rd_kafka_message_headers(message.get(), &mut all) };
    if answer != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR || all.is_null() {
        return Vec::new();
    }
    // SAFETY: `all` is part of the message, which is alive.
    let count = unsafe { native::rd_kafka_header_cnt(all) };
    let mut headers = Vec::with_capacity(count);
    for index in 0..count {
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
        // SAFETY: `all` is alive; name and value that are answered are part of it.
        let read = unsafe {
            let answer =
                native::rd_kafka_header_get_all(all, index, &mut name, &mut value, &mut length);
            if answer != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                break;
            }
            header(&CStr::from_ptr(name).to_string_lossy(), bytes(value, length))
        };
        headers.push(read);
    }
    headers
}
