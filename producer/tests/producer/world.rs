//! An intake with everything around it in memory.

use std::sync::Arc;

use agon_memory::{
    FaultRates, Faults, Faulty, LogSettings, ManualClock, MemoryFeed, MemoryLog, MemoryPublisher,
    MemoryStore,
};
use agon_ports::{Append, Assignment, EventLog, LogReader, PortError};
use agon_producer::{Entry, Intake, IntakeConfig, OnConflict, Submitted, View};
use agon_schema::json::{
    BenchmarkBody, EnvironmentBody, Filling, MatchBody, ScoreBody, SubmissionBody,
};
use agon_schema::{Event, LogId, NaturalId, Position, Record};
use async_trait::async_trait;
use prometheus::Registry;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::folder::Folder;

pub struct World {
    pub log: MemoryLog,
    pub log_faults: Arc<Faults>,
    pub store_faults: Arc<Faults>,
    pub intake: Intake,
    pub task: JoinHandle<()>,
    pub folder: Folder,
    pub registry: Registry,
    pub clock: ManualClock,
}

/// How a world is made.
pub struct Setup {
    pub config: IntakeConfig,
    pub log_rates: FaultRates,
    pub store_rates: FaultRates,
    pub seed: u64,
    pub gate: Option<Arc<Semaphore>>,
    pub has_view: bool,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            config: IntakeConfig::default(),
            log_rates: FaultRates::default(),
            store_rates: FaultRates::default(),
            seed: 0,
            gate: None,
            has_view: true,
        }
    }
}

/// An event log whose appends wait until they are let through.
#[derive(Clone)]
pub struct Gated(pub Arc<dyn EventLog>, pub Arc<Semaphore>);

#[async_trait]
impl EventLog for Gated {
    fn id(&self) -> LogId {
        self.0.id()
    }

    fn partitions(&self) -> u32 {
        self.0.partitions()
    }

    async fn append(&self, records: Vec<Append>) -> Result<Vec<Position>, PortError> {
        self.1.acquire().await.unwrap().forget();
        self.0.append(records).await
    }

    async fn ends(&self) -> Result<Assignment, PortError> {
        self.0.ends().await
    }

    async fn read(&self, from: Assignment) -> Result<Box<dyn LogReader>, PortError> {
        self.0.read(from).await
    }
}

impl World {
    pub fn new() -> World {
        World::with(IntakeConfig::default(), FaultRates::default(), 0)
    }

    pub fn with(config: IntakeConfig, rates: FaultRates, seed: u64) -> World {
        World::build(Setup { config, log_rates: rates, seed, ..Setup::default() })
    }

    /// Every append takes a permit.
    pub fn gated(config: IntakeConfig, gate: &Arc<Semaphore>) -> World {
        World::build(Setup { config, gate: Some(Arc::clone(gate)), ..Setup::default() })
    }

    pub fn build(setup: Setup) -> World {
        let Setup { config, log_rates, store_rates, seed, gate, has_view } = setup;
        let log = MemoryLog::new(LogSettings::default());
        let store = MemoryStore::default();
        let (feed, publisher): (MemoryFeed, MemoryPublisher) = MemoryFeed::with_publisher(1024);
        let clock = ManualClock::at("2026-11-21T10:00:00Z".parse().unwrap());
        let registry = Registry::new();
        let log_faults = Faults::new(seed, log_rates);
        let store_faults = Faults::new(seed, store_rates);
        let faulty: Arc<dyn EventLog> = Arc::new(Faulty::new(log.clone(), log_faults.clone()));
        let behind: Arc<dyn EventLog> = match gate {
            Some(gate) => Arc::new(Gated(faulty, gate)),
            None => faulty,
        };
        let view = match has_view {
            true => View::Store {
                store: Arc::new(Faulty::new(store.clone(), store_faults.clone())),
                feed: Box::new(feed.subscribe()),
            },
            false => View::None,
        };
        let clocked = Arc::new(clock.clone());
        let (intake, task) = Intake::start(config, behind, view, clocked, &registry).unwrap();
        let folder = Folder::new(log.clone(), store, publisher);
        World { log, log_faults, store_faults, intake, task, folder, registry, clock }
    }

