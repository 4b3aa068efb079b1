//! What a store holds, byte for byte: the reader of `verify`.
//!
//! It stands apart from [`ProjectionStore`](crate::ProjectionStore) and shares no code with it, so
//! that a fault in loading is not repeated by the check that is to find it.

use async_trait::async_trait;

use crate::PortError;

/// Looks at stored keys and values as [`agon_projections::row_bytes`] writes them, and decodes
/// nothing. What a store keeps for itself beside the rows may be seen too, under keys that no
/// table's prefix starts.
#[async_trait]
pub trait StoreInspector: Send + Sync {
    /// The bytes under each key, in the order asked. Many at once, since a check asks for all.
    ///
    /// # Errors
    /// `Retry::Later` when the store is away, `Retry::Never` when it is damaged there.
    async fn values(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, PortError>;

    /// At most `limit` keys that start with `prefix` and lie after `after` (exclusive), rising by
    /// their bytes, with their values.
    ///
    /// # Errors
    /// As [`StoreInspector::values`].
    async fn entries(
        &self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, PortError>;

    /// Rows that something else than a flush wrote, each as `table: row: how that is seen`, as far
    /// as the store can tell; a store that says nothing of it cannot. Limited to so many that no
    /// one would read more.
    ///
    /// # Errors
    /// As [`StoreInspector::values`].
    async fn foreign(&self) -> Result<Vec<String>, PortError> {
        Ok(Vec::new())
    }
}
