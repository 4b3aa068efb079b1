//! `agon producer` and `agon api`: the write side, the read side, or both behind one address, as a
//! process of its own. Neither folds.

use std::time::Duration;

use agon_producer::source::SourceConfig;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use crate::cli;
use crate::exit::Exit;
use crate::metrics::OpsMetrics;
use crate::ops::Ops;
use crate::process::Addresses;
use crate::production::Start;
use crate::roles::{Ears, Roles};
use crate::servers::Connected;
use crate::signals::{self, Stop};

/// Takes writes until a signal comes.
///
/// # Errors
/// When something is unsafe in production, the address is in use, or a server is away for longer
/// than `--wait`.
pub async fn run_producer(options: cli::Producer) -> Result<(), Exit> {
    let cli::Producer { servers, listen, streams, guard, shutdown } = options;
    Start::of_role(&listen, &servers).with_source(&streams).check(&guard)?;
    let sides = Sides { intake: true, api: false, source: streams.config()? };
    answer("producer", servers, listen, shutdown, sides).await
}

/// Answers reads until a signal comes; writes too when asked.
///
/// # Errors
/// As [`run_producer`].
pub async fn run_api(options: cli::Api) -> Result<(), Exit> {
    let cli::Api { servers, listen, intake, guard, shutdown } = options;
    Start::of_role(&listen, &servers).check(&guard)?;
    let sides = Sides { intake, api: true, source: None };
    answer("api", servers, listen, shutdown, sides).await
}

/// Which sides the process has.
struct Sides {
    intake: bool,
    api: bool,
    source: Option<SourceConfig>,
}

async fn answer(
    name: &str,
    servers: cli::Servers,
    listen: cli::Listen,
    shutdown: cli::Shutdown,
    sides: Sides,
) -> Result<(), Exit> {
    let Stop { leaving, stop } = signals::stop(listen.shutdown_delay)?;
    let addresses = Addresses::bind(&listen).await?;
    let registry = Registry::new();
    let metrics = OpsMetrics::register(&registry).map_err(Exit::missing)?;
    let Some(connected) = stoppable(&leaving, Connected::open(&servers)).await? else {
        return Ok(());
    };
    let ears = Ears {
        intake: if sides.intake { Some(connected.ear().await?) } else { None },
        api: if sides.api { Some(connected.ear().await?) } else { None },
    };
    let ports = connected.ports();
    let starting = Roles::start(ports.clone(), ears, &registry, servers.wait.wait);
    let Some(mut roles) = stoppable(&leaving, starting).await? else { return Ok(()) };
    let source = roles.read_source(sides.source, &ports, &registry, &stop)?;
    let ops = Ops {
        registry,
        metrics,
        ports,
        has_intake: sides.intake,
        api: roles.api.clone(),
        consumer: None,
        caught_up: None,
        source,
        leaving,
    };
    let serving = addresses.serve(&roles, &ops, shutdown, &stop)?;
    serving.say(name);
    stop.cancelled().await;
    let deadline = Duration::from_millis(shutdown.shutdown_ms_max);
    let ended = async {
        serving.ended().await?;
        roles.close_intake().await
    };
    tokio::time::timeout(deadline, ended).await.unwrap_or_else(|_| {
        Err(Exit::Missing(format!(
            "shutdown took longer than {} ms; what was not answered may be in the log or not",
            deadline.as_millis()
        )))
    })
}

/// What a start answers, unless a signal comes first.
pub async fn stoppable<T>(
    stop: &CancellationToken,
    start: impl Future<Output = Result<T, Exit>>,
) -> Result<Option<T>, Exit> {
    stop.run_until_cancelled(start).await.transpose()
}