    /// What became of each event, in short: `+` appended, `=` duplicate, `!` conflict, `!+` a
    /// conflict that was kept, else the reason.
    pub async fn submit(&self, events: Vec<Event>, on_conflict: OnConflict) -> Vec<String> {
        self.intake.submit(events, on_conflict).await.unwrap().iter().map(short).collect()
    }

    pub async fn submit_entries(&self, entries: Vec<Entry>) -> Vec<String> {
        let ticket = self.intake.admit(Arc::new(entries), OnConflict::Append, None).await.unwrap();
        ticket.wait().await.unwrap().iter().map(short).collect()
    }

    /// Records that the log holds.
    pub async fn records(&self) -> u64 {
        self.log.ends().await.unwrap().values().sum()
    }

    /// Everything that the log holds, by position.
    pub async fn all_records(&self) -> Vec<(Position, Record)> {
        let limits = agon_ports::ReadLimits { records_max: 1 << 20, bytes_max: 1 << 30 };
        let mut all = Vec::new();
        for (source, end) in self.log.ends().await.unwrap() {
            let mut reader = self.log.read([(source, 0)].into()).await.unwrap();
            let mut left = end;
            while left > 0 {
                let read = reader.next(limits, std::time::Duration::from_secs(1)).await.unwrap();
                left -= read.len() as u64;
                all.extend(read.into_iter().map(|read| (read.position, read.record)));
            }
        }
        all
    }

    pub async fn define(&mut self, events: Vec<Event>) {
        let outcomes = self.submit(events, OnConflict::Refuse).await;
        assert!(outcomes.iter().all(|outcome| outcome == "+"), "{outcomes:?}");
        self.folder.fold().await;
    }

    /// The value of a sample in the metrics' text.
    pub fn sample(&self, line_start: &str) -> f64 {
        let families = self.registry.gather();
        let text = prometheus::TextEncoder::new().encode_to_string(&families).unwrap();
        let line = text.lines().find(|line| line.starts_with(line_start)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

pub fn short(submitted: &Submitted) -> String {
    match submitted {
        Submitted::Appended { .. } => "+".to_owned(),
        Submitted::Duplicate { .. } => "=".to_owned(),
        Submitted::Conflict { kept: None, .. } => "!".to_owned(),
        Submitted::Conflict { kept: Some(_), .. } => "!+".to_owned(),
        Submitted::Refused { rejection, .. } => rejection.reason.code().to_owned(),
    }
}

fn filling() -> Filling {
    let now = "2026-11-21T10:00:00Z".parse().unwrap();
    Filling { natural_id: NaturalId::new("filled-in").unwrap(), now }
}

fn body<B: DeserializeOwned>(json: &Value) -> B {
    serde_json::from_str(&json.to_string()).unwrap()
}

pub fn environment(id: &str) -> Event {
    let body = EnvironmentBody { id: id.into(), rating: None };
    Event::EnvironmentDefined(body.into_event().unwrap())
}

pub fn benchmark(id: &str, metric: &str) -> Event {
    let json = json!({"id":id,"metric":metric,"direction":"higher","aggregation":"best"});
    Event::BenchmarkDefined(body::<BenchmarkBody>(&json).into_event().unwrap())
}

/// A match of `environment` that `winner` won against "loser".
pub fn a_match(environment: &str, match_id: &str, winner: &str) -> Event {
    let players = json!([{"agent":winner,"placement":1},{"agent":"loser","placement":2}]);
    let json = json!({"environment":environment,"match_id":match_id,"players":players});
    Event::MatchFinished(body::<MatchBody>(&json).into_event(&filling()).unwrap())
}

pub fn submission(benchmark: &str, id: &str, metrics: Value) -> Event {
    let json = json!({"benchmark":benchmark,"submission_id":id,"agent":"ann","metrics":metrics});
    Event::SubmissionReceived(body::<SubmissionBody>(&json).into_event(&filling()).unwrap())
}

pub fn run(benchmark: &str, submission: &str, run: &str, metrics: Value) -> Event {
    let json = json!({
        "benchmark":benchmark,"submission_id":submission,"run_id":run,"metrics":metrics,
        "status":"completed",
    });
    Event::RunScored(body::<ScoreBody>(&json).into_event(&filling()).unwrap())
}
