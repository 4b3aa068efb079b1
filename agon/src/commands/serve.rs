//! `agon serve`: every role in one process. Intake → log → consumer → store → feed → API, joined
//! here and nowhere else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agon_consumer::Consumer;
use agon_edge::{Role, ServeSettings, bind, serve};
use agon_memory::MemoryFeed;
use agon_ports::EventLog;
use agon_runner::{Bearer, LeagueConfig};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::RwLock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::banner::{self, Banner};
use crate::cli;
use crate::commands::credentials;
use crate::exit::Exit;
use crate::node::{self, BadStore, Node};
use crate::ops::{self, Ops};
use crate::roles::{Ports, Roles};
use crate::signals;

/// How often the demo's token is made anew, well before it ends.
const TOKEN_RENEWAL: Duration = Duration::from_secs(300);

/// Serves until a signal comes or something fails for good.
///
/// # Errors
/// When the address or the directory cannot be used, or a role fails.
pub async fn run(options: cli::Serve) -> Result<(), Exit> {
    let stop = signals::stop()?;
    let listener = bind(&options.listen).await.map_err(Exit::missing)?;
    let metrics_listener = match &options.metrics_listen {
        Some(address) => Some(bind(address).await.map_err(Exit::missing)?),
        None => None,
    };
    let dir = node::lock(&options.data.data)?;
    let node = Node::open(dir, options.limits.partitions, BadStore::FoldAnew)?;
    let running = Running::start(node, &options, stop.clone()).await?;
    let served = running.serve(listener, metrics_listener, &options, stop.clone()).await;
    stop.cancel();
    served
}

/// All roles of one process.
struct Running {
    node: Node,
    roles: Roles,
    ops: Ops,
    password: Option<String>,
}

impl Running {
    async fn start(
        node: Node,
        options: &cli::Serve,
        stop: CancellationToken,
    ) -> Result<Running, Exit> {
        let registry = Registry::new();
        ops::register_build_info(&registry).map_err(Exit::missing)?;
        let log: Arc<dyn EventLog> = node.log.clone();
        let ports =
            Ports { log: Arc::clone(&log), store: node.store.clone(), control: node.control()? };
        let (feed, publisher) = MemoryFeed::with_publisher(node::FEED_CHANGES_MAX);
        let roles = Roles::start(ports, &feed, &registry).await?;
        let password = credentials::first_admin(roles.auth.users(), node.dir.path()).await?;
        let consumer = node.consume(&options.limits, publisher, &registry).await?;
        let consumer = Arc::new(RwLock::new(Some(consumer)));
        let caught_up = CancellationToken::new();
        let ops = Ops { registry, log, api: roles.api.clone(), consumer, caught_up, stop };
        Ok(Running { node, roles, ops, password })
    }

    async fn serve(
        self,
        listener: TcpListener,
        metrics_listener: Option<TcpListener>,
        options: &cli::Serve,
        stop: CancellationToken,
    ) -> Result<(), Exit> {
        let address = listener.local_addr().map_err(Exit::missing)?;
        let routes = self.roles.routes(self.ops.clone(), metrics_listener.is_none());
        let (router, _) = self.roles.join(routes, &self.ops.registry)?;
        let settings = ServeSettings {
            drain_ms_max: options.limits.shutdown_ms_max / 2,
            ..ServeSettings::default()
        };
        let mut servers = vec![tokio::spawn(serve(listener, router, settings, stop.clone()))];
        let mut metrics_address = address;
        if let Some(listener) = metrics_listener {
            metrics_address = listener.local_addr().map_err(Exit::missing)?;
            let routes = ops::metrics_routes(self.ops.clone());
            // Scrapes are not counted among the requests.
            let (router, _) = self.roles.join(routes, &Registry::new())?;
            servers.push(tokio::spawn(serve(listener, router, settings, stop.clone())));
        }
        banner::print(&Banner {
            address,
            metrics_address,
            data: self.node.dir.path(),
            is_demo: options.demo,
            password: self.password.as_deref(),
        });
        let caught_up = tokio::spawn(mark_caught_up(self.ops.clone()));
        let league = options.demo.then(|| self.start_league(address, &stop)).transpose()?;
        let failure = tokio::select! {
            () = stop.cancelled() => None,
            error = failed(&self.ops.consumer) => Some(Exit::missing(error)),
        };
        stop.cancel();
        caught_up.abort();
        for server in servers {
            server.await.map_err(Exit::missing)?;
        }
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
    async fn drain(self, options: &cli::Serve) -> Result<(), Exit> {
        let deadline = Duration::from_millis(options.limits.shutdown_ms_max);
        let all = async {
            self.roles.intake.close().await;
            self.roles.intake_task.await.map_err(Exit::missing)?;
            let Some(consumer) = self.ops.consumer.write().await.take() else { return Ok(()) };
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
async fn mark_caught_up(ops: Ops) {
    let ends = match ops.log.ends().await {
        Ok(ends) => ends,
        Err(error) => {
            tracing::error!(%error, "not ready: the log's end at the start is not known");
            return;
        }
    };
    let reached = ops.consumer.read().await.as_ref().map(Consumer::reached);
    if let Some(mut reached) = reached
        && reached.wait_for(&ends).await
    {
        ops.caught_up.cancel();
        tracing::info!(records = reached.records(), "caught up with the log");
    }
}

/// Waits until the consumer fails.
async fn failed(consumer: &RwLock<Option<Consumer>>) -> String {
    let watch = consumer.read().await.as_ref().map(Consumer::failure);
    match watch {
        Some(watch) => watch.await.to_string(),
        None => std::future::pending().await,
    }
}
