//! Every condition of the proxy, before a server that answers each byte with itself.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agon_simulator::proxy::{Condition, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longer than anything takes here; what does not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that echoes, with the count of the bytes that reached it.
async fn echo() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let received = Arc::new(AtomicU64::new(0));
    let counter = received.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let counter = counter.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    counter.fetch_add(read as u64, Ordering::SeqCst);
                    if stream.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, received)
}

async fn proxy() -> (Proxy, Arc<AtomicU64>) {
    let (target, received) = echo().await;
    (Proxy::start("127.0.0.1:0".parse().unwrap(), target).await.unwrap(), received)
}

async fn client(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

/// Sends and reads back; none when the connection ended instead.
async fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> Option<Vec<u8>> {
    stream.write_all(bytes).await.ok()?;
    let mut answer = vec![0; bytes.len()];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap();
    read.ok().map(|_| answer)
}

/// Whether the other side closed, without another byte.
async fn is_cut(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 1];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap();
    !matches!(read, Ok(1))
}

async fn until(what: impl Fn() -> bool) {
    let waited = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap();
}

#[tokio::test]
async fn what_is_sent_is_carried_whole_and_counted() {
    let (proxy, _) = proxy().await;
    let mut stream = client(&proxy).await;
    let large: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    for piece in large.chunks(2_000) {
        assert_eq!(exchange(&mut stream, piece).await.unwrap(), piece);
    }
    until(|| proxy.carried().reply_bytes == 100_000).await;
    let carried = proxy.carried();
    assert_eq!((carried.connections, carried.request_bytes, carried.lost_bytes), (1, 100_000, 0));
}

#[tokio::test]
async fn a_cut_ends_all_connections_and_lets_new_ones_in() {
    let (proxy, _) = proxy().await;
    let (mut one, mut two) = (client(&proxy).await, client(&proxy).await);
    assert!(exchange(&mut one, b"a").await.is_some() && exchange(&mut two, b"b").await.is_some());
    proxy.cut();
    assert!(is_cut(&mut one).await && is_cut(&mut two).await);
    assert!(exchange(&mut client(&proxy).await, b"c").await.is_some());
}

#[tokio::test]
async fn refusing_closes_the_door_and_clearing_opens_it() {
    let (proxy, _) = proxy().await;
    let mut before = client(&proxy).await;
    assert!(exchange(&mut before, b"a").await.is_some());
    proxy.set(Condition::Refuse);
    assert!(is_cut(&mut before).await);
    let refused = async {
        while let Ok(mut stream) = TcpStream::connect(proxy.address()).await {
            assert!(is_cut(&mut stream).await);
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.unwrap();
    proxy.set(Condition::Clear);
    let again = async {
        loop {
            if let Ok(stream) = TcpStream::connect(proxy.address()).await {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let mut stream = tokio::time::timeout(PATIENCE, again).await.unwrap();
    assert!(exchange(&mut stream, b"b").await.is_some());
}

#[tokio::test]
async fn a_lost_reply_is_of_a_request_that_arrived() {
    let (proxy, received) = proxy().await;
    let mut stream = client(&proxy).await;
    assert!(exchange(&mut stream, b"a").await.is_some());
    proxy.set(Condition::ReplyLost);
    stream.write_all(b"request").await.unwrap();
    until(|| proxy.carried().lost_bytes == 7).await;
    assert_eq!(received.load(Ordering::SeqCst), 8);
    proxy.set(Condition::Clear);
    assert!(is_cut(&mut stream).await, "a stream with a hole is not carried on");
    assert!(exchange(&mut client(&proxy).await, b"b").await.is_some());
}

#[tokio::test]
async fn silence_carries_nothing_either_way_and_outlives_a_condition() {
    let (proxy, received) = proxy().await;
    let mut before = client(&proxy).await;
    assert!(exchange(&mut before, b"a").await.is_some());
    proxy.silence(true);
    before.write_all(b"request").await.unwrap();
    let mut during = client(&proxy).await;
    during.write_all(b"more").await.unwrap();
    until(|| proxy.carried().lost_bytes == 11).await;
    proxy.set(Condition::Delay { ms: 1 });
    proxy.set(Condition::Clear);
    before.write_all(b"!").await.unwrap();
    until(|| proxy.carried().lost_bytes == 12).await;
    assert_eq!(received.load(Ordering::SeqCst), 1);
    proxy.silence(false);
    assert!(is_cut(&mut before).await && is_cut(&mut during).await);
    assert!(exchange(&mut client(&proxy).await, b"b").await.is_some());
}

#[tokio::test]
async fn a_delay_holds_back_both_ways() {
    let (proxy, _) = proxy().await;
    let mut stream = client(&proxy).await;
    assert!(exchange(&mut stream, b"a").await.is_some());
    proxy.set(Condition::Delay { ms: 60 });
    let start = Instant::now();
    assert!(exchange(&mut stream, b"b").await.is_some());
    // At least, never at most: a busy machine may take longer.
    assert!(start.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn a_connection_is_cut_inside_a_request() {
    let (proxy, received) = proxy().await;
    proxy.set(Condition::CutAfter { bytes: 10 });
    let mut stream = client(&proxy).await;
    assert!(exchange(&mut stream, b"12345").await.is_some());
    stream.write_all(b"67890XYZ").await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().ok();
    until(|| received.load(Ordering::SeqCst) == 10).await;
    assert_eq!(proxy.carried().request_bytes, 10);
    proxy.set(Condition::Clear);
    assert!(exchange(&mut client(&proxy).await, b"more than ten bytes").await.is_some());
}
