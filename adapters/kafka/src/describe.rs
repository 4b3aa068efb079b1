//! The ids of topics. The broker gives each topic one when it is made, so a topic that was removed
//! and made again is noticed. The crate `rdkafka` does not wrap this call, so it is made on the C
//! library itself. Every pointer that is ours to free is in an
//! [`Owned`].
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr;

use rdkafka::bindings as native;
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

use crate::client::Words;
use crate::owned::Owned;

/// Topic ids by topic name. A broker that gives topics no ids says zero.
pub(crate) type TopicIds = BTreeMap<String, u128>;

/// Asks the brokers for the ids of these topics. Blocks for `timeout_ms` at most.
///
/// # Errors
/// The library's own: the brokers are away, do not know the call, or lack one of the topics.
pub(crate) fn topic_ids(
    client: &Client<Words>,
    names: &[String],
    timeout_ms: i32,
) -> KafkaResult<TopicIds> {
    let names: Vec<CString> =
        names.iter().map(|name| CString::new(name.as_str())).collect::<Result<_, _>>()?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let handle = client.native_ptr();
    // SAFETY: `pointers` are as many C strings as said, alive in `names`; the call copies them.
    let topics = unsafe {
        native::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len())
    };
    let topics = Owned::new(topics, native::rd_kafka_TopicCollection_destroy)?;
    let operation = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: `handle` is alive for as long as `client` is borrowed.
    let options = unsafe { native::rd_kafka_AdminOptions_new(handle, operation) };
    let options = Owned::new(options, native::rd_kafka_AdminOptions_destroy)?;
    // SAFETY: `options` is alive; a null buffer of size 0 takes no words of an error.
    let answer = unsafe {
        native::rd_kafka_AdminOptions_set_request_timeout(
            options.get(),
            timeout_ms,
            ptr::null_mut(),
            0,
        )
    };
    admitted(answer)?;
    // SAFETY: `handle` is alive, see above; the queue is freed before this function ends.
    let queue = unsafe { native::rd_kafka_queue_new(handle) };
    let queue = Owned::new(queue, native::rd_kafka_queue_destroy)?;
    // SAFETY: all four are alive; the call copies topics and options and keeps the queue itself.
    let event = unsafe {
        native::rd_kafka_DescribeTopics(handle, topics.get(), options.get(), queue.get());
        native::rd_kafka_queue_poll(queue.get(), timeout_ms)
    };
    read_event(&Owned::new(event, native::rd_kafka_event_destroy)?)
}

fn read_event(event: &Owned<native::rd_kafka_event_t>) -> KafkaResult<TopicIds> {
    // SAFETY: the event is alive; it is of the one kind that this queue gets, else the call
    // answers null.
    let (answer, result) = unsafe {
        (
            native::rd_kafka_event_error(event.get()),
            native::rd_kafka_event_DescribeTopics_result(event.get()),
        )
    };
    admitted(answer)?;
    if result.is_null() {
        return Err(KafkaError::NoMessageReceived);
    }
    let mut count = 0;
    // SAFETY: `result` is part of the event, which is alive; the array has `count` elements.
    let descriptions = unsafe { native::rd_kafka_DescribeTopics_result_topics(result, &mut count) };
    let mut ids = TopicIds::new();
    for index in 0..count {
        // SAFETY: index < count; name and id are part of the event, which outlives these reads.
        // The error of a description may be null, which `rd_kafka_error_code` takes.
        let (code, name, high, low) = unsafe {
            let description = *descriptions.add(index);
            let id = native::rd_kafka_TopicDescription_topic_id(description);
            (
                native::rd_kafka_error_code(native::rd_kafka_TopicDescription_error(description)),
                CStr::from_ptr(native::rd_kafka_TopicDescription_name(description)),
                native::rd_kafka_Uuid_most_significant_bits(id),
                native::rd_kafka_Uuid_least_significant_bits(id),
            )
        };
        admitted(code)?;
        let id = u128::from(high.cast_unsigned()) << 64 | u128::from(low.cast_unsigned());
        ids.insert(name.to_string_lossy().into_owned(), id);
    }
    Ok(ids)
}

pub(crate) fn admitted(code: RDKafkaRespErr) -> KafkaResult<()> {
    match RDKafkaErrorCode::from(code) {
        RDKafkaErrorCode::NoError => Ok(()),
        code => Err(KafkaError::AdminOp(code)),
    }
}
