//! The consumer beside a bare reader and a bare writer: the same topics, the same run.

use std::sync::Arc;
use std::time::Instant;

use agon_consumer::{Consumer, ConsumerConfig};
use agon_embedded::store::{EmbeddedStore, StoreConfig};
use agon_kafka::KafkaFeed;
use agon_kafka::bare::{Taking, read_and_decode};
use agon_memory::{MemoryFeed, SystemClock};
use agon_ports::{ChangePublisher, EventLog, ProjectionStore};
use prometheus::Registry;

use super::Scratch;
use super::deployment::Deployment;
use super::sides::{Goal, Side, cpu_seconds, print};
use super::stores::DroppingStore;
use super::tables::{self, Tables};
use super::workload::Workload;
use crate::cli::BenchConsume;
use crate::exit::Exit;
use crate::{node, output, servers};

/// Sides that need the log alone, in their order.
const SIDES: [&str; 4] = [
    "bare rdkafka readers, one a worker: a call a record, decode, drop",
    "bare rdkafka readers, one a worker: calls of many records, decode, drop",
    "consumer with the fold, into a store that drops what it gets",
    "consumer with the fold, into the embedded store",
];
/// What the consumer is held to beside a bare reader.
const READING: Goal = Goal { side: 2, baseline: 0, least: 0.85 };
/// The same beside the faster bare reader.
const READING_BY_MANY: Goal = Goal { side: 2, baseline: 1, least: 0.85 };

/// Measures all sides in turn and prints them with their ratios.
///
/// # Errors
/// When a server is away.
pub async fn run(options: &BenchConsume) -> Result<(), Exit> {
    let bench = Bench::new(options).await?;
    let mut sides: Vec<Side> = SIDES.map(|name| Side::new(name, "events")).into();
    let mut goals = vec![READING, READING_BY_MANY];
    let tables = Tables::open(&bench.deployment).await?;
    if tables.is_some() {
        sides.extend(tables::sides());
        goals.extend(tables::GOALS);
    }
    for round in 1..=options.rounds {
        output::say(format_args!("round {round} of {}", options.rounds));
        let (own, stored) = sides.split_at_mut(SIDES.len());
        bench.round(own).await?;
        if let Some(tables) = &tables {
            tables.round(&bench, stored).await?;
        }
    }
    output::line(format_args!(
        "consume: {} matches of {} agents (Zipf) in {} environments, {} partitions, {} workers, \
         median of {} rounds.\nCPU seconds are those of this process alone, without the servers",
        options.events,
        options.matches.agents,
        options.matches.environments,
        bench.deployment.log.partitions(),
        options.fold.workers,
        options.rounds
    ))?;
    print(&sides, &goals)?;
    tables.map_or(Ok(()), |tables| tables.print(&sides[SIDES.len()..]))
}

/// A filled log, and how it is folded.
pub struct Bench<'a> {
    options: &'a BenchConsume,
    /// Where it works.
    pub deployment: Deployment,
    /// Records in the log.
    pub records: f64,
}

impl<'a> Bench<'a> {
    async fn new(options: &'a BenchConsume) -> Result<Bench<'a>, Exit> {
        let deployment = Deployment::make(&options.log, options.store.as_ref()).await?;
        let (agents, environments) =
            (options.matches.agents as usize, options.matches.environments);
        let mut workload = Workload::spread(0, agents, environments)?;
        deployment.define(&workload).await?;
        deployment.fill(&mut workload, options.events).await?;
        let records = (options.events + u64::from(environments)) as f64;
        Ok(Bench { options, deployment, records })
    }

    /// The sides that need the log alone.
    async fn round(&self, sides: &mut [Side]) -> Result<(), Exit> {
        let [one_by_one, many, dropping, embedded] = sides else {
            unreachable!("as many as SIDES names")
        };
        one_by_one.add(self.records, self.read(Taking::OneByOne).await?);
        many.add(self.records, self.read(Taking::Batches).await?);
        let config = servers::consumer_config(&self.options.fold);
        let (_feed, silent) = MemoryFeed::with_publisher(node::FEED_CHANGES_MAX);
        let took = self.fold(config, Arc::new(DroppingStore), Arc::new(silent)).await?;
        dropping.add(self.records, took);

        let scratch = Scratch::new("consume")?;
        let id = self.deployment.log.id();
        let store = EmbeddedStore::open(scratch.path().join("store"), id, StoreConfig::default());
        let store = Arc::new(store.map_err(Exit::missing)?);
        let config = node::consumer_config(&self.options.fold);
        let (_feed, silent) = MemoryFeed::with_publisher(node::FEED_CHANGES_MAX);
        embedded.add(self.records, self.fold(config, store, Arc::new(silent)).await?);
        Ok(())
    }

    async fn read(&self, taking: Taking) -> Result<(f64, f64), Exit> {
        let (started, cpu) = (Instant::now(), cpu_seconds());
        let clients = self.options.fold.workers;
        let read = read_and_decode(&self.deployment.log, clients, taking).await;
        let took = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let read = read.map_err(Exit::missing)?;
        if read as f64 != self.records {
            let expected = self.records;
            return Err(Exit::Missing(format!("{read} of {expected} records were decoded")));
        }
        Ok(took)
    }

    /// Folds the whole log into a store of servers, telling the feed there; answers seconds, and
    /// seconds of the processors.
    ///
    /// # Errors
    /// When log or store are away.
    pub async fn fold_on_servers(
        &self,
        store: Arc<dyn ProjectionStore>,
    ) -> Result<(f64, f64), Exit> {
        let publisher = KafkaFeed::new(&self.deployment.log).publisher().map_err(Exit::missing)?;
        let config = servers::consumer_config(&self.options.fold);
        self.fold(config, store, Arc::new(publisher)).await
    }

    async fn fold(
        &self,
        config: ConsumerConfig,
        store: Arc<dyn ProjectionStore>,
        publisher: Arc<dyn ChangePublisher>,
    ) -> Result<(f64, f64), Exit> {
        let log: Arc<dyn EventLog> = self.deployment.log.clone();
        let (started, cpu) = (Instant::now(), cpu_seconds());
        let clock = Arc::new(SystemClock);
        let registry = Registry::new();
        let consumer =
            Consumer::start(config, Arc::clone(&log), store, publisher, clock, &registry);
        let consumer = consumer.await.map_err(Exit::missing)?;
        node::catch_up(&consumer, log.as_ref(), "folding").await?;
        let took = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        consumer.stop(super::deployment::PATIENCE).await.map_err(Exit::missing)?;
        Ok(took)
    }
}
