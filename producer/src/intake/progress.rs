//! How far the store is: followed on the change feed, waited for by calls that are not sure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agon_ports::{Assignment, Change, ChangeSubscriber, Heard};
use agon_projections::RowKey;
use agon_projections::row::Value;
use agon_schema::TopicPartition;
use tokio::sync::watch;

use super::shared::Shared;
use super::view::Lookup;

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

    /// Waits until everything before these ends is folded.
    pub async fn reach(&self, ends: &Assignment) {
        let mut progress = self.0.subscribe();
        let is_reached = |known: &BTreeMap<TopicPartition, u64>| {
            ends.iter().all(|(source, end)| {
                *end == 0 || known.get(source).is_some_and(|applied| applied + 1 >= *end)
            })
        };
        // The sender lives as long as this, so the wait ends with the news alone.
        let _ = progress.wait_for(is_reached).await;
    }
}

/// Follows the feed until nobody publishes any more.
pub(crate) async fn follow(shared: Arc<Shared>, mut feed: Box<dyn ChangeSubscriber>) {
    let mut is_behind = true;
    loop {
        if is_behind {
            let Some(stored) = stored(&shared.lookup, shared.log.partitions()).await else {
                tokio::time::sleep(RETRY).await;
                continue;
            };
            is_behind = false;
            for (source, applied) in stored {
                shared.passed(source, applied);
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

/// What the store says of all partitions; nothing while it is away.
async fn stored(lookup: &Lookup, partitions: u32) -> Option<Vec<(TopicPartition, u64)>> {
    let sources = TopicPartition::all(partitions);
    let rows = lookup.get(sources.map(RowKey::Progress).collect()).await?;
    let progress = rows.into_iter().flatten().filter_map(|row| match (row.key, row.value) {
        (RowKey::Progress(source), Value::Progress(progress)) => Some((source, progress.applied)),
        _ => None,
    });
    Some(progress.collect())
}
