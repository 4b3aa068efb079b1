//! Log and store on servers: connects by address, and waits for what is away. Beside
//! [`crate::node`] the only place where adapters meet.

use std::fmt::Display;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use agon_consumer::{Consumer, ConsumerConfig};
use agon_kafka::{KafkaAddress, KafkaFeed, KafkaGroup, KafkaLog, KafkaSettings};
use agon_memory::{MemoryFeed, SystemClock};
use agon_ports::{
    ChangePublisher, ChangeSubscriber, EventLog, Group, PortError, Retry, StoreInspector,
};
use agon_scylla::{
    CqlAddress, LogFacts, ScyllaControl, ScyllaInspector, ScyllaStore, StoreSettings,
};
use prometheus::Registry;
use tokio::time::Instant;

use crate::cli;
use crate::exit::Exit;
use crate::output;
use crate::roles::Ports;

/// Pause between two attempts to reach a server.
const PAUSE: Duration = Duration::from_millis(500);
/// Flushes of different partitions that one worker has under way: each waits for servers far away.
const FLUSHES_MAX: usize = 16;
/// How often a wait says what it waits for.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// How long a store may refuse a login: a new Cassandra makes its first user 10 seconds after it
/// first answers.
const LOGIN_WITHIN: Duration = Duration::from_secs(20);

/// Whether to try again to open a store: for a while only where it refuses the login.
pub fn store_may_pass() -> impl Fn(&agon_scylla::OpenError) -> bool {
    let refused_at = OnceLock::new();
    move |error| {
        error.may_pass()
            || error.may_pass_soon()
                && refused_at.get_or_init(Instant::now).elapsed() < LOGIN_WITHIN
    }
}

