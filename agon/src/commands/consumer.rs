//! `agon consumer`: folds its share of the log into the store, one of any number.

use std::sync::Arc;
use std::time::Duration;

use agon_consumer::Consumer;
use agon_kafka::KafkaSettings;
use agon_memory::SystemClock;
use prometheus::Registry;
use tokio::sync::RwLock;

use crate::cli;
use crate::commands::serve::failed;
use crate::commands::sides::stoppable;
use crate::exit::Exit;
use crate::metrics::OpsMetrics;
use crate::ops::Ops;
use crate::process::Addresses;
use crate::production::Start;
use crate::roles::{Ears, Roles};
use crate::servers::{self, Connected};
use crate::signals::{self, Stop};

/// Folds until a signal comes or something is refused for good.
///
/// # Errors
/// When the address is in use, a server is away for longer than `--wait`, or log and store do not
/// belong together.
pub async fn run(options: cli::Consumer) -> Result<(), Exit> {
    Start::of_role(&options.listen, &options.servers).check(&options.guard)?;
    let Stop { leaving, stop } = signals::stop(options.listen.shutdown_delay)?;
    let addresses = Addresses::bind(&options.listen).await?;
    let registry = Registry::new();
    let metrics = OpsMetrics::register(&registry).map_err(Exit::missing)?;
    let settings = KafkaSettings {
        session_timeout_ms: u32::try_from(options.session_timeout.as_millis())
            .map_err(Exit::usage)?,
        group_protocol: options.group_protocol,
        ..options.servers.settings()?
    };
    let connecting = Connected::open_with(&options.servers, settings);
    let Some(connected) = stoppable(&leaving, connecting).await? else {
        return Ok(());
    };
    let ports = connected.ports();
    let wait = options.servers.wait.wait;
    let starting = Roles::start(ports.clone(), Ears::default(), &registry, wait);
    let Some(roles) = stoppable(&leaving, starting).await? else { return Ok(()) };
    let config = servers::consumer_config(&options.fold);
    #[cfg(feature = "faults")]
    let config = agon_consumer::ConsumerConfig {
        broker_offsets: Some(connected.broker_offsets()),
        ..config
    };
    let consumer = Consumer::start_in_group(
        config,
        Arc::clone(&ports.log),
        Arc::clone(&ports.store),
        connected.publisher()?,
        connected.group(),
        Arc::new(SystemClock),
        &registry,
    );
    let consumer = consumer.map_err(Exit::missing)?;
    let consumer = Arc::new(RwLock::new(Some(consumer)));
    let ops = Ops {
        registry,
        metrics,
        ports,
        has_intake: false,
        api: None,
        consumer: Some(Arc::clone(&consumer)),
        caught_up: None,
        source: None,
        leaving,
    };
    let serving = addresses.serve(&roles, &ops, options.shutdown, &stop)?;
    serving.say("consumer");
    let failure = tokio::select! {
        () = stop.cancelled() => None,
        error = failed(&consumer) => Some(Exit::missing(error)),
    };
    stop.cancel();
    let deadline = Duration::from_millis(options.shutdown.shutdown_ms_max);
    let stopped = match consumer.write().await.take() {
        Some(consumer) => consumer.stop(deadline).await.map_err(Exit::missing),
        None => Ok(()),
    };
    serving.ended().await?;
    failure.map_or(stopped, Err)
}
