//! [`ControlStore`] in memory: a sorted map behind one lock.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agon_ports::control_store::check_sizes;
use agon_ports::{ControlStore, PortError, Put, Versioned};
use async_trait::async_trait;

/// Keys that a store in memory holds unless it is made otherwise.
const KEYS_MAX_DEFAULT: usize = 100_000;

/// A control store in memory. Clones are the same store: keep one to open it again.
#[derive(Clone, Debug)]
pub struct MemoryControl {
    keys_max: usize,
    entries: Arc<Mutex<BTreeMap<String, Versioned>>>,
}

impl Default for MemoryControl {
    /// An empty store of at most 100,000 keys.
    fn default() -> MemoryControl {
        MemoryControl::new(KEYS_MAX_DEFAULT)
    }
}

impl MemoryControl {
    /// An empty store that refuses new keys, to be tried later, when it holds `keys_max`.
    pub fn new(keys_max: usize) -> MemoryControl {
        MemoryControl { keys_max, entries: Arc::default() }
    }

    /// Nothing panics while it holds this lock, so what a poisoned one guards is whole.
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Versioned>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ControlStore for MemoryControl {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, PortError> {
        Ok(self.entries().get(key).cloned())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Versioned)>, PortError> {
        let entries = self.entries();
        let from = entries.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let under = from.take_while(|(key, _)| key.starts_with(prefix));
        Ok(under.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    async fn put(&self, key: &str, value: &[u8], expected: u64) -> Result<Put, PortError> {
        check_sizes(key, value)?;
        let mut entries = self.entries();
        let stored = entries.get(key).map_or(0, |stored| stored.version);
        if stored != expected {
            return Ok(Put::Conflict(stored));
        }
        if stored == 0 && entries.len() >= self.keys_max {
            let reason =
                format!("the store in memory holds {} keys; raise keys_max", entries.len());
            return Err(PortError::later(format!("store {key:?}"), reason));
        }
        let version = stored + 1;
        entries.insert(key.to_owned(), Versioned { version, value: value.to_vec() });
        Ok(Put::Stored(version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_store_takes_no_new_key_but_changes_old_ones() {
        let store = MemoryControl::new(2);
        for key in ["a", "b"] {
            assert_eq!(store.put(key, b"1", 0).await.unwrap(), Put::Stored(1));
        }
        let error = store.put("c", b"1", 0).await.unwrap_err();
        assert_eq!(error.retry, agon_ports::Retry::Later);
        assert_eq!(
            error.to_string(),
            "store \"c\": the store in memory holds 2 keys; raise keys_max"
        );
        assert_eq!(store.put("a", b"2", 1).await.unwrap(), Put::Stored(2));
        assert_eq!(store.list("").await.unwrap().len(), 2);
    }
}
