//! Topics and a keyspace of a bench's own on servers: made, filled, worked on by this binary's
//! roles as processes, and left.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agon_kafka::{KafkaAddress, KafkaLog, KafkaSettings};
use agon_ports::{Append, EventLog};
use agon_schema::topic::PARTITIONS_DEFAULT;
use agon_schema::{Event, TopicPartition, encode};
use agon_scylla::CqlAddress;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use super::child::Server;
use super::workload::Workload;
use crate::bar::Bar;
use crate::exit::Exit;
use crate::{output, servers};

/// How long servers and roles may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks at something that is to become true.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Matches of one append while the log is filled.
const GROUP: u64 = 10_000;
/// Appends under way at once while the log is filled.
const APPENDS_MAX: usize = 4;
/// How often a steady load appends.
const TICK: Duration = Duration::from_millis(10);
/// How long the change feed is kept, in milliseconds.
const CHANGES_RETENTION_MS: i64 = 3_600_000;

/// Where one bench works.
pub struct Deployment {
    address: KafkaAddress,
    /// The keyspace, where the bench needs one.
    pub store: Option<CqlAddress>,
    prefix: String,
    /// The log.
    pub log: Arc<KafkaLog>,
}

impl Deployment {
    /// Makes topics with a prefix of their own and, beside a store's address, a keyspace of that
    /// name with the prefix; says how they are called.
    ///
    /// # Errors
    /// When a server is away.
    pub async fn make(log: &KafkaAddress, store: Option<&CqlAddress>) -> Result<Deployment, Exit> {
        let name = format!("bench{:08x}", rand::random::<u32>());
        let prefix = format!("{name}.");
        let settings = KafkaSettings { topic_prefix: prefix.clone(), ..KafkaSettings::default() };
        let topics = agon_kafka::InitSettings {
            partitions: PARTITIONS_DEFAULT,
            replication: None,
            changes_retention_ms: CHANGES_RETENTION_MS,
        };
        let make = || agon_kafka::init(log, &settings, topics);
        servers::patiently(PATIENCE, make, agon_kafka::OpenError::may_pass).await?;
        let opened = servers::log(log, &settings, PATIENCE).await?;
        let store = match store {
            Some(given) => Some(keyspace(given, &name, &opened).await?),
            None => None,
        };
        output::say(format_args!("made, and left afterwards: topics {prefix}* at {log}"));
        if let Some(store) = &store {
            output::say(format_args!("made, and left afterwards: {store}"));
        }
        Ok(Deployment { address: log.clone(), store, prefix, log: opened })
    }

    /// Defines the environments of a workload.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn define(&self, workload: &Workload) -> Result<(), Exit> {
        append(&self.log, &workload.definitions()).await
    }

    /// Appends so many matches as fast as the log takes them.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn fill(&self, workload: &mut Workload, events: u64) -> Result<(), Exit> {
        let bar = Bar::new("appending", events);
        let mut under_way = JoinSet::new();
        let mut left = events;
        while left > 0 {
            let group = workload.take(left.min(GROUP))?;
            left -= group.len() as u64;
            let log = Arc::clone(&self.log);
            under_way.spawn(async move { append(&log, &group).await });
            if under_way.len() >= APPENDS_MAX
                && let Some(done) = under_way.join_next().await
            {
                done.map_err(Exit::missing)??;
            }
            bar.set(events - left);
        }
        while let Some(done) = under_way.join_next().await {
            done.map_err(Exit::missing)??;
        }
        Ok(())
    }

    /// Appends so many matches a second until the handle is dropped.
    pub fn load(&self, mut workload: Workload, per_second: u64) -> AbortOnDropHandle<()> {
        let log = Arc::clone(&self.log);
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let (started, mut appended) = (Instant::now(), 0);
            loop {
                ticks.tick().await;
                let due = (started.elapsed().as_secs_f64() * per_second as f64) as u64;
                let matches = workload.take(due.saturating_sub(appended).min(GROUP));
                let done = match matches {
                    Ok(matches) => {
                        appended += matches.len() as u64;
                        append(&log, &matches).await
                    }
                    Err(error) => Err(error),
                };
                if let Err(error) = done {
                    output::say(format_args!("load: {error}"));
                }
            }
        }))
    }

    /// Starts a role of this binary on an address of its own.
    ///
    /// # Errors
    /// When it ends before it listens.
    pub fn role(&self, role: &str, more: &[&str]) -> Result<Server, Exit> {
        let (log, store) = (self.address.to_string(), self.store.as_ref().map(ToString::to_string));
        let mut args = vec![role, "--listen", "127.0.0.1:0", "--log", &log];
        args.extend(["--topic-prefix", &self.prefix]);
        if let Some(store) = &store {
            args.extend(["--store", store]);
        }
        args.extend(more);
        Server::start(&args)
    }
}

async fn keyspace(given: &CqlAddress, name: &str, log: &KafkaLog) -> Result<CqlAddress, Exit> {
    let text = format!("cql://{}/{}_{name}", given.nodes().join(","), given.keyspace());
    let address: CqlAddress = text.parse().map_err(Exit::usage)?;
    let tables =
        agon_scylla::InitSettings { replication: None, log: servers::facts(log), new_epoch: false };
    let make = || agon_scylla::init(&address, tables);
    servers::patiently(PATIENCE, make, agon_scylla::OpenError::may_pass).await?;
    Ok(address)
}

async fn append(log: &KafkaLog, events: &[Event]) -> Result<(), Exit> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let record = |event: &Event| {
        let (topic, key) = (event.topic(), event.key());
        let target = TopicPartition::of_key(topic, key.as_bytes(), log.partitions());
        Append { target, record: encode(event, "agon/bench", now_ms) }
    };
    let records = events.iter().map(record).collect();
    log.append(records).await.map(drop).map_err(Exit::missing)
}

/// Asks again and again until an answer comes; `what` is named when none does.
///
/// # Errors
/// After [`PATIENCE`].
pub async fn until<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<Option<T>, Exit>,
) -> Result<T, Exit> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await? {
            return Ok(seen);
        }
        if Instant::now() > deadline {
            let waited_s = PATIENCE.as_secs();
            return Err(Exit::Missing(format!("waited {waited_s} s in vain until {what}")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until a role says that it is ready.
///
/// # Errors
/// After [`PATIENCE`].
pub async fn ready(http: &reqwest::Client, server: &Server) -> Result<(), Exit> {
    let url = format!("http://{}/readyz", server.address);
    until("a role is ready", async || {
        let answer = http.get(&url).send().await;
        Ok(answer.is_ok_and(|answer| answer.status().is_success()).then_some(()))
    })
    .await
}

/// The body of a GET; null while there is none.
pub async fn get(http: &reqwest::Client, server: &Server, path: &str) -> Value {
    match http.get(format!("http://{}{path}", server.address)).send().await {
        Ok(answer) => answer.json().await.unwrap_or_default(),
        Err(_) => Value::Null,
    }
}

/// The metrics of a role, in Prometheus' text format.
///
/// # Errors
/// When it does not answer.
pub async fn metrics(http: &reqwest::Client, server: &Server) -> Result<String, Exit> {
    let answer = http.get(format!("http://{}/metrics", server.address)).send().await;
    answer.map_err(Exit::missing)?.text().await.map_err(Exit::missing)
}
