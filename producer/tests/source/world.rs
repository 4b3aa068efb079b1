//! A source with an intake, a log and control data in memory.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agon_memory::{LogSettings, MemoryControl, MemoryLog, SystemClock};
use agon_ports::{EventLog, ReadLimits};
use agon_producer::source::{Source, SourceConfig, Standing};
use agon_producer::{Intake, IntakeConfig, View};
use agon_schema::codec::PROTOBUF;
use prometheus::{Registry, TextEncoder};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(120);

/// What outlives a process.
#[derive(Clone)]
pub struct World {
    pub log: MemoryLog,
    pub control: MemoryControl,
}

/// What does not.
pub struct Process {
    pub registry: Registry,
    pub standing: Standing,
    source: Source,
    intake: Intake,
    stop: CancellationToken,
}

/// Quick to come back, so that a test with many cuts is short.
pub fn config(url: &str) -> SourceConfig {
    let mut config = SourceConfig::new(url, "test/1 (mail@example.org)").unwrap();
    config.pause.first_ms = 2;
    config.pause.ms_max = 20;
    config
}

impl World {
    pub fn new() -> World {
        World { log: MemoryLog::new(LogSettings::default()), control: MemoryControl::default() }
    }

    pub fn start(&self, config: SourceConfig) -> Process {
        self.start_over(Arc::new(self.log.clone()), config)
    }

    pub fn start_over(&self, log: Arc<dyn EventLog>, config: SourceConfig) -> Process {
        let (registry, stop) = (Registry::new(), CancellationToken::new());
        let clock = Arc::new(SystemClock);
        let intake = IntakeConfig::default();
        let (intake, _) = Intake::start(intake, log, View::None, clock, &registry).unwrap();
        let control = Arc::new(self.control.clone());
        let source =
            Source::wikimedia(config, intake.clone(), control, &registry, stop.clone()).unwrap();
        Process { registry, standing: source.standing(), source, intake, stop }
    }

    /// The identities of all events in the log, and how many records are none.
    pub async fn events(&self) -> (BTreeSet<Vec<u8>>, u64) {
        let limits = ReadLimits { records_max: 1 << 20, bytes_max: 1 << 30 };
        let (mut ids, mut others) = (BTreeSet::new(), 0);
        for (source, end) in self.log.ends().await.unwrap() {
            let mut reader = self.log.read([(source, 0)].into()).await.unwrap();
            let mut left = end;
            while left > 0 {
                for read in reader.next(limits, Duration::from_secs(1)).await.unwrap() {
                    // The log may have grown since.
                    left = left.saturating_sub(1);
                    match read.record.header("content-type") {
                        Some(kind) if kind == PROTOBUF.as_bytes() => {
                            ids.insert(read.record.header("ce_id").unwrap().to_vec());
                        }
                        _ => others += 1,
                    }
                }
            }
        }
        (ids, others)
    }

    pub async fn until_distinct(&self, count: usize) {
        until("distinct events", async || self.events().await.0.len() >= count).await;
    }
}

/// Looks again and again until it is so.
pub async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "waited too long for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Process {
    /// The value of a sample in the metrics' text.
    pub fn sample(&self, line_start: &str) -> u64 {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        let line = text.lines().find(|line| line.starts_with(line_start)).unwrap();
        let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        value as u64
    }

    pub fn events(&self, result: &str) -> u64 {
        self.sample(&format!("agon_source_events_total{{result=\"{result}\"}}"))
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.source.ended().await.unwrap();
        self.intake.close().await;
    }
}
