//! What answers requests, over any ports: intake, read side and identity, with the table of who
//! may use what.

use std::sync::Arc;

use agon_api::{Api, ApiConfig, LogIdentity};
use agon_edge::{Auth, AuthSettings, Edge, HttpMetrics, Limits, PolicyRow, Routes, login};
use agon_memory::{MemoryFeed, SystemClock};
use agon_ports::{Clock, ControlStore, EventLog, ProjectionStore};
use agon_producer::{Intake, IntakeConfig};
use axum::Router;
use prometheus::Registry;
use tokio::task::JoinHandle;

use crate::exit::Exit;
use crate::ops::{self, Ops};

/// What the roles stand on.
pub struct Ports {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// The store.
    pub store: Arc<dyn ProjectionStore>,
    /// Users and keys.
    pub control: Arc<dyn ControlStore>,
}

/// The roles that answer requests.
pub struct Roles {
    /// Who calls.
    pub auth: Arc<Auth>,
    /// The write side.
    pub intake: Intake,
    /// Ends after the intake is closed and what it took is answered.
    pub intake_task: JoinHandle<()>,
    /// The read side.
    pub api: Api,
}

impl Roles {
    /// Starts them. Nothing may be published to the feed before, so that none misses the first
    /// news.
    ///
    /// # Errors
    /// When the signing keys cannot be read or made.
    pub async fn start(
        ports: Ports,
        feed: &MemoryFeed,
        registry: &Registry,
    ) -> Result<Roles, Exit> {
        let Ports { log, store, control } = ports;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let auth = Auth::open(control, Arc::clone(&clock), AuthSettings::default())
            .await
            .map_err(Exit::missing)?;
        let (api, _) = Api::start(
            ApiConfig::default(),
            Arc::clone(&store),
            LogIdentity { id: log.id(), partitions: log.partitions() },
            Box::new(feed.subscribe()),
            Arc::clone(&clock),
            registry,
        )
        .map_err(Exit::missing)?;
        let (intake, intake_task) = Intake::start(
            IntakeConfig::default(),
            log,
            store,
            Box::new(feed.subscribe()),
            clock,
            registry,
        )
        .map_err(Exit::missing)?;
        Ok(Roles { auth, intake, intake_task, api })
    }

    /// All routes; `/metrics` only when it has no address of its own.
    pub fn routes(&self, ops: Ops, with_metrics: bool) -> Routes {
        agon_producer::routes::routes(self.intake.clone())
            .merge(agon_api::routes(self.api.clone()))
            .merge(agon_api::event_routes(self.api.clone(), Arc::clone(&ops.log)))
            .merge(login::routes(Arc::clone(&self.auth)))
            .merge(ops::routes(ops, with_metrics))
    }

    /// The router of some routes, and the table by which it lets callers in.
    ///
    /// # Errors
    /// When two routes are the same.
    pub fn join(
        &self,
        routes: Routes,
        registry: &Registry,
    ) -> Result<(Router, Vec<PolicyRow>), Exit> {
        let metrics = HttpMetrics::register(registry).map_err(Exit::missing)?;
        let clock = Arc::new(SystemClock);
        let edge = Edge::new(clock, Arc::clone(&self.auth), metrics, Limits::default());
        routes.into_router(edge).map_err(Exit::missing)
    }
}
