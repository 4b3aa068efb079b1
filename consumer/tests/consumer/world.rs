//! One log and one store that outlive consumers, and a feed that is checked while it is heard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agon_consumer::{Consumer, ConsumerConfig, ConsumerError};
use agon_memory::{LogSettings, ManualClock, MemoryLog, MemoryStore};
use agon_ports::{
    Append, Assignment, Change, ChangePublisher, EventLog, PortError, ProjectionStore, Scan,
    scan_all,
};
use agon_projections::row::Value;
use agon_projections::row_bytes::Prefix;
use agon_projections::{CellKey, Flush, Row, RowKey, Table};
use agon_schema::{Timestamp, TopicPartition};
use async_trait::async_trait;
use prometheus::Registry;
use tokio::runtime::Runtime;

use crate::events::{FIRST_APPENDED_AT_MS, PARTITIONS};
use crate::oracle::{self, Rows};

/// Limits so small that every record crosses one.
pub fn tiny() -> ConsumerConfig {
    ConsumerConfig {
        workers: 3,
        flush_rows_max: 3,
        flush_interval_ms: 1,
        read_records_max: 5,
        idle_wait_ms: 20,
        retry_max_ms: 4,
        lag_interval_ms: 1,
        heartbeat_interval_ms: 7,
        ..ConsumerConfig::default()
    }
}

/// A runtime of its own for each life of a consumer: dropping it ends every task, as the end of a
/// process does.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap()
}

/// What stays when a consumer ends.
#[derive(Clone)]
pub struct World {
    pub log: MemoryLog,
    pub store: MemoryStore,
    pub clock: ManualClock,
}

impl World {
    pub fn new() -> World {
        let settings = LogSettings { partitions: PARTITIONS, ..LogSettings::default() };
        let now = Timestamp::from_micros(FIRST_APPENDED_AT_MS * 1_000).unwrap();
        World {
            log: MemoryLog::new(settings),
            store: MemoryStore::default(),
            clock: ManualClock::at(now),
        }
    }

    /// A world whose log holds these.
    pub async fn with(appends: &[Append]) -> World {
        let world = World::new();
        world.log.append(appends.to_vec()).await.unwrap();
        world
    }

    /// A consumer over log and store as they are.
    pub async fn start(&self, config: ConsumerConfig) -> Life {
        self.start_over(config, self.log.clone(), self.store.clone()).await.unwrap()
    }

    /// A consumer over decorated ports.
    pub async fn start_over(
        &self,
        config: ConsumerConfig,
        log: impl EventLog + 'static,
        store: impl ProjectionStore + 'static,
    ) -> Result<Life, ConsumerError> {
        let (registry, ear) = (Registry::new(), Arc::new(Ear::of(self.store.clone()).await));
        let clock = Arc::new(self.clock.clone());
        let (log, store) = (Arc::new(log), Arc::new(store));
        let consumer = Consumer::start(config, log, store, ear.clone(), clock, &registry).await?;
        Ok(Life { consumer, registry, ear })
    }

    /// Every row of the store.
    pub async fn rows(&self) -> Rows {
        let mut rows = Rows::new();
        for table in Table::ALL {
            let all = scan_all(&self.store, Prefix::Table(table)).await.unwrap();
            rows.extend(all.into_iter().map(|row| (row.key, row.value)));
        }
        rows
    }
}

/// A running consumer.
pub struct Life {
    pub consumer: Consumer,
    pub registry: Registry,
    pub ear: Arc<Ear>,
}

impl Life {
    /// Waits until the first `count` of these records are stored.
    pub async fn wait_for(&self, appends: &[Append], count: usize) {
        let ends = ends(&appends[..count]);
        let mut reached = self.consumer.reached();
        tokio::select! {
            reached = reached.wait_for(&ends) => assert!(reached),
            reason = self.consumer.failure() => panic!("a worker failed: {reason}"),
            () = tokio::time::sleep(Duration::from_secs(60)) => panic!("{ends:?} never came"),
        }
    }

    /// The metric of this name and these labels, as it stands in the text format.
    pub fn metric(&self, name: &str) -> f64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather());
        let text = text.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }
}

/// How far each partition reaches with these records.
pub fn ends(appends: &[Append]) -> Assignment {
    let partitions = oracle::partitions(appends);
    partitions.into_iter().map(|(source, records)| (source, records.len() as u64)).collect()
}

/// Hears the feed, and fails where it says more than is stored or says it in the wrong order.
pub struct Ear {
    store: MemoryStore,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    cells: BTreeMap<CellKey, u64>,
    /// The cells that it told of. Others may have been stored ahead of the progress.
    told: BTreeSet<CellKey>,
    /// How far each partition was stored when this consumer started, and by what was heard since.
    progress: BTreeMap<TopicPartition, u64>,
    moves: u64,
    wrong: Vec<String>,
}

impl Ear {
    async fn of(store: MemoryStore) -> Ear {
        let mut heard = Heard::default();
        for row in scan_all(&store, Prefix::Table(Table::Heads)).await.unwrap() {
            if let (RowKey::Head(cell), Value::Head(head)) = (row.key, row.value) {
                heard.cells.insert(cell, head.applied);
            }
        }
        for row in scan_all(&store, Prefix::Table(Table::Progress)).await.unwrap() {
            if let (RowKey::Progress(source), Value::Progress(progress)) = (row.key, row.value) {
                heard.progress.insert(source, progress.applied);
            }
        }
        Ear { store, heard: Mutex::new(heard) }
    }

    /// Fails if anything heard so far was wrong. Answers how many moves were heard.
    pub fn check(&self) -> u64 {
        let heard = self.heard.lock().unwrap();
        assert!(heard.wrong.is_empty(), "{}", heard.wrong.join("\n"));
        heard.moves
    }

