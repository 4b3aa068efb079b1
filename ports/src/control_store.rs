//! Control data: users, keys, leases and pointers. Not events; what was done with them is one.

use async_trait::async_trait;

use crate::PortError;

/// A value with the number of its version: 1 when first stored, one more at each change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Grows by one at each stored change.
    pub version: u64,
    /// The bytes that were stored.
    pub value: Vec<u8>,
}

/// What became of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// Stored, under this version, and durable.
    Stored(u64),
    /// The stored version is another one (`0`: there is none); nothing was changed.
    Conflict(u64),
}

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 256;
/// Largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// Refuses a key or a value over its limit. Every control store asks this before it writes.
///
/// # Errors
/// `Retry::Never`, with the size and the limit.
pub fn check_sizes(key: &str, value: &[u8]) -> Result<(), PortError> {
    let limits = [("key", key.len(), KEY_BYTES_MAX), ("value", value.len(), VALUE_BYTES_MAX)];
    for (what, size_bytes, bytes_max) in limits {
        if size_bytes > bytes_max {
            let reason = format!("the {what} has {size_bytes} bytes, more than {bytes_max}");
            return Err(PortError::never("store a control value", reason));
        }
    }
    Ok(())
}

/// A small, durable, linearisable map with compare-and-set.
///
/// Of two writers that expect the same version exactly one is told [`Put::Stored`]. A value is
/// durable before its `put` answers, and a `get` that starts later sees it.
#[async_trait]
pub trait ControlStore: Send + Sync {
    /// The value of a key, if there is one.
    ///
    /// # Errors
    /// `Retry::Later` when the store is away.
    async fn get(&self, key: &str) -> Result<Option<Versioned>, PortError>;

    /// All keys that start with `prefix`, with their values, in the order of their bytes.
    ///
    /// # Errors
    /// `Retry::Later` when the store is away.
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Versioned)>, PortError>;

    /// Stores `value` if the stored version is `expected`; `0` expects that there is none.
    ///
    /// # Errors
    /// `Retry::Never` for a key or value over the limits of this module, `Retry::Later` when the
    /// store is away or full.
    async fn put(&self, key: &str, value: &[u8], expected: u64) -> Result<Put, PortError>;
}
