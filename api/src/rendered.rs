//! Rendered bodies, kept until the board under them moves. A hit costs two hashes of the query and
//! one short lock; nothing is parsed and nothing is rendered.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agon_edge::ETag;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;

/// The media type of every read.
pub(crate) const JSON: &str = "application/json";

/// The version of a pulse whose board is held no more: no body is kept under it.
const GONE: u64 = u64::MAX;

/// The version of what is shown, and when it was last asked for.
#[derive(Debug)]
pub(crate) struct Pulse {
    version: AtomicU64,
    asked: AtomicU64,
}

impl Pulse {
    /// The pulse of something new.
    pub fn new(epoch: u64) -> Pulse {
        Pulse { version: AtomicU64::new(0), asked: AtomicU64::new(epoch) }
    }

    /// What was rendered before shows no longer what is there. To be called before anyone can
    /// read what changed without waiting.
    pub fn beat(&self) {
        let next = |version| (version != GONE).then(|| version + 1);
        // Refused only when it is gone, and then there is nothing to be said.
        let _ = self.version.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
    }

    /// Nothing will tell of changes any more.
    pub fn stop(&self) {
        self.version.store(GONE, Ordering::Release);
    }

    /// To be read before what is rendered is.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Remembers that it was asked for in this epoch.
    pub fn touch(&self, epoch: u64) {
        self.asked.store(epoch, Ordering::Relaxed);
    }

    /// The epoch in which it was last asked for.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

/// A body with its tag, and what it was rendered from.
#[derive(Debug)]
pub(crate) struct Rendered {
    body: Bytes,
    etag: ETag,
    pulse: Arc<Pulse>,
    version: u64,
}

impl Rendered {
    /// A body that was rendered after `version` was read from `pulse`.
    pub fn new(body: Vec<u8>, etag: ETag, pulse: Arc<Pulse>, version: u64) -> Rendered {
        Rendered { body: Bytes::from(body), etag, pulse, version }
    }

    fn is_valid(&self) -> bool {
        self.version != GONE && self.pulse.version() == self.version
    }

    /// The body, or 304 when the client holds it.
    pub fn answer(&self, headers: &HeaderMap) -> Response {
        self.etag.answer(headers, JSON, self.body.clone())
    }
}

const SHARDS: usize = 16;
/// What an entry costs besides key and body.
const ENTRY_BYTES: usize = 256;

/// Bodies by query, at most so many bytes.
pub(crate) struct RenderedCache {
    shards: Vec<Mutex<Shard>>,
    shard_bytes_max: usize,
    hasher: RandomState,
}

#[derive(Default)]
struct Shard {
    bodies: HashMap<Box<str>, Arc<Rendered>>,
    bytes: usize,
}

impl RenderedCache {
    /// An empty cache of at most so many bytes.
    pub fn new(bytes_max: usize) -> RenderedCache {
        RenderedCache {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_bytes_max: bytes_max / SHARDS,
            hasher: RandomState::new(),
        }
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard> {
        let shard = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body of a query, if it still shows what is there. Counts as asking for the board.
    pub fn get(&self, key: &str, epoch: u64) -> Option<Arc<Rendered>> {
        let found = self.shard(key).bodies.get(key).filter(|body| body.is_valid()).cloned()?;
        found.pulse.touch(epoch);
        Some(found)
    }

    /// Keeps a body. One that is already outdated, or large beside the whole, is not kept.
    pub fn put(&self, key: &str, rendered: &Arc<Rendered>) {
        let bytes = cost(key, rendered);
        if !rendered.is_valid() || bytes > self.shard_bytes_max / 4 {
            return;
        }
        let mut shard = self.shard(key);
        shard.remove(key);
        if shard.bytes + bytes > self.shard_bytes_max {
            shard.bodies.retain(|_, body| body.is_valid());
            shard.bytes = shard.bodies.iter().map(|(key, body)| cost(key, body)).sum();
        }
        if shard.bytes + bytes > self.shard_bytes_max {
            *shard = Shard::default();
        }
        shard.bytes += bytes;
        shard.bodies.insert(key.into(), Arc::clone(rendered));
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        let lock =
            |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).bytes;
        self.shards.iter().map(lock).sum()
    }
}

impl Shard {
    fn remove(&mut self, key: &str) {
        if let Some((key, body)) = self.bodies.remove_entry(key) {
            self.bytes -= cost(&key, &body);
        }
    }
}

fn cost(key: &str, rendered: &Rendered) -> usize {
    key.len() + rendered.body.len() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(pulse: &Arc<Pulse>, body: &[u8]) -> Arc<Rendered> {
        let version = pulse.version();
        Arc::new(Rendered::new(body.to_vec(), ETag::of_bytes(body), Arc::clone(pulse), version))
    }

    #[test]
    fn a_body_goes_when_the_board_moves_or_goes() {
        let cache = RenderedCache::new(1 << 20);
        let pulse = Arc::new(Pulse::new(1));
        cache.put("a", &render(&pulse, b"one"));
        assert_eq!(cache.get("a", 5).unwrap().body, "one");
        assert_eq!(pulse.asked(), 5);
        assert!(cache.get("b", 5).is_none());
        let early = render(&pulse, b"one");
        pulse.beat();
        assert!(cache.get("a", 6).is_none());
        cache.put("a", &early);
        assert!(cache.get("a", 6).is_none(), "what was outdated when it came is not kept");
        cache.put("a", &render(&pulse, b"two"));
        assert_eq!(cache.get("a", 6).unwrap().body, "two");
        pulse.stop();
        pulse.beat();
        cache.put("a", &render(&pulse, b"three"));
        assert!(cache.get("a", 7).is_none(), "nothing tells of changes any more");
    }

    #[test]
    fn bytes_are_bounded_and_counted() {
        let cache = RenderedCache::new(SHARDS * 4096);
        let pulse = Arc::new(Pulse::new(0));
        for n in 0..1000 {
            cache.put(&format!("query {n}"), &render(&pulse, &[b'x'; 500]));
            cache.put(&format!("query {n}"), &render(&pulse, &[b'y'; 400]));
            assert!(cache.bytes() <= SHARDS * 4096);
        }
        assert!(cache.get("query 999", 0).is_some(), "the newest is there");
        assert!(cache.bytes() > 4096, "not everything is dropped");
        cache.put("large", &render(&pulse, &[b'x'; 2000]));
        assert!(cache.get("large", 0).is_none());
        let held: usize =
            (0..1000).filter(|n| cache.get(&format!("query {n}"), 0).is_some()).count();
        let each = 400 + ENTRY_BYTES;
        assert!((held * each..=held * (each + 9)).contains(&cache.bytes()), "{held}");
    }
}
