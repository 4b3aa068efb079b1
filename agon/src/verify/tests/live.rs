//! A store into which a consumer writes between any two looks at it: cells first, each flush on its
//! own, then the progress.

use std::sync::atomic::{AtomicU64, Ordering};

use agon_memory::MemoryStore;
use agon_ports::{PortError, StoreInspector};
use agon_projections::CellKey;
use async_trait::async_trait;

use super::world::{Reach, Rows, World, environment, overwrite};

pub struct Live<'a> {
    world: &'a World,
    store: MemoryStore,
    /// Records that each look is later than the one before.
    step: u64,
    calls: AtomicU64,
    /// Rows that are always these.
    damage: Rows,
}

impl<'a> Live<'a> {
    pub fn new(world: &'a World, step: u64, damage: Rows) -> Live<'a> {
        Live { world, store: MemoryStore::default(), step, calls: AtomicU64::new(0), damage }
    }

    /// Looks so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn go_on(&self) {
        let now = 20 + self.step * self.calls.fetch_add(1, Ordering::Relaxed);
        let mut reach = self.world.whole();
        let cells = [environment("go"), environment("chess"), CellKey::Stream(0)];
        for (lead, cell) in (1..).zip(cells) {
            let last = reach.progress[&cell.source(1)];
            reach.ahead.insert(cell, (now + lead * self.step).min(last));
        }
        reach.progress.values_mut().for_each(|applied| *applied = now.min(*applied));
        self.write(&reach);
    }

    fn write(&self, reach: &Reach) {
        let mut rows = self.world.rows(reach);
        rows.extend(self.damage.clone());
        overwrite(&self.store, &rows);
    }
}

#[async_trait]
impl StoreInspector for Live<'_> {
    async fn values(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, PortError> {
        self.go_on();
        self.store.values(keys).await
    }

    async fn entries(
        &self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, PortError> {
        self.go_on();
        self.store.entries(prefix, after, limit.min(100)).await
    }
}
