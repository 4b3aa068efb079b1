//! Makes the topics where they are absent, and refuses where they differ.

use std::time::{Duration, Instant};

use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;
use tokio::runtime::Handle;

use crate::address::KafkaAddress;
use crate::client::{Cluster, plain};
use crate::error::OpenError;
use crate::inquiry::Inquiry;
use crate::log::blocking;
use crate::settings::KafkaSettings;
use crate::survey::{Survey, admin, options, survey};
use crate::topics::{self, Rule};

/// Copies of a partition unless stated, where there are nodes enough.
const REPLICATION_DEFAULT: usize = 3;
/// How long new topics may take until all partitions have leaders.
const LEADERS_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What the topics are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitSettings {
    /// Partitions of every topic, at least 1.
    pub partitions: u32,
    /// Copies of each partition; for new topics the smaller of 3 and the nodes seen unless stated.
    pub replication: Option<u16>,
    /// How long the change feed is kept, in milliseconds, at least 1.
    pub changes_retention_ms: i64,
}

/// What `init` did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitReport {
    /// Names of the topics that were made.
    pub made: Vec<String>,
    /// Names of the topics that were there, as they must be.
    pub found: Vec<String>,
}

/// Makes the topics of events and of the change feed where they are absent, and waits until all
/// their partitions have leaders. A second call changes nothing.
///
/// # Errors
/// [`OpenError::Away`] when the brokers do not answer, [`OpenError::Differs`] when a topic is there
/// and is not as it must be (nothing is made then), [`OpenError::Refused`] when the brokers refuse.
pub async fn init(
    address: &KafkaAddress,
    settings: &KafkaSettings,
    wanted: InitSettings,
) -> Result<InitReport, OpenError> {
    let cluster = Cluster { address: address.clone(), settings: settings.clone() };
    blocking(&cluster.clone(), move || init_now(&cluster, wanted)).await
}

fn init_now(cluster: &Cluster, wanted: InitSettings) -> Result<InitReport, OpenError> {
    check(cluster, wanted)?;
    let inquiry = Inquiry::new(cluster)?;
    let rules: Vec<Rule> = topics::all(cluster, Some(wanted.changes_retention_ms))
        .into_iter()
        .map(|(name, kind)| Rule {
            name,
            kind,
            partitions: wanted.partitions,
            replication: wanted.replication,
        })
        .collect();
    let names: Vec<String> = rules.iter().map(|rule| rule.name.clone()).collect();
    let before = survey(cluster, &inquiry, &names)?;
    refuse_differences(cluster, &rules, &before)?;
    let (found, missing): (Vec<&Rule>, Vec<&Rule>) =
        rules.iter().partition(|rule| before.topics.contains_key(&rule.name));
    if !missing.is_empty() {
        make(cluster, &missing, before.nodes)?;
    }
    let deadline = Instant::now() + LEADERS_WITHIN;
    loop {
        let after = survey(cluster, &inquiry, &names)?;
        if after.topics.len() == names.len() && after.topics.values().all(|found| found.is_led) {
            // Someone else may have made them at the same time, otherwise.
            refuse_differences(cluster, &rules, &after)?;
            break;
        }
        if Instant::now() > deadline {
            let reason = format!("some partitions have no leader after {LEADERS_WITHIN:?}");
            return Err(OpenError::Away { address: cluster.address.clone(), reason });
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    let named = |rules: Vec<&Rule>| rules.into_iter().map(|rule| rule.name.clone()).collect();
    Ok(InitReport { made: named(missing), found: named(found) })
}

/// Refuses what no broker could make, before any is asked.
fn check(cluster: &Cluster, wanted: InitSettings) -> Result<(), OpenError> {
    let reason = if wanted.partitions == 0 || i32::try_from(wanted.partitions).is_err() {
        format!("{} partitions; choose 1 or more with --partitions", wanted.partitions)
    } else if wanted.replication == Some(0) {
        "a replication of 0; choose 1 or more with --replication".to_owned()
    } else if wanted.changes_retention_ms < 1 {
        let retention_ms = wanted.changes_retention_ms;
        format!("a change feed kept for {retention_ms} ms; choose 1 or more")
    } else {
        return Ok(());
    };
    Err(OpenError::Refused {
        address: cluster.address.clone(),
        attempted: "make topics".to_owned(),
        reason,
    })
}

fn refuse_differences(cluster: &Cluster, rules: &[Rule], seen: &Survey) -> Result<(), OpenError> {
    let differences: Vec<_> = rules
        .iter()
        .filter_map(|rule| seen.topics.get(&rule.name).map(|found| rule.differences(found)))
        .flatten()
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    Err(OpenError::Differs { address: cluster.address.clone(), differences })
}

fn make(cluster: &Cluster, missing: &[&Rule], nodes: usize) -> Result<(), OpenError> {
    let default = u16::try_from(nodes.clamp(1, REPLICATION_DEFAULT)).unwrap_or(1);
    let copies = |rule: &Rule| rule.replication.unwrap_or(default);
    let settings: Vec<_> = missing.iter().map(|rule| rule.settings(copies(rule))).collect();
    let new: Vec<NewTopic<'_>> = missing
        .iter()
        .zip(&settings)
        .map(|(rule, settings)| {
            let partitions = i32::try_from(rule.partitions).unwrap_or(i32::MAX);
            let copies = TopicReplication::Fixed(copies(rule).into());
            let topic = NewTopic::new(&rule.name, partitions, copies);
            settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
        })
        .collect();
    let admin = admin(cluster)?;
    let answer = Handle::current().block_on(admin.create_topics(&new, &options(cluster)));
    let answer = answer.map_err(|error| cluster.failed("make topics", &error, plain(&error)))?;
    for result in answer {
        match result {
            // Another `init` was faster; whether it wanted the same is looked at afterwards.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                let remedy = cluster.remedy(code);
                let remedy = remedy.unwrap_or_else(|| format!("{nodes} nodes are seen"));
                let attempted = format!("make topic {name}");
                return Err(cluster.refusal(&attempted, &code.to_string(), &remedy));
            }
        }
    }
    Ok(())
}
