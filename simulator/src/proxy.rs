//! A TCP proxy that does on command what networks do unasked: cuts, refuses, delays, delivers a
//! request and loses the reply.
//!
//! Bytes are not understood, so one proxy serves Kafka and CQL alike. Bounded: at most
//! [`CONNECTIONS_MAX`] connections with two buffers each; a further one is closed at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Connections at once.
pub const CONNECTIONS_MAX: usize = 1024;
/// Bytes that are carried at once.
const BUFFER_BYTES: usize = 16 << 10;
/// Between attempts to listen again after refusing.
const BIND_AGAIN: Duration = Duration::from_millis(20);

/// What happens to the bytes of every connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// All is carried.
    #[default]
    Clear,
    /// Nobody listens; whoever was connected is cut.
    Refuse,
    /// Requests are delivered, replies vanish; connections are cut when this ends, for their
    /// streams have a hole.
    ReplyLost,
    /// Every piece waits so long before it is carried, in both directions.
    Delay {
        /// The wait.
        ms: u64,
    },
    /// Each connection is cut after so many more bytes of requests, be it inside one.
    CutAfter {
        /// How many are still delivered.
        bytes: u64,
    },
}

/// What a proxy is told; connections follow it.
#[derive(Clone, Copy, Debug, Default)]
struct Orders {
    condition: Condition,
    /// Bytes vanish in both directions, whatever the condition is.
    is_silent: bool,
    /// Raised to cut every connection that is open.
    cuts: u64,
}

/// What went through since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Connections that were accepted.
    pub connections: u64,
    /// Bytes that reached the server.
    pub request_bytes: u64,
    /// Bytes that reached a client.
    pub reply_bytes: u64,
    /// Bytes that vanished, of replies or while it was silent.
    pub lost_bytes: u64,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    request_bytes: AtomicU64,
    reply_bytes: AtomicU64,
    lost_bytes: AtomicU64,
}

/// A listening proxy; dropped, it closes everything.
#[derive(Debug)]
pub struct Proxy {
    listen: SocketAddr,
    orders: watch::Sender<Orders>,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens, and carries every connection to `target`.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(listen: SocketAddr, target: SocketAddr) -> io::Result<Proxy> {
        let listener = TcpListener::bind(listen).await?;
        let listen = listener.local_addr()?;
        let (orders, receiver) = watch::channel(Orders::default());
        let counters = Arc::new(Counters::default());
        let task = tokio::spawn(serve(listener, listen, target, receiver, counters.clone()));
        Ok(Proxy { listen, orders, counters, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Changes what happens from now on.
    pub fn set(&self, condition: Condition) {
        self.orders.send_modify(|orders| {
            let torn = orders.condition == Condition::ReplyLost;
            orders.cuts += u64::from(torn || condition == Condition::Refuse);
            orders.condition = condition;
        });
    }

    /// Makes bytes vanish in both directions, as a network does that was torn: who is connected, or
    /// connects now, hears nothing. Connections are cut when this ends, for their streams have a
    /// hole. It stands beside the condition and outlives its changes.
    pub fn silence(&self, is_silent: bool) {
        self.orders.send_modify(|orders| {
            orders.cuts += u64::from(orders.is_silent && !is_silent);
            orders.is_silent = is_silent;
        });
    }

    /// Cuts every open connection; new ones are accepted as before.
    pub fn cut(&self) {
        self.orders.send_modify(|orders| orders.cuts += 1);
    }

    /// What went through so far.
    pub fn carried(&self) -> Carried {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Carried {
            connections: of(&self.counters.connections),
            request_bytes: of(&self.counters.request_bytes),
            reply_bytes: of(&self.counters.reply_bytes),
            lost_bytes: of(&self.counters.lost_bytes),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts until dropped; while nobody is to be let in, the socket itself is closed.
async fn serve(
    listener: TcpListener,
    listen: SocketAddr,
    target: SocketAddr,
    mut orders: watch::Receiver<Orders>,
    counters: Arc<Counters>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        let now = *orders.borrow_and_update();
        if now.condition == Condition::Refuse {
            listener = None;
            if orders.changed().await.is_err() {
                return;
            }
            continue;
        }
        let Some(open) = &listener else {
            listener = TcpListener::bind(listen).await.ok();
            if listener.is_none() {
                tokio::time::sleep(BIND_AGAIN).await;
            }
            continue;
        };
        tokio::select! {
            changed = orders.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next() => {}
            accepted = open.accept() => {
                let Ok((client, _)) = accepted else { continue };
                counters.connections.fetch_add(1, Ordering::Relaxed);
                if connections.len() < CONNECTIONS_MAX {
                    let carry = carry(client, target, now.cuts, orders.clone(), counters.clone());
                    connections.spawn(carry);
                }
            }
        }
    }
}

/// Carries one connection until an end closes or it is cut.
async fn carry(
    client: TcpStream,
    target: SocketAddr,
    cuts: u64,
    mut orders: watch::Receiver<Orders>,
    counters: Arc<Counters>,
) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    // Small requests are not to wait for each other here.
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let requests = requests(from_client, to_server, orders.clone(), &counters);
    let replies = replies(from_server, to_client, orders.clone(), &counters);
    tokio::select! {
        () = requests => {}
        () = replies => {}
        _ = orders.wait_for(|now| now.cuts != cuts) => {}
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut orders: watch::Receiver<Orders>,
    counters: &Counters,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut condition = orders.borrow_and_update().condition;
    let mut left = bytes_left(condition);
    loop {
        let read = tokio::select! {
            changed = orders.changed() => {
                if changed.is_err() {
                    return;
                }
                condition = orders.borrow_and_update().condition;
                left = bytes_left(condition);
                continue;
            }
            read = from.read(&mut buffer) => read.unwrap_or(0),
        };
        // Asked now: the order may have come with the bytes.
        if orders.borrow().is_silent && read > 0 {
            counters.lost_bytes.fetch_add(read as u64, Ordering::Relaxed);
            continue;
        }
        wait(condition).await;
        let allowed = read.min(usize::try_from(left).unwrap_or(usize::MAX));
        if read == 0 || to.write_all(&buffer[..allowed]).await.is_err() {
            return;
        }
        counters.request_bytes.fetch_add(allowed as u64, Ordering::Relaxed);
        if allowed < read {
            return;
        }
        left = left.saturating_sub(read as u64);
    }
}

async fn replies(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut orders: watch::Receiver<Orders>,
    counters: &Counters,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        let Orders { condition, is_silent, .. } = *orders.borrow_and_update();
        if is_silent || condition == Condition::ReplyLost {
            counters.lost_bytes.fetch_add(read as u64, Ordering::Relaxed);
            continue;
        }
        wait(condition).await;
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        counters.reply_bytes.fetch_add(read as u64, Ordering::Relaxed);
    }
}

fn bytes_left(condition: Condition) -> u64 {
    match condition {
        Condition::CutAfter { bytes } => bytes,
        _ => u64::MAX,
    }
}

async fn wait(condition: Condition) {
    if let Condition::Delay { ms } = condition {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}
