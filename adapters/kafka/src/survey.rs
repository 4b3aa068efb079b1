//! How the topics of a cluster are found: counts from the metadata, settings from the brokers.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, OwnedResourceSpecifier, ResourceSpecifier};
use rdkafka::error::{IsError, RDKafkaErrorCode};
use tokio::runtime::Handle;

use crate::client::{Cluster, Words};
use crate::error::OpenError;
use crate::inquiry::Inquiry;
use crate::topics::Found;

/// What is there.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Brokers that live.
    pub(crate) nodes: usize,
    /// Our topics by name, as far as they exist.
    pub(crate) topics: BTreeMap<String, Found>,
}

/// Looks for these topics. Blocks, on a thread where the runtime is entered.
///
/// # Errors
/// [`OpenError::Away`], or [`OpenError::Refused`] without the right to describe them.
pub(crate) fn survey(
    cluster: &Cluster,
    inquiry: &Inquiry,
    names: &[String],
) -> Result<Survey, OpenError> {
    let mut survey = Survey::default();
    for name in names {
        let metadata = inquiry.metadata(name)?;
        survey.nodes = metadata.brokers().len();
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            continue;
        };
        match topic.error().map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                continue;
            }
            Some(code) => {
                let error = rdkafka::error::KafkaError::MetadataFetch(code);
                return Err(cluster.failed(&format!("look at {name}"), &error, code.to_string()));
            }
        }
        let partitions = topic.partitions();
        if partitions.is_empty() {
            continue;
        }
        let replication = partitions.iter().map(|it| it.replicas().len()).min().unwrap_or(0);
        let is_led = partitions
            .iter()
            .all(|it| it.leader() >= 0 && !it.error().is_some_and(|error| error.is_error()));
        let found = Found {
            partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
            replication: u16::try_from(replication).unwrap_or(u16::MAX),
            is_led,
            settings: BTreeMap::new(),
        };
        survey.topics.insert(name.clone(), found);
    }
    add_settings(cluster, &mut survey.topics)?;
    Ok(survey)
}

fn add_settings(cluster: &Cluster, topics: &mut BTreeMap<String, Found>) -> Result<(), OpenError> {
    if topics.is_empty() {
        return Ok(());
    }
    let admin = admin(cluster)?;
    let names: Vec<ResourceSpecifier<'_>> =
        topics.keys().map(|name| ResourceSpecifier::Topic(name)).collect();
    let answer = Handle::current().block_on(admin.describe_configs(&names, &options(cluster)));
    let attempted = "ask for the settings of topics";
    let told =
        answer.map_err(|error| cluster.failed(attempted, &error, crate::client::plain(&error)))?;
    for resource in told {
        let resource = resource.map_err(|code| {
            let error = rdkafka::error::KafkaError::AdminOp(code);
            cluster.failed(attempted, &error, code.to_string())
        })?;
        let OwnedResourceSpecifier::Topic(name) = &resource.specifier else { continue };
        let Some(found) = topics.get_mut(name) else { continue };
        for entry in resource.entries {
            if let Some(value) = entry.value {
                found.settings.insert(entry.name, value);
            }
        }
    }
    Ok(())
}

/// A client for administration. It hears no words of its own, so it lives for one call.
pub(crate) fn admin(cluster: &Cluster) -> Result<AdminClient<Words>, OpenError> {
    let config = cluster.client_config();
    let admin = config.create_with_context(Words::default());
    admin.map_err(|error| cluster.refused("make a client", error))
}

/// Waits as long as the settings say.
pub(crate) fn options(cluster: &Cluster) -> AdminOptions {
    let wait = Duration::from_millis(cluster.settings.append_timeout_ms.into());
    AdminOptions::new().request_timeout(Some(wait)).operation_timeout(Some(wait))
}
