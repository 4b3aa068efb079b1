//! [`ControlStore`] behind faults.

use agon_ports::{ControlStore, PortError, Put, Versioned};
use async_trait::async_trait;

use super::{Call, Faulty};

#[async_trait]
impl<S: ControlStore> ControlStore for Faulty<S> {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, PortError> {
        self.faults.enter(Call::Read, &format!("look up {key:?}")).await?;
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Versioned)>, PortError> {
        self.faults.enter(Call::Read, &format!("list {prefix:?}")).await?;
        self.inner.list(prefix).await
    }

    async fn put(&self, key: &str, value: &[u8], expected: u64) -> Result<Put, PortError> {
        let attempted = format!("store {key:?}");
        let outcome = self.faults.enter(Call::Put, &attempted).await?;
        let answer = self.inner.put(key, value, expected).await?;
        self.faults.leave(outcome, &attempted, Ok(answer))
    }
}
