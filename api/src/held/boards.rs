//! All cells in memory: found by key, made once, let go when they are too many.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agon_projections::CellKey;

use super::slot::Slot;
use crate::metrics::ApiMetrics;
use crate::rendered::Pulse;

pub(crate) struct Boards {
    slots: Mutex<HashMap<CellKey, Arc<Slot>>>,
    /// Grows by two with every new slot; who was asked for in an earlier epoch goes first. Even
    /// numbers are for slots just made, odd ones for those asked for since.
    epoch: AtomicU64,
    /// One for all partitions of the stream, since they are shown as one.
    stream_pulse: Arc<Pulse>,
    boards_max: usize,
    entrants_max: usize,
}

impl Boards {
    pub fn new(boards_max: usize, entrants_max: usize) -> Boards {
        Boards {
            slots: Mutex::default(),
            epoch: AtomicU64::new(0),
            stream_pulse: Arc::new(Pulse::new(0)),
            boards_max,
            entrants_max,
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<CellKey, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch of what is asked for now.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed) + 1
    }

    /// The pulse of all stream cells together.
    pub fn stream_pulse(&self) -> &Arc<Pulse> {
        &self.stream_pulse
    }

    /// The slot of a cell, if it is held.
    pub fn find(&self, key: &CellKey) -> Option<Arc<Slot>> {
        self.slots().get(key).cloned()
    }

    /// The slot of a cell, and whether it was made just now: then the caller starts its load.
    pub fn find_or_make(&self, key: &CellKey) -> (Arc<Slot>, bool) {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(key) {
            slot.pulse().touch(self.epoch());
            return (Arc::clone(slot), false);
        }
        let epoch = self.epoch.fetch_add(2, Ordering::Relaxed) + 2;
        let pulse = match key {
            CellKey::Stream(_) => Arc::clone(&self.stream_pulse),
            _ => Arc::new(Pulse::new(epoch)),
        };
        let slot = Arc::new(Slot::new(key.clone(), pulse));
        slots.insert(key.clone(), Arc::clone(&slot));
        (slot, true)
    }

    /// Every slot, in no order.
    pub fn all(&self) -> Vec<Arc<Slot>> {
        self.slots().values().cloned().collect()
    }

    /// Whether this very slot is still the one of its cell.
    pub fn holds(&self, slot: &Arc<Slot>) -> bool {
        self.slots().get(slot.key()).is_some_and(|held| Arc::ptr_eq(held, slot))
    }

    /// Lets a slot go.
    pub fn forget(&self, slot: &Arc<Slot>) {
        let mut slots = self.slots();
        if slots.get(slot.key()).is_some_and(|held| Arc::ptr_eq(held, slot)) {
            slots.remove(slot.key());
            stop(slot);
        }
    }

    /// Lets boards go until the limits hold, the one that was asked for longest ago first, and
    /// says what is left. To be called when a board was loaded or grew.
    pub fn review(&self, metrics: &ApiMetrics) {
        let mut slots = self.slots();
        let is_board =
            |slot: &&Arc<Slot>| !matches!(slot.key(), CellKey::Stream(_)) && slot.is_readable();
        let mut boards: Vec<Arc<Slot>> = slots.values().filter(is_board).cloned().collect();
        boards.sort_by_key(|slot| std::cmp::Reverse(slot.pulse().asked()));
        let mut entrants: usize = boards.iter().map(|slot| slot.entrants()).sum();
        while boards.len() > self.boards_max || entrants > self.entrants_max {
            let Some(oldest) = boards.pop() else { break };
            entrants -= oldest.entrants();
            slots.remove(oldest.key());
            stop(&oldest);
            metrics.evicted.inc();
        }
        let (mut environments, mut benchmarks) = (0, 0);
        for slot in &boards {
            match slot.key() {
                CellKey::Environment(_) => environments += slot.entrants(),
                _ => benchmarks += slot.entrants(),
            }
        }
        metrics.set_entries(environments, benchmarks);
    }
}

fn stop(slot: &Slot) {
    match slot.key() {
        CellKey::Stream(_) => slot.pulse().beat(),
        _ => slot.pulse().stop(),
    }
}
