//! `agon config routes`: the policy table, every route that `serve` answers with who may use it.

use std::sync::Arc;
use std::time::Duration;

use agon_memory::{LogSettings, MemoryControl, MemoryFeed, MemoryLog, MemoryStore};
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::metrics::OpsMetrics;
use crate::ops::Ops;
use crate::output;
use crate::roles::{Ears, Ports, Roles};

/// Prints method, path and who, with tabs between. The routes are those of a server without
/// `--metrics-listen`, joined over memory: no directory is opened.
///
/// # Errors
/// When two routes are the same, or standard output cannot be written to.
pub async fn run() -> Result<(), Exit> {
    let registry = Registry::new();
    let (feed, _publisher) = MemoryFeed::with_publisher(1);
    let ports = Ports {
        log: Arc::new(MemoryLog::new(LogSettings::default())),
        store: Arc::new(MemoryStore::default()),
        control: Arc::new(MemoryControl::default()),
    };
    let ears =
        Ears { intake: Some(Box::new(feed.subscribe())), api: Some(Box::new(feed.subscribe())) };
    let roles = Roles::start(ports.clone(), ears, &registry, Duration::ZERO).await?;
    let ops = Ops {
        registry: registry.clone(),
        metrics: OpsMetrics::register(&registry).map_err(Exit::missing)?,
        ports,
        has_intake: true,
        api: roles.api.clone(),
        consumer: None,
        caught_up: None,
        source: None,
        leaving: CancellationToken::new(),
    };
    let (_, table) = roles.join(roles.routes(ops, true), &registry)?;
    for row in table {
        output::line(format_args!("{}\t{}\t{}", row.method, row.path, row.who))?;
    }
    Ok(())
}
