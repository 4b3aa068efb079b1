//! The adapters in memory keep the contracts of their ports, and so do they behind faults that
//! only delay.

use std::sync::Arc;

use agon_memory::{FaultRates, Faults, Faulty, LogSettings, MemoryControl, MemoryLog};
use agon_ports::conformance::control_store::ControlStoreFixture;
use agon_ports::conformance::event_log::EventLogFixture;
use agon_ports::{ControlStore, EventLog};

const PARTITIONS: u32 = 4;

/// Keeps a handle of what the suite closes; `wrap` is what it is opened as.
struct Kept<T, W> {
    kept: T,
    wrap: W,
}

#[async_trait::async_trait]
impl<W> EventLogFixture for Kept<MemoryLog, W>
where
    W: Fn(MemoryLog) -> Arc<dyn EventLog> + Send,
{
    fn partitions(&self) -> u32 {
        PARTITIONS
    }

    async fn open(&mut self) -> Arc<dyn EventLog> {
        (self.wrap)(self.kept.clone())
    }
}

#[async_trait::async_trait]
impl<W> ControlStoreFixture for Kept<MemoryControl, W>
where
    W: Fn(MemoryControl) -> Arc<dyn ControlStore> + Send,
{
    async fn open(&mut self) -> Arc<dyn ControlStore> {
        (self.wrap)(self.kept.clone())
    }
}

fn log() -> MemoryLog {
    MemoryLog::new(LogSettings { partitions: PARTITIONS, ..LogSettings::default() })
}

fn delays() -> Arc<Faults> {
    let rates = FaultRates { delay_per_mille: 200, delay_ms_max: 2, ..FaultRates::default() };
    Faults::new(11, rates)
}

mod plain {
    use super::*;

    fn make_log() -> impl EventLogFixture {
        Kept { kept: log(), wrap: |log| Arc::new(log) as Arc<dyn EventLog> }
    }

    fn make_control() -> impl ControlStoreFixture {
        let wrap = |store| Arc::new(store) as Arc<dyn ControlStore>;
        Kept { kept: MemoryControl::default(), wrap }
    }

    agon_ports::event_log_conformance!(make_log);
    agon_ports::control_store_conformance!(make_control);
}

mod delayed {
    use super::*;

    fn make_log() -> impl EventLogFixture {
        let wrap = |log| Arc::new(Faulty::new(log, delays())) as Arc<dyn EventLog>;
        Kept { kept: log(), wrap }
    }

    fn make_control() -> impl ControlStoreFixture {
        let wrap = |store| Arc::new(Faulty::new(store, delays())) as Arc<dyn ControlStore>;
        Kept { kept: MemoryControl::default(), wrap }
    }

    agon_ports::event_log_conformance!(make_log);
    agon_ports::control_store_conformance!(make_control);
}
