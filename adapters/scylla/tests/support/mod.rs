//! A keyspace for one test: made when the test starts, dropped when it ends.
#![allow(dead_code, reason = "each test file is a crate and uses its part")]

pub mod fold;

use agon_schema::LogId;
use agon_scylla::{CqlAddress, InitReport, InitSettings, LogFacts, ScyllaStore, StoreSettings};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use uuid::Uuid;

/// The log that the tests' stores belong to.
pub const LOG: LogFacts = LogFacts { id: LogId(Uuid::from_u128(7)), partitions: 16 };

/// The node of `TEST_CQL`, if it is set.
pub fn node() -> Option<String> {
    std::env::var("TEST_CQL").ok().filter(|node| !node.is_empty())
}

/// Whether there is no server; says so.
#[allow(clippy::print_stderr)]
pub fn is_absent() -> bool {
    let is_absent = node().is_none();
    if is_absent {
        eprintln!("skipped: TEST_CQL is not set; run scripts/servers");
    }
    is_absent
}

/// A keyspace of its own.
pub struct Keyspace {
    pub address: CqlAddress,
}

impl Keyspace {
    /// A name that nobody else has; nothing is made yet.
    pub fn new() -> Keyspace {
        let node = node().unwrap_or_default();
        let name = format!("agon_test_{}", Uuid::now_v7().simple());
        Keyspace { address: format!("cql://{node}/{name}").parse().unwrap() }
    }

    /// Makes it for the tests' log.
    pub async fn init(&self) -> InitReport {
        let settings = InitSettings { replication: None, log: LOG, new_epoch: false };
        agon_scylla::init(&self.address, settings).await.unwrap()
    }

    /// Another handle of the store in it.
    pub async fn open(&self) -> ScyllaStore {
        self.open_with(StoreSettings::default()).await
    }

    /// Another handle with other limits.
    pub async fn open_with(&self, settings: StoreSettings) -> ScyllaStore {
        ScyllaStore::open(&self.address, LOG, settings).await.unwrap()
    }

    /// A plain session.
    pub async fn session(&self) -> Session {
        session(&self.address).await
    }
}

async fn session(address: &CqlAddress) -> Session {
    SessionBuilder::new().known_nodes(address.nodes()).build().await.unwrap()
}

impl Drop for Keyspace {
    fn drop(&mut self) {
        let address = self.address.clone();
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let cql = format!("DROP KEYSPACE IF EXISTS {}", address.keyspace());
                session(&address).await.query_unpaged(cql, ()).await.unwrap();
            });
        });
        let dropped = dropping.join();
        assert!(dropped.is_ok() || std::thread::panicking(), "the keyspace cannot be dropped");
    }
}