/// Tries until it succeeds, is refused for good, or `wait` is over; says what it waits for.
///
/// # Errors
/// The last failure.
pub async fn patiently<T, E, F>(
    wait: Duration,
    mut attempt: impl FnMut() -> F,
    may_pass: impl Fn(&E) -> bool,
) -> Result<T, Exit>
where
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + wait;
    let mut say_at = Instant::now() + SAY_EVERY;
    loop {
        // A client being opened is large; who waits for it need not be.
        let error = match Box::pin(attempt()).await {
            Ok(made) => return Ok(made),
            Err(error) => error,
        };
        let now = Instant::now();
        if !may_pass(&error) || now + PAUSE > deadline {
            return Err(Exit::missing(error));
        }
        if now >= say_at {
            let left = (deadline - now).as_secs();
            output::say(format_args!("waiting, for {left} s at most: {error}"));
            say_at = now + SAY_EVERY;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The log at an address.
///
/// # Errors
/// When it is away for longer than `wait`, or not what `agon init` makes.
pub async fn log(
    address: &KafkaAddress,
    settings: &KafkaSettings,
    wait: Duration,
) -> Result<Arc<KafkaLog>, Exit> {
    let open = || KafkaLog::open(address, settings.clone());
    patiently(wait, open, agon_kafka::OpenError::may_pass).await.map(Arc::new)
}

/// The store at an address, as the store of this log.
///
/// # Errors
/// When it is away for longer than `wait`, not what `agon init` makes, or of another log.
pub async fn store(
    address: &CqlAddress,
    log: LogFacts,
    wait: Duration,
) -> Result<Arc<ScyllaStore>, Exit> {
    let settings = || StoreSettings {
        #[cfg(feature = "faults")]
        crash_point: crate::faults::store_hook(),
        ..StoreSettings::default()
    };
    let open = || ScyllaStore::open(address, log, settings());
    patiently(wait, open, store_may_pass()).await.map(Arc::new)
}

/// The store at an address, of whatever log it is, and that log.
///
/// # Errors
/// As [`store`].
pub async fn store_alone(
    address: &CqlAddress,
    wait: Duration,
) -> Result<(Arc<ScyllaStore>, LogFacts), Exit> {
    let read = || agon_scylla::facts(address);
    let facts = patiently(wait, read, store_may_pass()).await?;
    Ok((store(address, facts, wait).await?, facts))
}

/// The bytes of the store at an address, by a reader of its own.
///
/// # Errors
/// As [`store`].
pub async fn inspector(
    address: &CqlAddress,
    log: LogFacts,
    wait: Duration,
) -> Result<Arc<dyn StoreInspector>, Exit> {
    let open = || ScyllaInspector::open(address, log);
    let inspector = patiently(wait, open, store_may_pass()).await?;
    Ok(Arc::new(inspector))
}

/// Users and keys at an address.
///
/// # Errors
/// As [`store`].
pub async fn control(address: &CqlAddress, wait: Duration) -> Result<Arc<ScyllaControl>, Exit> {
    let open = || ScyllaControl::open(address);
    patiently(wait, open, store_may_pass()).await.map(Arc::new)
}

/// Refuses while consumers are at work, for what would take the rows from under them.
///
/// # Errors
/// When there are some, or the log does not answer.
pub async fn must_be_idle(
    address: &KafkaAddress,
    settings: &KafkaSettings,
    why: &str,
) -> Result<(), Exit> {
    let group = KafkaGroup::new(address.clone(), settings.clone());
    match group.describe_members().await.map_err(Exit::missing)? {
        0 => Ok(()),
        count => Err(Exit::Missing(format!(
            "{count} consumers are at work; stop them first, since {why} under them"
        ))),
    }
}

/// What the store records of a log.
pub fn facts(log: &KafkaLog) -> LogFacts {
    LogFacts { id: log.id(), partitions: log.partitions() }
}

/// Limits of a consumer that flushes into servers.
pub fn consumer_config(fold: &cli::FoldLimits) -> ConsumerConfig {
    ConsumerConfig {
        workers: fold.workers,
        flush_rows_max: fold.flush_rows_max,
        flush_bytes_max: fold.flush_bytes_max,
        flush_interval_ms: fold.flush_interval_ms,
        flushes_max: FLUSHES_MAX,
        #[cfg(feature = "faults")]
        crash: crate::faults::consumer_hook(),
        ..ConsumerConfig::default()
    }
}

/// Folds all partitions in this process alone, telling nobody.
///
/// # Errors
/// When log and store do not belong together.
pub async fn fold_alone(
    log: Arc<KafkaLog>,
    store: Arc<ScyllaStore>,
    fold: &cli::FoldLimits,
) -> Result<Consumer, Exit> {
    let (_feed, publisher) = MemoryFeed::with_publisher(1);
    let (config, publisher) = (consumer_config(fold), Arc::new(publisher));
    let registry = Registry::new();
    let consumer = Consumer::start(config, log, store, publisher, Arc::new(SystemClock), &registry);
    consumer.await.map_err(Exit::missing)
}

/// Everything that a role stands on.
pub struct Connected {
    kafka: KafkaAddress,
    settings: KafkaSettings,
    log: Arc<KafkaLog>,
    store: Arc<ScyllaStore>,
    control: Arc<ScyllaControl>,
    wait: Duration,
}

impl Connected {
    /// Connects to log and store.
    ///
    /// # Errors
    /// When one is away for longer than `--wait`, or not what `agon init` makes.
    pub async fn open(servers: &cli::Servers) -> Result<Connected, Exit> {
        Connected::open_with(servers, servers.settings()?).await
    }

    /// As [`Connected::open`], with other settings of the log.
    ///
    /// # Errors
    /// As [`Connected::open`].
    pub async fn open_with(
        servers: &cli::Servers,
        settings: KafkaSettings,
    ) -> Result<Connected, Exit> {
        let wait = servers.wait.wait;
        let log = log(&servers.log, &settings, wait).await?;
        let address = servers.store()?;
        let store = store(&address, facts(&log), wait).await?;
        let control = control(&address, wait).await?;
        Ok(Connected { kafka: servers.log.clone(), settings, log, store, control, wait })
    }

    /// The ports that services know.
    pub fn ports(&self) -> Ports {
        Ports { log: self.log.clone(), store: self.store.clone(), control: self.control.clone() }
    }

    /// An ear for the change feed, which hears what is published from now on.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn ear(&self) -> Result<Box<dyn ChangeSubscriber>, Exit> {
        let feed = self.feed();
        let may_pass = |error: &PortError| error.retry == Retry::Later;
        let subscriber = patiently(self.wait, || feed.subscriber(), may_pass).await?;
        Ok(Box::new(subscriber))
    }

    /// A voice in the change feed.
    ///
    /// # Errors
    /// When the client refuses its settings.
    pub fn publisher(&self) -> Result<Arc<dyn ChangePublisher>, Exit> {
        Ok(Arc::new(self.feed().publisher().map_err(Exit::missing)?))
    }

    /// The group that shares the partitions.
    pub fn group(&self) -> Arc<dyn Group> {
        Arc::new(KafkaGroup::new(self.kafka.clone(), self.settings.clone()))
    }

    /// What asks the brokers where that group is.
    #[cfg(feature = "faults")]
    pub fn broker_offsets(&self) -> agon_consumer::controls::BrokerOffsets {
        let group = KafkaGroup::new(self.kafka.clone(), self.settings.clone());
        let partitions = self.log.partitions();
        agon_consumer::controls::BrokerOffsets::new(move || {
            let group = group.clone();
            async move { group.committed(partitions).await }
        })
    }

    fn feed(&self) -> KafkaFeed {
        KafkaFeed::new(&self.log)
    }
}

#[cfg(test)]
mod tests {
    use agon_scylla::OpenError;

    use super::*;

    #[test]
    fn a_refused_login_is_tried_again_at_first_and_another_keyspace_never() {
        let address: CqlAddress = "cql://a:1/k".parse().unwrap();
        let may_pass = store_may_pass();
        let login = OpenError::Login { address: address.clone(), user: None, reason: "no".into() };
        assert!(may_pass(&login) && !login.may_pass(), "a new Cassandra has no users yet");
        assert!(!may_pass(&OpenError::OtherPartitions { address, found: 1, expected: 2 }));
    }
}
