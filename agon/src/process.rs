//! What every role does as a process: take its addresses, serve its routes, end in order.

use std::net::SocketAddr;

use agon_edge::{Drained, ServeSettings, bind, serve};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::banner;
use crate::cli;
use crate::exit::Exit;
use crate::ops::{self, Ops};
use crate::output;
use crate::roles::Roles;

/// The addresses of a process, taken before anything else is tried.
pub struct Addresses {
    main: TcpListener,
    metrics: Option<TcpListener>,
}

/// A process that answers.
pub struct Serving {
    /// Where.
    pub address: SocketAddr,
    /// Where /metrics is.
    pub metrics_address: SocketAddr,
    servers: Vec<JoinHandle<Drained>>,
}

impl Addresses {
    /// Takes them.
    ///
    /// # Errors
    /// When one is in use or cannot be had.
    pub async fn bind(listen: &cli::Listen) -> Result<Addresses, Exit> {
        let main = bind(&listen.listen).await.map_err(Exit::missing)?;
        let metrics = match &listen.metrics_listen {
            Some(address) => Some(bind(address).await.map_err(Exit::missing)?),
            None => None,
        };
        Ok(Addresses { main, metrics })
    }

    /// Answers on them until stopped.
    ///
    /// # Errors
    /// When two routes are the same.
    pub fn serve(
        self,
        roles: &Roles,
        ops: &Ops,
        shutdown: cli::Shutdown,
        stop: &CancellationToken,
    ) -> Result<Serving, Exit> {
        let address = self.main.local_addr().map_err(Exit::missing)?;
        let routes = roles.routes(ops.clone(), self.metrics.is_none());
        let (router, _) = roles.join(routes, &ops.registry)?;
        let settings = ServeSettings {
            drain_ms_max: shutdown.shutdown_ms_max / 2,
            ..ServeSettings::default()
        };
        let mut servers = vec![tokio::spawn(serve(self.main, router, settings, stop.clone()))];
        let mut metrics_address = address;
        if let Some(listener) = self.metrics {
            metrics_address = listener.local_addr().map_err(Exit::missing)?;
            let routes = ops::metrics_routes(ops.clone());
            // Scrapes are not counted among the requests.
            let (router, _) = roles.join(routes, &Registry::new())?;
            servers.push(tokio::spawn(serve(listener, router, settings, stop.clone())));
        }
        Ok(Serving { address, metrics_address, servers })
    }
}

impl Serving {
    /// Says where a role answers.
    pub fn say(&self, role: &str) {
        let version = env!("CARGO_PKG_VERSION");
        let address = banner::reachable(self.address);
        output::say(format_args!("agon {version}, {role}, listens on http://{address}"));
    }

    /// Waits until what was asked is answered; the stop was given before.
    ///
    /// # Errors
    /// When a server stopped unasked.
    pub async fn ended(self) -> Result<(), Exit> {
        for server in self.servers {
            server.await.map_err(Exit::missing)?;
        }
        Ok(())
    }
}
