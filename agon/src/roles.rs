//! What answers requests, over any ports: intake, read side and identity, with the table of who
//! may use what.

use std::sync::Arc;
use std::time::Duration;

use agon_api::{Api, ApiConfig, LogIdentity};
use agon_edge::{
    Auth, AuthError, AuthSettings, Edge, HttpMetrics, Limits, PolicyRow, Routes, login,
};
use agon_memory::SystemClock;
use agon_ports::{ChangeSubscriber, Clock, ControlStore, EventLog, ProjectionStore, Retry};
use agon_producer::source::{Source, SourceConfig, Standing};
use agon_producer::{Intake, IntakeConfig, View};
use axum::Router;
use prometheus::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::ops::{self, Ops};
use crate::servers;

/// What the roles stand on.
#[derive(Clone)]
pub struct Ports {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// The store.
    pub store: Arc<dyn ProjectionStore>,
    /// Users and keys.
    pub control: Arc<dyn ControlStore>,
}

/// Which roles are wanted: each that has an ear for the change feed. Nothing may be published
/// before, so that none misses the first news.
#[derive(Default)]
pub struct Ears {
    /// The write side's.
    pub intake: Option<Box<dyn ChangeSubscriber>>,
    /// The read side's.
    pub api: Option<Box<dyn ChangeSubscriber>>,
}

/// The roles that answer requests.
pub struct Roles {
    /// Who calls.
    pub auth: Arc<Auth>,
    /// The write side; the task ends after it is closed and what it took is answered.
    pub intake: Option<(Intake, JoinHandle<()>)>,
    /// The read side.
    pub api: Option<Api>,
    /// The live stream that is read into the write side.
    source: Option<Source>,
}

impl Roles {
    /// Starts those that are wanted.
    ///
    /// # Errors
    /// When the signing keys cannot be read or made for longer than `wait`.
    pub async fn start(
        ports: Ports,
        ears: Ears,
        registry: &Registry,
        wait: Duration,
    ) -> Result<Roles, Exit> {
        let Ports { log, store, control } = ports;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let open = || Auth::open(control.clone(), Arc::clone(&clock), AuthSettings::default());
        let auth = servers::patiently(
            wait,
            open,
            |error| matches!(error, AuthError::Store(error) if error.retry == Retry::Later),
        )
        .await?;
        let mut roles = Roles { auth, intake: None, api: None, source: None };
        if let Some(ear) = ears.api {
            let identity = LogIdentity { id: log.id(), partitions: log.partitions() };
            let (config, store) = (ApiConfig::default(), Arc::clone(&store));
            let (api, _) = Api::start(config, store, identity, ear, Arc::clone(&clock), registry)
                .map_err(Exit::missing)?;
            roles.api = Some(api);
        }
        if let Some(feed) = ears.intake {
            let view = View::Store { store, feed };
            let intake = Intake::start(IntakeConfig::default(), log, view, clock, registry);
            roles.intake = Some(intake.map_err(Exit::missing)?);
        }
        Ok(roles)
    }

    /// Begins to read a live stream into the write side; does nothing without either.
    ///
    /// # Errors
    /// When its counters or TLS cannot be had.
    pub fn read_source(
        &mut self,
        config: Option<SourceConfig>,
        ports: &Ports,
        registry: &Registry,
        stop: &CancellationToken,
    ) -> Result<Option<Standing>, Exit> {
        let (Some(config), Some((intake, _))) = (config, &self.intake) else { return Ok(None) };
        let (intake, control) = (intake.clone(), Arc::clone(&ports.control));
        let source = Source::wikimedia(config, intake, control, registry, stop.clone());
        let source = source.map_err(Exit::missing)?;
        let standing = source.standing();
        self.source = Some(source);
        Ok(Some(standing))
    }

    /// All routes; `/metrics` only when it has no address of its own.
    pub fn routes(&self, ops: Ops, with_metrics: bool) -> Routes {
        let mut routes = login::routes(Arc::clone(&self.auth));
        if let Some((intake, _)) = &self.intake {
            routes = routes.merge(agon_producer::routes::routes(intake.clone()));
        }
        if let Some(api) = &self.api {
            routes = routes
                .merge(agon_api::routes(api.clone()))
                .merge(agon_api::event_routes(api.clone(), Arc::clone(&ops.ports.log)));
        }
        if let (Some(_), Some(api)) = (&self.intake, &self.api) {
            let log = Arc::clone(&ops.ports.log);
            routes = routes.merge(agon_api::replay_routes(api.clone(), log));
        }
        routes.merge(ops::routes(ops, with_metrics))
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

    /// Takes no more writes, and waits until those taken are answered. The source, which was told
    /// to stop, ends first.
    ///
    /// # Errors
    /// When the intake stopped unasked.
    pub async fn close_intake(&mut self) -> Result<(), Exit> {
        if let Some(source) = self.source.take() {
            source.ended().await.map_err(Exit::missing)?;
        }
        let Some((intake, task)) = self.intake.take() else { return Ok(()) };
        intake.close().await;
        task.await.map_err(Exit::missing)
    }
}