    async fn stored(&self, key: RowKey) -> Option<Value> {
        self.store.get(vec![key]).await.unwrap().remove(0).map(|row| row.value)
    }
}

#[async_trait]
impl ChangePublisher for Ear {
    async fn publish(&self, change: Change) {
        match change {
            Change::Moved { cell, from, to, rows } => {
                let head = match self.stored(RowKey::Head(cell.clone())).await {
                    Some(Value::Head(head)) => Some(head.applied),
                    _ => None,
                };
                self.heard.lock().unwrap().moved(&cell, from, to, head, &rows);
            }
            Change::Reload { source } => {
                let wrong = format!("{source}: to be loaded anew, and nobody took it over");
                self.heard.lock().unwrap().wrong.push(wrong);
            }
            Change::Progress { source, applied, appended_at_ms } => {
                let stored = match self.stored(RowKey::Progress(source)).await {
                    Some(Value::Progress(progress)) => Some(progress.applied),
                    _ => None,
                };
                self.heard.lock().unwrap().progressed(source, applied, stored);
                let is_old = appended_at_ms < FIRST_APPENDED_AT_MS;
                if is_old {
                    let wrong = format!("{source} through {applied}: at {appended_at_ms}");
                    self.heard.lock().unwrap().wrong.push(wrong);
                }
            }
        }
    }
}

impl Heard {
    fn moved(
        &mut self,
        cell: &CellKey,
        from: Option<u64>,
        to: u64,
        stored: Option<u64>,
        rows: &[Row],
    ) {
        let before = self.cells.insert(cell.clone(), to);
        let progress = self.progress.get(&cell.source(PARTITIONS)).copied();
        self.moves += 1;
        self.told.insert(cell.clone());
        let complaint = if from != before {
            Some(format!("the span starts after {from:?}, the one before ended at {before:?}"))
        } else if stored < Some(to) {
            Some(format!("says {to}, but {stored:?} is stored"))
        } else if progress >= Some(to) {
            Some(format!("moved to {to} after the progress said {progress:?}"))
        } else if !matches!(rows.first(), Some(Row { key: RowKey::Head(head), .. }) if head == cell)
        {
            Some("its head is missing".to_owned())
        } else {
            None
        };
        self.wrong.extend(complaint.map(|complaint| format!("{cell}: {complaint}")));
    }

    fn progressed(&mut self, source: TopicPartition, applied: u64, stored: Option<u64>) {
        let before = self.progress.insert(source, applied);
        let is_of = |cell: &CellKey| cell.source(PARTITIONS) == source && self.told.contains(cell);
        let ahead = self.cells.iter().find(|(cell, to)| is_of(cell) && **to > applied);
        let complaint = if stored < Some(applied) {
            Some(format!("says {applied}, but {stored:?} is stored"))
        } else if before > Some(applied) {
            Some(format!("says {applied} after {before:?}"))
        } else {
            ahead.map(|(cell, to)| format!("says {applied}, but {cell} is at {to} already"))
        };
        self.wrong.extend(complaint.map(|complaint| format!("{source}: {complaint}")));
    }
}

/// A store that may be shut for writing and keeps what was flushed.
#[derive(Clone)]
pub struct Gate {
    store: MemoryStore,
    shared: Arc<GateState>,
}

#[derive(Default)]
struct GateState {
    is_shut: AtomicBool,
    is_held: AtomicBool,
    waiting: AtomicU64,
    refused: AtomicU64,
    flushes: Mutex<Vec<Arc<Flush>>>,
}

impl Gate {
    pub fn new(store: MemoryStore) -> Gate {
        Gate { store, shared: Arc::default() }
    }

    pub fn shut(&self, is_shut: bool) {
        self.shared.is_shut.store(is_shut, Ordering::SeqCst);
    }

    /// Lets flushes wait instead of answering them.
    pub fn hold(&self, is_held: bool) {
        self.shared.is_held.store(is_held, Ordering::SeqCst);
    }

    /// Whether nobody is left who could flush through it.
    pub fn is_let_go(&self) -> bool {
        Arc::strong_count(&self.shared) == 1
    }

    /// Flushes that had to wait.
    pub fn waiting(&self) -> u64 {
        self.shared.waiting.load(Ordering::SeqCst)
    }

    /// Flushes that were refused.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// What was stored.
    pub fn flushes(&self) -> Vec<Arc<Flush>> {
        self.shared.flushes.lock().unwrap().clone()
    }
}

#[async_trait]
impl ProjectionStore for Gate {
    async fn flush(&self, flush: Arc<Flush>) -> Result<(), PortError> {
        if self.shared.is_shut.load(Ordering::SeqCst) {
            self.shared.refused.fetch_add(1, Ordering::SeqCst);
            return Err(PortError::later("flush", "the gate is shut"));
        }
        if self.shared.is_held.load(Ordering::SeqCst) {
            self.shared.waiting.fetch_add(1, Ordering::SeqCst);
            until(|| !self.shared.is_held.load(Ordering::SeqCst)).await;
        }
        self.store.flush(Arc::clone(&flush)).await?;
        self.shared.flushes.lock().unwrap().push(flush);
        Ok(())
    }

    async fn get(&self, keys: Vec<RowKey>) -> Result<Vec<Option<Row>>, PortError> {
        self.store.get(keys).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, PortError> {
        self.store.scan(scan).await
    }
}

/// Comes back to a condition until it holds. One that does not for a minute never will.
pub async fn until(mut is_so: impl FnMut() -> bool) {
    let holds = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), holds).await.expect("what was waited for");
}
