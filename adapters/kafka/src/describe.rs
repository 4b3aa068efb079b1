//! The ids of topics. The broker gives each topic one when it is made, so a topic that was removed
//! and made again is noticed. The crate `rdkafka` does not wrap this call, so it is made on the C
//! library itself. Every pointer that is ours to free is in an [`Owned`].
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};

use rdkafka::bindings as native;
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, KafkaResult};

use crate::client::Words;
use crate::owned::{Owned, admitted, answer};

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
    // SAFETY: `pointers` are as many C strings as said, alive in `names`; the call copies them.
    let topics = unsafe {
        native::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len())
    };
    let topics = Owned::new(topics, native::rd_kafka_TopicCollection_destroy)?;
    let operation = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    let event = answer(client, operation, timeout_ms, |handle, options, queue| {
        // SAFETY: all four are alive; the call copies topics and options and keeps the queue
        // itself.
        unsafe { native::rd_kafka_DescribeTopics(handle, topics.get(), options, queue) };
    })?;
    read_event(&event)
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
