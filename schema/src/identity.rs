//! When two events are the same: (kind, scope, natural id).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::codec;
use crate::event::Event;

/// The namespace of every `ce_id`.
const NAMESPACE: Uuid = Uuid::from_u128(0x6a1f_36c4_93a1_5e0b_8d7e_0c6b_2f41_9a77);

/// The UUIDv5 of an event's kind, scope and natural id: its `ce_id` on the wire, and what decides
/// whether it was counted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity(pub [u8; 16]);

impl Identity {
    /// The identity of these three; ids hold no control characters, so zero bytes separate them.
    pub fn of(kind: &str, scope: &str, natural_id: &str) -> Identity {
        let mut name = Vec::with_capacity(kind.len() + scope.len() + natural_id.len() + 2);
        name.extend_from_slice(kind.as_bytes());
        name.push(0);
        name.extend_from_slice(scope.as_bytes());
        name.push(0);
        name.extend_from_slice(natural_id.as_bytes());
        Identity(Uuid::new_v5(&NAMESPACE, &name).into_bytes())
    }

    /// As a UUID, for `ce_id` and `event_id`.
    pub fn uuid(self) -> Uuid {
        Uuid::from_bytes(self.0)
    }
}

/// The first 16 bytes of the SHA-256 of an event's canonical bytes, which leave out a time that
/// the intake filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContentHash(pub [u8; 16]);

impl ContentHash {
    /// The hash of an event's content.
    pub fn of(event: &Event) -> ContentHash {
        ContentHash::of_bytes(&codec::canonical_bytes(event))
    }

    /// The hash of bytes that could not become an event.
    pub fn of_bytes(bytes: &[u8]) -> ContentHash {
        let digest = Sha256::digest(bytes);
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        ContentHash(hash)
    }
}
