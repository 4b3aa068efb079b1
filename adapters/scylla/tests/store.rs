//! The store keeps its port's contract on a real server.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use agon_ports::ProjectionStore;
use agon_ports::conformance::projection_store::ProjectionStoreFixture;

use self::support::{Keyspace, is_absent};

/// A keyspace for each case.
struct Fixture {
    keyspace: Keyspace,
    is_made: bool,
}

#[async_trait::async_trait]
impl ProjectionStoreFixture for Fixture {
    async fn open(&mut self) -> Arc<dyn ProjectionStore> {
        if !std::mem::replace(&mut self.is_made, true) {
            self.keyspace.init().await;
        }
        Arc::new(self.keyspace.open().await)
    }

    fn is_atomic_over_cells(&self) -> bool {
        false
    }
}

fn make_fixture() -> Fixture {
    Fixture { keyspace: Keyspace::new(), is_made: false }
}

agon_ports::projection_store_conformance!(make_fixture, skipped_when: is_absent);
