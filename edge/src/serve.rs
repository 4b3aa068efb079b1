//! The socket: an accept loop of our own, since the framework's has no timers.
//!
//! Connections have limits in number (in all, and from one address), in patience and in the size
//! of a head. One too many is told 503 and closed. On the way down nothing new is accepted, what
//! is in flight is answered until a deadline, and what is left then is cut. A connection that is
//! kept alive is told so by its next answer: one that was closed without a word would lose a
//! request that is on its way.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::code::Code;
use crate::connection::{BusyBody, NotedBody, Patience, Phase, TimedSocket};
use crate::crowd::{Crowd, Place};
use crate::problem::Problem;
use crate::request::Peer;

/// The limits of the socket. Times are a day at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeSettings {
    /// Connections at once; 4,096. One more is answered 503 and closed.
    pub connections_max: usize,
    /// Connections at once from one address; 1,024. One more is answered 503 and closed.
    pub connections_per_address_max: usize,
    /// Milliseconds from the first byte of a request to the end of its head; 5,000. A new
    /// connection's begin counts as a first byte. Then it is closed.
    pub head_ms_max: u64,
    /// Milliseconds between two requests of a connection; 60,000. Then it is closed.
    pub idle_ms_max: u64,
    /// Milliseconds for which a client may take nothing of its answer; 30,000. Then it is closed.
    pub write_ms_max: u64,
    /// Bytes of a request's head; 32 KiB. One more is 431. Of headers there are at most 100.
    pub head_bytes_max: usize,
    /// Milliseconds for requests in flight when the server stops; 10,000. Then they are cut.
    pub drain_ms_max: u64,
    /// Milliseconds for which a connection without a request may ask a last time when the server
    /// stops, at most half of the time above; 500. Then it is closed.
    pub parting_ms: u64,
}

impl Default for ServeSettings {
    fn default() -> ServeSettings {
        ServeSettings {
            connections_max: 4096,
            connections_per_address_max: 1024,
            head_ms_max: 5000,
            idle_ms_max: 60_000,
            write_ms_max: 30_000,
            head_bytes_max: 32 << 10,
            drain_ms_max: 10_000,
            parting_ms: 500,
        }
    }
}

/// Bytes that a connection buffers of what it reads.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Refused connections that are told so at once; further ones are closed without a word.
const REFUSALS_MAX: usize = 64;
/// How long a refused client may take to read why.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(1);
/// How long a stop waits for one more of those who connected before it.
const BACKLOG_WAIT: Duration = Duration::from_millis(5);
/// Pause after a failed accept, such as with all file descriptors in use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why an address cannot be listened on.
#[derive(Debug, Error)]
#[error("listen on {address}: {source}; {remedy}")]
pub struct BindError {
    /// The address that was asked for.
    pub address: String,
    /// What the system said.
    pub source: io::Error,
    remedy: &'static str,
}

/// Listens on `HOST:PORT`.
///
/// # Errors
/// The address is taken, not allowed, or no address of this machine.
pub async fn bind(address: &str) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| {
        let remedy = match source.kind() {
            io::ErrorKind::AddrInUse => {
                "stop what listens there, or choose another address with --listen"
            }
            io::ErrorKind::PermissionDenied => "choose a port from 1024 up with --listen",
            _ => "choose an address of this machine with --listen, such as 127.0.0.1:8080",
        };
        BindError { address: address.to_owned(), source, remedy }
    })
}

/// How the server went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut at the deadline.
    pub cut: usize,
}

/// Serves until `stop` is cancelled and what was in flight is answered or cut.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: ServeSettings,
    stop: CancellationToken,
) -> Drained {
    let server = Server {
        router,
        settings,
        http: http(&settings),
        crowd: Crowd::new(settings.connections_max, settings.connections_per_address_max),
        refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        tasks: TaskTracker::new(),
        stop: stop.clone(),
        cut: CancellationToken::new(),
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => server.take(socket, peer),
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    server.take_backlog(listener).await;
    server.drain().await
}

fn http(settings: &ServeSettings) -> http1::Builder {
    let mut http = http1::Builder::new();
    // Patience is kept beside the connection, by what knows idle from slow.
    http.header_read_timeout(None)
        .max_header_size(settings.head_bytes_max)
        .max_buf_size(BUFFER_BYTES_MAX.max(settings.head_bytes_max));
    http
}

/// A time that can be added to any moment; nobody waits longer.
fn within_a_day(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds.min(86_400_000))
}

