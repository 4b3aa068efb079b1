//! `agon serve`: every role in one process. Intake → log → consumer → store → feed → API, joined
//! here and nowhere else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agon_consumer::Consumer;
use agon_edge::Role;
use agon_memory::MemoryFeed;
use agon_ports::EventLog;
use agon_producer::source::SourceConfig;
use agon_runner::{Bearer, LeagueConfig};
use prometheus::Registry;
use tokio::sync::RwLock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::banner::{self, Banner};
use crate::cli;
use crate::commands::credentials;
use crate::exit::Exit;
use crate::metrics::{Disk, OpsMetrics};
use crate::node::{self, BadStore, Node};
use crate::ops::Ops;
use crate::process::Addresses;
use crate::production::Start;
use crate::roles::{Ears, Ports, Roles};
use crate::signals::{self, Stop};

/// How often the demo's token is made anew, well before it ends.
const TOKEN_RENEWAL: Duration = Duration::from_secs(300);

/// Serves until a signal comes or something fails for good.
///
/// # Errors
/// When the address or the directory cannot be used, or a role fails.
pub async fn run(options: cli::Serve) -> Result<(), Exit> {
    let source = options.streams.config()?;
    Start::of_serve(&options).await?.check(&options.guard)?;
    let signals = signals::stop(options.listen.shutdown_delay)?;
    let stop = signals.stop.clone();
    let addresses = Addresses::bind(&options.listen).await?;
    let dir = node::lock(&options.data.data)?;
    let node = Node::open(dir, options.limits.partitions, BadStore::FoldAnew)?;
    let running = Running::start(node, &options, source, signals).await?;
    let served = running.serve(addresses, &options, stop.clone()).await;
    stop.cancel();
    served
}

/// All roles of one process.
struct Running {
    node: Node,
    roles: Roles,
    ops: Ops,
    consumer: Arc<RwLock<Option<Consumer>>>,
    caught_up: CancellationToken,
    password: Option<String>,
}

impl Running {
    async fn start(
        node: Node,
        options: &cli::Serve,
        source: Option<SourceConfig>,
        Stop { leaving, stop }: Stop,
    ) -> Result<Running, Exit> {
        let registry = Registry::new();
        let metrics = OpsMetrics::register(&registry).map_err(Exit::missing)?;
        Disk::register(&registry, node.dir.path()).map_err(Exit::missing)?;
        let control = node.control()?;
        let ports = Ports { log: node.log.clone(), store: node.store.clone(), control };
        let (feed, publisher) = MemoryFeed::with_publisher(node::FEED_CHANGES_MAX);
        let ears = Ears {
            intake: Some(Box::new(feed.subscribe())),
            api: Some(Box::new(feed.subscribe())),
        };
        let mut roles = Roles::start(ports.clone(), ears, &registry, Duration::ZERO).await?;
        let password = credentials::first_admin(roles.auth.users(), node.dir.path()).await?;
        let consumer = node.consume(&options.limits.fold, publisher, &registry).await?;
        let consumer = Arc::new(RwLock::new(Some(consumer)));
        let caught_up = CancellationToken::new();
        let source = roles.read_source(source, &ports, &registry, &stop)?;
        let ops = Ops {
            registry,
            metrics,
            ports,
            has_intake: true,
            api: roles.api.clone(),
            consumer: Some(Arc::clone(&consumer)),
            caught_up: Some(caught_up.clone()),
            source,
            leaving,
        };
        Ok(Running { node, roles, ops, consumer, caught_up, password })
    }

