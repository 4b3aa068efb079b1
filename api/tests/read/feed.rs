//! A store that can be away or moved between two reads, and a feed that says what a test says.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use agon_memory::MemoryStore;
use agon_ports::{ChangeSubscriber, Heard, PortError, ProjectionStore, Scan};
use agon_projections::{Flush, Row, RowKey};
use async_trait::async_trait;
use tokio::sync::mpsc;

/// What happens before each page that is read.
pub type Between = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// The store in memory behind a switch.
#[derive(Default)]
pub struct Store {
    pub inner: MemoryStore,
    pub is_away: AtomicBool,
    pub scans: AtomicUsize,
    between: Mutex<Option<Arc<Between>>>,
}

impl Store {
    /// Lets something happen before each page, once a scan has begun.
    pub fn before_each_page(&self, between: Option<Between>) {
        *self.between.lock().unwrap() = between.map(Arc::new);
    }

    fn check(&self) -> Result<(), PortError> {
        match self.is_away.load(Ordering::SeqCst) {
            true => Err(PortError::later("read", "the store is away")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl ProjectionStore for Store {
    async fn flush(&self, flush: Arc<Flush>) -> Result<(), PortError> {
        self.check()?;
        self.inner.flush(flush).await
    }

    async fn get(&self, keys: Vec<RowKey>) -> Result<Vec<Option<Row>>, PortError> {
        self.check()?;
        self.inner.get(keys).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, PortError> {
        self.check()?;
        self.scans.fetch_add(1, Ordering::SeqCst);
        let between = self.between.lock().unwrap().clone();
        if let Some(between) = between {
            between().await;
        }
        self.inner.scan(scan).await
    }
}

/// A feed that repeats what it is sent.
pub struct Script(pub mpsc::UnboundedReceiver<Heard>);

#[async_trait]
impl ChangeSubscriber for Script {
    async fn next(&mut self) -> Heard {
        self.0.recv().await.unwrap_or(Heard::Closed)
    }
}