struct Server {
    router: Router,
    settings: ServeSettings,
    http: http1::Builder,
    crowd: Arc<Crowd>,
    refusals: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
    cut: CancellationToken,
}

impl Server {
    fn take(&self, socket: TcpStream, peer: SocketAddr) {
        match self.crowd.enter(peer.ip()) {
            Some(place) => self.answer(socket, peer, place),
            None => self.refuse(socket),
        }
    }

    fn answer(&self, socket: TcpStream, peer: SocketAddr, place: Place) {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "a connection answers with a delay");
        }
        let patience = Patience {
            head: within_a_day(self.settings.head_ms_max),
            idle: within_a_day(self.settings.idle_ms_max),
            write: within_a_day(self.settings.write_ms_max),
        };
        let phase = Phase::new();
        let socket = TokioIo::new(TimedSocket::new(socket, phase.clone(), patience));
        let (router, watched) = (self.router.clone(), phase.clone());
        // Children have a lock of their own, which is taken at each poll.
        let (stop, cut) = (self.stop.child_token(), self.cut.child_token());
        let leaving = stop.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let busy = phase.busy();
            request.extensions_mut().insert(Peer(peer));
            let request = request.map(|body| NotedBody::new(body, phase.clone()));
            let (answer, leaving) = (router.clone().call(request), leaving.clone());
            async move {
                let mut response = answer.await?;
                if leaving.is_cancelled() {
                    let last = HeaderValue::from_static("close");
                    response.headers_mut().insert(CONNECTION, last);
                }
                Ok::<_, Infallible>(response.map(|body| BusyBody::new(body, busy)))
            }
        });
        let connection = self.http.serve_connection(socket, service);
        let parting = self.parting();
        self.tasks.spawn(async move {
            let _place = place;
            let mut connection = std::pin::pin!(connection);
            let mut given_up = std::pin::pin!(async {
                tokio::select! {
                    () = watched.watch(patience) => {}
                    () = cut.cancelled() => {}
                }
            });
            let served = tokio::select! {
                biased;
                served = connection.as_mut() => served,
                () = given_up.as_mut() => return,
                () = async { stop.cancelled().await; sleep(parting).await } => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        biased;
                        served = connection.as_mut() => served,
                        () = given_up => return,
                    }
                }
            };
            if let Err(error) = served {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }

    /// Takes those who connected before the stop, which a closed listener would cut off.
    async fn take_backlog(&self, listener: TcpListener) {
        let until = Instant::now() + self.parting();
        while let Ok(Ok((socket, peer))) = timeout(BACKLOG_WAIT, listener.accept()).await
            && Instant::now() < until
        {
            self.take(socket, peer);
        }
    }

    /// How long a connection without a request is kept when the server stops.
    fn parting(&self) -> Duration {
        within_a_day(self.settings.parting_ms.min(self.settings.drain_ms_max / 2))
    }

    /// Says why and closes. The client's bytes are read and dropped for a moment, since closing
    /// on unread ones would take the answer back.
    fn refuse(&self, mut socket: TcpStream) {
        let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else { return };
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            let tell = async {
                socket.write_all(&refusal()).await?;
                socket.shutdown().await?;
                let mut dropped = [0; 1024];
                while socket.read(&mut dropped).await? > 0 {}
                Ok::<(), io::Error>(())
            };
            tokio::select! {
                told = timeout(REFUSAL_TIME_MAX, tell) => {
                    tracing::debug!(told = matches!(told, Ok(Ok(()))), "refused a connection");
                }
                () = cut.cancelled() => {}
            }
            drop(permit);
        });
    }

    async fn drain(self) -> Drained {
        self.tasks.close();
        let limit = within_a_day(self.settings.drain_ms_max);
        let mut cut = 0;
        if timeout(limit, self.tasks.wait()).await.is_err() {
            cut = self.tasks.len();
            self.cut.cancel();
            self.tasks.wait().await;
        }
        Drained { cut }
    }
}

/// The answer to a connection that has no place.
fn refusal() -> Vec<u8> {
    let id = uuid::Uuid::now_v7().to_string();
    let problem = Problem::new(Code::Overloaded, "too many connections; close some or try again");
    let body = problem.body("", &id);
    let mut answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
         content-length: {}\r\nretry-after: 1\r\nx-request-id: {id}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(&body);
    answer
}
