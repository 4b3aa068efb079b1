//! How far the store is: followed on the change feed, waited for by calls that are not sure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agon_ports::{Assignment, Change, ChangeSubscriber, Heard, PortError, ProjectionStore};
use agon_projections::RowKey;
use agon_projections::row::Value;
use agon_schema::TopicPartition;
use tokio::sync::watch;

use super::shared::Shared;

/// Pause before progress is read again from a store that was away.
const RETRY: Duration = Duration::from_millis(500);

/// The last folded offset of each partition that has one.
#[derive(Debug, Default)]
pub(crate) struct Progress(watch::Sender<BTreeMap<TopicPartition, u64>>);

impl Progress {
    /// Takes in news; older ones than what is known change nothing.
    pub fn raise(&self, source: TopicPartition, applied: u64) {
        self.0.send_if_modified(|known| {
            let is_new = known.get(&source).is_none_or(|before| *before < applied);
            if is_new {
                known.insert(source, applied);
            }
            is_new
        });
    }

    /// Waits until everything before these ends is folded; false when it took longer than `wait`.
    pub async fn reach(&self, ends: &Assignment, wait: Duration) -> bool {
        let mut progress = self.0.subscribe();
        let is_reached = |known: &BTreeMap<TopicPartition, u64>| {
            ends.iter().all(|(source, end)| {
                *end == 0 || known.get(source).is_some_and(|applied| applied + 1 >= *end)
            })
        };
        matches!(tokio::time::timeout(wait, progress.wait_for(is_reached)).await, Ok(Ok(_)))
    }
}

/// Follows the feed until nobody publishes any more.
pub(crate) async fn follow(shared: Arc<Shared>, mut feed: Box<dyn ChangeSubscriber>) {
    let mut is_behind = true;
    loop {
        if is_behind {
            match stored(shared.store.as_ref(), shared.log.partitions()).await {
                Ok(stored) => {
                    is_behind = false;
                    for (source, applied) in stored {
                        shared.passed(source, applied);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the store's progress cannot be read; trying again");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
        }
        match feed.next().await {
            Heard::Change(Change::Progress { source, applied, .. }) => {
                shared.passed(source, applied);
            }
            Heard::Change(Change::Moved { .. } | Change::Reload { .. }) => {}
            Heard::Missed => is_behind = true,
            Heard::Closed => return,
        }
    }
}

/// What the store says of all partitions.
async fn stored(
    store: &dyn ProjectionStore,
    partitions: u32,
) -> Result<Vec<(TopicPartition, u64)>, PortError> {
    let sources = TopicPartition::all(partitions);
    let rows = store.get(sources.map(RowKey::Progress).collect()).await?;
    let progress = rows.into_iter().flatten().filter_map(|row| match (row.key, row.value) {
        (RowKey::Progress(source), Value::Progress(progress)) => Some((source, progress.applied)),
        _ => None,
    });
    Ok(progress.collect())
}
