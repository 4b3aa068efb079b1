//! One member of a group, and a witness of what it tells.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agon_consumer::{Consumer, ConsumerConfig, ConsumerError};
use agon_memory::{MemoryGroup, MemoryStore};
use agon_ports::{Assignment, Change, ChangePublisher, Group, ProjectionStore};
use agon_projections::RowKey;
use agon_projections::row::Value;
use agon_schema::TopicPartition;
use async_trait::async_trait;
use prometheus::Registry;

use crate::world::World;

pub const STOP: Duration = Duration::from_secs(60);

/// A running member.
pub struct Member {
    pub consumer: Consumer,
    pub registry: Registry,
    pub witness: Arc<Witness>,
}

impl Member {
    /// Starts one over the log of this world.
    pub fn start(
        world: &World,
        group: &MemoryGroup,
        config: ConsumerConfig,
        store: Arc<dyn ProjectionStore>,
    ) -> Member {
        Member::start_over(world, Arc::new(group.clone()), config, store)
    }

    /// Starts one in any group.
    pub fn start_over(
        world: &World,
        group: Arc<dyn Group>,
        config: ConsumerConfig,
        store: Arc<dyn ProjectionStore>,
    ) -> Member {
        let (registry, witness) = (Registry::new(), Arc::new(Witness::of(world.store.clone())));
        let (log, clock) = (Arc::new(world.log.clone()), Arc::new(world.clock.clone()));
        let told = witness.clone();
        let consumer =
            Consumer::start_in_group(config, log, store, told, group, clock, &registry).unwrap();
        Member { consumer, registry, witness }
    }

    /// Ends only when the member fails.
    pub fn failure(&self) -> impl Future<Output = String> + Send + use<> {
        self.consumer.failure()
    }

    /// Stops it, which must go well.
    pub async fn stop(self) {
        self.end().await.unwrap();
    }

    /// Stops it.
    pub async fn end(self) -> Result<(), ConsumerError> {
        let ended = self.consumer.stop(STOP).await;
        self.witness.check();
        ended
    }

    /// The metrics in the text format.
    pub fn metrics(&self) -> String {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather());
        text.unwrap()
    }
}

/// Waits until every record below these ends is in the store.
pub async fn stored_through(store: &MemoryStore, ends: &Assignment) {
    let keys: Vec<RowKey> = ends.keys().map(|source| RowKey::Progress(*source)).collect();
    let is_there = |(row, end): (Option<agon_projections::Row>, &u64)| match row.map(|r| r.value) {
        Some(Value::Progress(progress)) => progress.applied + 1 >= *end,
        _ => *end == 0,
    };
    let all = async {
        loop {
            let rows = store.get(keys.clone()).await.unwrap();
            if rows.into_iter().zip(ends.values()).all(is_there) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(STOP, all).await.expect("everything is stored");
}

/// Hears what a member tells. Two may tell of one partition, so it checks no order, only that
/// nothing is told before it is stored.
pub struct Witness {
    store: MemoryStore,
    wrong: Mutex<Vec<String>>,
    reloads: Mutex<Vec<TopicPartition>>,
    beats: AtomicU64,
}

impl Witness {
    fn of(store: MemoryStore) -> Witness {
        let (wrong, reloads) = (Mutex::default(), Mutex::default());
        Witness { store, wrong, reloads, beats: AtomicU64::new(0) }
    }

    /// Fails if anything told so far was wrong.
    pub fn check(&self) {
        let wrong = self.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// The partitions to be loaded anew, in the order told, and forgets them.
    pub fn reloads(&self) -> Vec<TopicPartition> {
        std::mem::take(&mut self.reloads.lock().unwrap())
    }

    /// How often progress was told.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::SeqCst)
    }

    async fn stored(&self, key: RowKey) -> Option<u64> {
        match self.store.get(vec![key]).await.unwrap().remove(0).map(|row| row.value) {
            Some(Value::Head(head)) => Some(head.applied),
            Some(Value::Progress(progress)) => Some(progress.applied),
            _ => None,
        }
    }
}

#[async_trait]
impl ChangePublisher for Witness {
    async fn publish(&self, change: Change) {
        let (key, told) = match change {
            Change::Moved { cell, to, .. } => (RowKey::Head(cell), to),
            Change::Progress { source, applied, .. } => {
                self.beats.fetch_add(1, Ordering::SeqCst);
                (RowKey::Progress(source), applied)
            }
            Change::Reload { source } => {
                self.reloads.lock().unwrap().push(source);
                return;
            }
        };
        let stored = self.stored(key.clone()).await;
        if stored < Some(told) {
            self.wrong.lock().unwrap().push(format!("{key}: told {told}, stored {stored:?}"));
        }
    }
}
