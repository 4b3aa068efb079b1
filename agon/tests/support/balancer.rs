//! A way in to several processes, as a Service of Kubernetes is one: it gives a new connection to
//! an endpoint that is ready, and leaves those that stand alone. It knows no HTTP and tries nothing
//! twice, so whoever comes in sees every fault of what stands behind.
#![allow(clippy::unwrap_used, dead_code)]

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::http;
use super::servers::Role;

/// How often every endpoint is asked.
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// Listens until it is dropped.
pub struct Balancer {
    pub base: String,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    endpoints: Mutex<Vec<Endpoint>>,
    turn: AtomicUsize,
    refused: AtomicU64,
}

#[derive(Clone)]
struct Endpoint {
    base: String,
    is_ready: bool,
}

impl Shared {
    /// Whose turn it is. When nobody is ready all are taken to be, as balancers do: what stands
    /// behind may serve on, which a probe that failed does not say.
    fn next(&self) -> Option<String> {
        let endpoints = self.endpoints.lock().unwrap();
        let ready: Vec<_> = endpoints.iter().filter(|endpoint| endpoint.is_ready).collect();
        let all = endpoints.iter().collect();
        let from: Vec<&Endpoint> = if ready.is_empty() { all } else { ready };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        from.get(turn % from.len().max(1)).map(|endpoint| endpoint.base.clone())
    }

    async fn carry(&self, mut caller: TcpStream) {
        let connected = match self.next() {
            Some(base) => TcpStream::connect(base.trim_start_matches("http://")).await.ok(),
            None => None,
        };
        let Some(mut endpoint) = connected else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        caller.set_nodelay(true).unwrap();
        endpoint.set_nodelay(true).unwrap();
        // Whoever breaks it off is seen by the other.
        copy_bidirectional(&mut caller, &mut endpoint).await.ok();
    }

    async fn probe(&self) {
        let bases: Vec<String> =
            self.endpoints.lock().unwrap().iter().map(|endpoint| endpoint.base.clone()).collect();
        for base in bases {
            let answer = http().get(format!("{base}/readyz")).send().await;
            let is_ready = answer.is_ok_and(|answer| answer.status() == 200);
            let mut endpoints = self.endpoints.lock().unwrap();
            for endpoint in endpoints.iter_mut().filter(|endpoint| endpoint.base == base) {
                endpoint.is_ready = is_ready;
            }
        }
    }
}

impl Balancer {
    /// One without endpoints.
    pub async fn start() -> Balancer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        let probing = Arc::clone(&shared);
        tasks.spawn(async move {
            loop {
                probing.probe().await;
                tokio::time::sleep(PROBE_EVERY).await;
            }
        });
        let carrying = Arc::clone(&shared);
        tasks.spawn(async move {
            let mut carried = JoinSet::new();
            loop {
                let (caller, _) = listener.accept().await.unwrap();
                let shared = Arc::clone(&carrying);
                carried.spawn(async move { shared.carry(caller).await });
                while carried.try_join_next().is_some() {}
            }
        });
        Balancer { base, shared, _tasks: tasks }
    }

    /// Adds a process; it gets connections once it is ready.
    pub async fn add(&self, role: &Role) {
        let endpoint = Endpoint { base: role.base.clone(), is_ready: false };
        self.shared.endpoints.lock().unwrap().push(endpoint);
        role.until("in", async || self.is_in(role)).await;
    }

    /// Takes a process out for good, as a Service does when its pod is to end; what is connected
    /// stays so.
    pub fn take_out(&self, role: &Role) {
        self.shared.endpoints.lock().unwrap().retain(|endpoint| endpoint.base != role.base);
    }

    /// Whether a process gets connections.
    pub fn is_in(&self, role: &Role) -> bool {
        let endpoints = self.shared.endpoints.lock().unwrap();
        endpoints.iter().any(|endpoint| endpoint.base == role.base && endpoint.is_ready)
    }

    /// Connections that no endpoint took.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }
}