    async fn serve(
        self,
        addresses: Addresses,
        options: &cli::Serve,
        stop: CancellationToken,
    ) -> Result<(), Exit> {
        let serving = addresses.serve(&self.roles, &self.ops, options.limits.shutdown, &stop)?;
        let address = serving.address;
        banner::print(&Banner {
            address,
            metrics_address: serving.metrics_address,
            data: self.node.dir.path(),
            is_demo: options.demo,
            password: self.password.as_deref(),
        });
        let (log, consumer) = (self.node.log.clone(), Arc::clone(&self.consumer));
        let caught_up = tokio::spawn(mark_caught_up(log, consumer, self.caught_up.clone()));
        let league = options.demo.then(|| self.start_league(address, &stop)).transpose()?;
        let failure = tokio::select! {
            () = stop.cancelled() => None,
            error = failed(&self.consumer) => Some(Exit::missing(error)),
        };
        stop.cancel();
        caught_up.abort();
        serving.ended().await?;
        if let Some(league) = league {
            league.await.map_err(Exit::missing)?;
        }
        let drained = self.drain(options).await;
        failure.map_or(drained, Err)
    }

    /// Built-in agents play through the HTTP intake until stopped.
    fn start_league(
        &self,
        address: SocketAddr,
        stop: &CancellationToken,
    ) -> Result<JoinHandle<()>, Exit> {
        let token = Arc::new(std::sync::RwLock::new(self.league_token()?));
        let renewed = Arc::clone(&token);
        let (auth, ending) = (Arc::clone(&self.roles.auth), stop.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = ending.cancelled() => return,
                    () = tokio::time::sleep(TOKEN_RENEWAL) => {}
                }
                match auth.service_token("league", &[Role::Operator, Role::Producer]) {
                    Ok(made) => {
                        *renewed.write().unwrap_or_else(|e| e.into_inner()) = made.token;
                    }
                    Err(error) => tracing::warn!(%error, "the league keeps its old token"),
                }
            }
        });
        let bearer = Bearer::from_fn(move || {
            token.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
        });
        let base = format!("http://{}", banner::reachable(address));
        let config = LeagueConfig::demo(base, bearer, rand::random());
        let stop = stop.clone();
        Ok(tokio::spawn(async move {
            match agon_runner::run(config, stop).await {
                Ok(report) => tracing::info!(matches = report.matches.accepted, "the league ended"),
                Err(error) => tracing::error!(%error, "the league stopped"),
            }
        }))
    }

    fn league_token(&self) -> Result<String, Exit> {
        let roles = [Role::Operator, Role::Producer];
        let token = self.roles.auth.service_token("league", &roles).map_err(Exit::missing)?;
        Ok(token.token)
    }

    /// Stores everything that was accepted, then lets go of the directory.
    async fn drain(mut self, options: &cli::Serve) -> Result<(), Exit> {
        let deadline = Duration::from_millis(options.limits.shutdown.shutdown_ms_max);
        let all = async {
            self.roles.close_intake().await?;
            let Some(consumer) = self.consumer.write().await.take() else { return Ok(()) };
            node::catch_up(&consumer, self.node.log.as_ref(), "storing").await?;
            consumer.stop(deadline).await.map_err(Exit::missing)
        };
        tokio::time::timeout(deadline, all).await.unwrap_or_else(|_| {
            Err(Exit::Missing(format!(
                "shutdown took longer than {} ms; what is not stored yet is folded at the next \
                 start",
                deadline.as_millis()
            )))
        })
    }
}

/// Marks the process as ready once everything that was in the log at the start is folded.
async fn mark_caught_up(
    log: Arc<dyn EventLog>,
    consumer: Arc<RwLock<Option<Consumer>>>,
    caught_up: CancellationToken,
) {
    let ends = match log.ends().await {
        Ok(ends) => ends,
        Err(error) => {
            tracing::error!(%error, "not ready: the log's end at the start is not known");
            return;
        }
    };
    let reached = consumer.read().await.as_ref().map(Consumer::reached);
    if let Some(mut reached) = reached
        && reached.wait_for(&ends).await
    {
        caught_up.cancel();
        tracing::info!(records = reached.records(), "caught up with the log");
    }
}

/// Waits until the consumer fails.
pub async fn failed(consumer: &RwLock<Option<Consumer>>) -> String {
    let watch = consumer.read().await.as_ref().map(Consumer::failure);
    match watch {
        Some(watch) => watch.await.to_string(),
        None => std::future::pending().await,
    }
}
