//! [`ProjectionStore`] and [`StoreInspector`] behind faults.

use std::sync::Arc;

use agon_ports::{PortError, ProjectionStore, Scan, StoreInspector};
use agon_projections::{Flush, Row, RowKey};
use async_trait::async_trait;

use super::{Call, Faulty};

#[async_trait]
impl<S: ProjectionStore> ProjectionStore for Faulty<S> {
    async fn flush(&self, flush: Arc<Flush>) -> Result<(), PortError> {
        let attempted = format!("flush {} through {}", flush.source, flush.progress.applied);
        let outcome = self.faults.enter(Call::Put, &attempted).await?;
        self.inner.flush(flush).await?;
        self.faults.leave(outcome, &attempted, Ok(()))
    }

    async fn get(&self, keys: Vec<RowKey>) -> Result<Vec<Option<Row>>, PortError> {
        self.faults.enter(Call::Read, &format!("get {} rows", keys.len())).await?;
        self.inner.get(keys).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, PortError> {
        self.faults.enter(Call::Read, &format!("scan {:?}", scan.prefix)).await?;
        self.inner.scan(scan).await
    }
}

#[async_trait]
impl<S: StoreInspector> StoreInspector for Faulty<S> {
    async fn values(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, PortError> {
        self.faults.enter(Call::Read, &format!("look at {} values", keys.len())).await?;
        self.inner.values(keys).await
    }

    async fn entries(
        &self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, PortError> {
        self.faults.enter(Call::Read, &format!("look under {prefix:02x?}")).await?;
        self.inner.entries(prefix, after, limit).await
    }

    async fn foreign(&self) -> Result<Vec<String>, PortError> {
        self.faults.enter(Call::Read, "look for foreign rows").await?;
        self.inner.foreign().await
    }
}
