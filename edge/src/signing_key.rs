//! The keys that tokens are signed with: control data, made once for a whole deployment.

use std::collections::BTreeMap;

use agon_ports::{Clock, ControlStore, PortError, Put};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Keys stand under this prefix and their id.
const PREFIX: &str = "signing-key/";
/// The id of the first key. Whoever starts first makes it; the others find it.
const FIRST_ID: &str = "k1";
const KEY_BYTES: usize = 32;

/// A key by its id.
pub(crate) type Keys = BTreeMap<String, [u8; KEY_BYTES]>;

#[derive(Serialize, Deserialize)]
struct Stored {
    secret: String,
    created_at: String,
}

/// All keys there are, at least one. Two processes that start at once end with the same key:
/// the store takes the first one only.
///
/// # Errors
/// When the store is away or a stored key is no key.
pub(crate) async fn load_or_make(
    store: &dyn ControlStore,
    clock: &dyn Clock,
) -> Result<Keys, PortError> {
    let keys = load(store).await?;
    if !keys.is_empty() {
        return Ok(keys);
    }
    let mut secret = [0; KEY_BYTES];
    getrandom::fill(&mut secret).map_err(|error| PortError::never("make a signing key", error))?;
    let stored = Stored { secret: STANDARD.encode(secret), created_at: clock.now().to_string() };
    let value = serde_json::to_vec(&stored)
        .map_err(|error| PortError::never("store a signing key", error))?;
    match store.put(&format!("{PREFIX}{FIRST_ID}"), &value, 0).await? {
        Put::Stored(_) | Put::Conflict(_) => load(store).await,
    }
}

async fn load(store: &dyn ControlStore) -> Result<Keys, PortError> {
    let mut keys = Keys::new();
    for (name, stored) in store.list(PREFIX).await? {
        let unreadable = || {
            let remedy = "is not a key of this version; delete it to invalidate all tokens";
            PortError::never("read signing keys", format!("{name} {remedy}"))
        };
        let key: Stored = serde_json::from_slice(&stored.value).map_err(|_| unreadable())?;
        let secret = STANDARD.decode(key.secret).map_err(|_| unreadable())?;
        let secret = secret.try_into().map_err(|_| unreadable())?;
        keys.insert(name[PREFIX.len()..].to_owned(), secret);
    }
    Ok(keys)
}
