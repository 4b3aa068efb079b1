//! The store byte for byte, for `verify`: no code of [`super::read`], no decoding.

use agon_ports::{PortError, StoreInspector};
use async_trait::async_trait;

use super::error::failed;
use super::{EmbeddedStore, Entry, Tables};

impl Tables {
    fn raw_values(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, PortError> {
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            let value = self.rows.get(key);
            let value = value.map_err(|error| failed(format!("look at {key:02x?}"), error))?;
            values.push(value.map(|value| value.to_vec()));
        }
        Ok(values)
    }

    fn raw_entries(
        &self,
        prefix: &[u8],
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<Entry>, PortError> {
        // The first key that may come: the one after `after` is `after` with a zero byte.
        let mut start = prefix.to_vec();
        if let Some(mut after) = after {
            after.push(0);
            start = start.max(after);
        }
        let mut entries = Vec::new();
        for entry in self.rows.range(start..) {
            if entries.len() == limit {
                break;
            }
            let entry = entry.into_inner();
            let (key, value) =
                entry.map_err(|error| failed(format!("look under {prefix:02x?}"), error))?;
            if !key.starts_with(prefix) {
                break;
            }
            entries.push((key.to_vec(), value.to_vec()));
        }
        Ok(entries)
    }
}

#[async_trait]
impl StoreInspector for EmbeddedStore {
    async fn values(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, PortError> {
        let attempted = format!("look at {} values", keys.len());
        self.blocking(attempted.clone(), move |inner| {
            inner.look(|| attempted, |tables| tables.raw_values(&keys))
        })
        .await
    }

    async fn entries(
        &self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, PortError> {
        let attempted = format!("look under {prefix:02x?}");
        self.blocking(attempted.clone(), move |inner| {
            inner.look(|| attempted, |tables| tables.raw_entries(&prefix, after, limit))
        })
        .await
    }
}
