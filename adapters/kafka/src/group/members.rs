//! How many members a group has, under either protocol, and what they told. The crate `rdkafka`
//! wraps only the older of the two calls that count, so the other one is made on the C library
//! itself.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char};
use std::time::Duration;

use agon_ports::Assignment;
use agon_schema::TopicPartition;
use rdkafka::bindings as native;
use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use crate::client::{Cluster, Words};
use crate::owned::{Owned, admitted, answer};

/// Counts the members of a group; one that does not exist has none. Blocks.
///
/// # Errors
/// The library's own: the brokers are away, or do not allow it.
pub(super) fn count(cluster: &Cluster, group: &str) -> KafkaResult<usize> {
    let client: BaseConsumer<Words> =
        cluster.client_config().create_with_context(Words::default())?;
    let timeout_ms = cluster.settings.append_timeout_ms;
    let patience = Duration::from_millis(timeout_ms.into());
    let groups = client.fetch_group_list(Some(group), patience)?;
    let members: usize = groups.groups().iter().map(|group| group.members().len()).sum();
    if members > 0 {
        return Ok(members);
    }
    // The older call sees nothing of groups under the newer protocol.
    match count_newer(client.client(), group, i32::try_from(timeout_ms).unwrap_or(i32::MAX)) {
        Err(KafkaError::AdminOp(
            RDKafkaErrorCode::GroupIdNotFound
            | RDKafkaErrorCode::UnsupportedVersion
            | RDKafkaErrorCode::UnsupportedFeature,
        )) => Ok(0),
        counted => counted,
    }
}

/// Where a group's members said that partitions are stored, of those that they told of. Blocks.
///
/// # Errors
/// As [`count`].
pub(super) fn committed(
    cluster: &Cluster,
    group: &str,
    partitions: u32,
) -> KafkaResult<Assignment> {
    let mut config = cluster.client_config();
    let client: BaseConsumer<Words> =
        config.set("group.id", group).create_with_context(Words::default())?;
    let mut asked = TopicPartitionList::new();
    for source in TopicPartition::all(partitions) {
        let (name, partition) = cluster.native(source);
        asked.add_partition(&name, partition);
    }
    let patience = Duration::from_millis(cluster.settings.append_timeout_ms.into());
    let told = client.committed_offsets(asked, patience)?;
    let of = |source: TopicPartition| {
        let (name, partition) = cluster.native(source);
        match told.find_partition(&name, partition)?.offset() {
            Offset::Offset(offset) => Some((source, u64::try_from(offset).ok()?)),
            _ => None,
        }
    };
    Ok(TopicPartition::all(partitions).filter_map(of).collect())
}

fn count_newer(client: &Client<Words>, group: &str, timeout_ms: i32) -> KafkaResult<usize> {
    let name = CString::new(group)?;
    let mut names: [*const c_char; 1] = [name.as_ptr()];
    let operation = native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    let event = answer(client, operation, timeout_ms, |handle, options, queue| {
        let (groups, count) = (names.as_mut_ptr(), names.len());
        // SAFETY: all are alive, and `names` is one C string; the call copies names and options.
        unsafe { native::rd_kafka_DescribeConsumerGroups(handle, groups, count, options, queue) };
    })?;
    read_event(&event)
}

fn read_event(event: &Owned<native::rd_kafka_event_t>) -> KafkaResult<usize> {
    // SAFETY: the event is alive; it is of the one kind that this queue gets, else the call
    // answers null.
    let (answer, result) = unsafe {
        (
            native::rd_kafka_event_error(event.get()),
            native::rd_kafka_event_DescribeConsumerGroups_result(event.get()),
        )
    };
    admitted(answer)?;
    if result.is_null() {
        return Err(KafkaError::NoMessageReceived);
    }
    let mut count = 0;
    // SAFETY: `result` is part of the event, which is alive; the array has `count` elements.
    let groups =
        unsafe { native::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count) };
    let mut members = 0;
    for index in 0..count {
        // SAFETY: index < count; the description is part of the event. Its error may be null,
        // which `rd_kafka_error_code` takes.
        let (code, of_this) = unsafe {
            let group = *groups.add(index);
            let error = native::rd_kafka_ConsumerGroupDescription_error(group);
            let members = native::rd_kafka_ConsumerGroupDescription_member_count(group);
            (native::rd_kafka_error_code(error), members)
        };
        admitted(code)?;
        members += of_this;
    }
    Ok(members)
}
