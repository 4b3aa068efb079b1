//! The contract of the port, case by case, each on topics of its own.

use std::sync::Arc;

use agon_kafka::init;
use agon_ports::EventLog;
use agon_ports::conformance::event_log::EventLogFixture;
use async_trait::async_trait;

use crate::support::{PARTITIONS, Topics, broker, wanted};

struct Fixture(Topics);

#[async_trait]
impl EventLogFixture for Fixture {
    fn partitions(&self) -> u32 {
        PARTITIONS
    }

    async fn open(&mut self) -> Arc<dyn EventLog> {
        // Changes nothing from the second time on.
        init(&self.0.address, &self.0.settings, wanted(PARTITIONS)).await.unwrap();
        Arc::new(self.0.open().await)
    }
}

fn fixture() -> Fixture {
    Fixture(Topics::new(broker().expect("cases are skipped without a broker")))
}

fn no_broker() -> bool {
    broker().is_none()
}

agon_ports::event_log_conformance!(fixture, skipped_when: no_broker);
