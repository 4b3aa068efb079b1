//! Hostile input and a slow log: memory stays as it is, and good events go on counting.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agon_memory::MemoryLog;
use agon_ports::{Append, Assignment, EventLog, LogReader, PortError};
use agon_schema::{LogId, Position};
use async_trait::async_trait;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::upstream::{STREAM_HEAD, Script, Upstream, many, request};
use crate::world::{World, config, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_events_neither_stop_the_stream_nor_count() {
    let Some(events) = many(30) else { return };
    let mut before = b"data: ".to_vec();
    before.resize(100 << 20, b'x');
    before.extend_from_slice(b"\n\ndata: {\"meta\":\xff\xfe}\n\ndata: ");
    before.resize(before.len() + 500_000, b'[');
    before.extend_from_slice(b"\n\nid: \xff\ndata: [1]\n\nevent: error\ndata: x\n\ndata\n\n");
    let calm = Script { events, group: 1, is_faulty: false, before };
    let upstream = Upstream::start(calm, 8).await;
    let world = World::new();
    let process = world.start(config(&upstream.url));
    world.until_distinct(30).await;
    assert_eq!(process.sample("agon_source_lines_too_long_total "), 1);
    assert_eq!((process.events("appended"), process.events("malformed")), (30, 4));
    process.stop().await;
    assert_eq!(world.events().await.1, 4);
}

/// A log whose appends wait until they are let through.
struct Gated(MemoryLog, Arc<Semaphore>);

#[async_trait]
impl EventLog for Gated {
    fn id(&self) -> LogId {
        self.0.id()
    }

    fn partitions(&self) -> u32 {
        self.0.partitions()
    }

    async fn append(&self, records: Vec<Append>) -> Result<Vec<Position>, PortError> {
        drop(self.1.acquire().await.unwrap());
        self.0.append(records).await
    }

    async fn ends(&self) -> Result<Assignment, PortError> {
        self.0.ends().await
    }

    async fn read(&self, from: Assignment) -> Result<Box<dyn LogReader>, PortError> {
        self.0.read(from).await
    }
}

/// Sends events as fast as they are taken, for ever; counts their bytes.
async fn flood(listener: TcpListener, event: String, sent: Arc<AtomicU64>) -> io::Result<()> {
    let (mut socket, _) = listener.accept().await?;
    request(&mut socket).await?;
    socket.write_all(STREAM_HEAD.as_bytes()).await?;
    for number in 0_u64.. {
        let event = event.replace("NUMBER", &number.to_string());
        let text = format!("id: {number}\ndata: {event}\n\n");
        socket.write_all(text.as_bytes()).await?;
        sent.fetch_add(text.len() as u64, Ordering::SeqCst);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_away_stops_the_reading_of_the_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let title = "t".repeat(1000);
    let event =
        format!(r#"{{"meta":{{"id":"NUMBER","dt":"2025-08-29T00:00:00Z"}},"title":"{title}"}}"#);
    let sent = Arc::new(AtomicU64::new(0));
    let flood = tokio::spawn(flood(listener, event, Arc::clone(&sent)));
    let world = World::new();
    let gate = Arc::new(Semaphore::new(0));
    let log = Arc::new(Gated(world.log.clone(), Arc::clone(&gate)));
    let process = world.start_over(log, config(&url));
    // The server is stuck when nothing more can be written: buffers on the way are full. What they
    // hold depends on the system; what this process holds is a few batches.
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = sent.load(Ordering::SeqCst);
        assert!(now < 64 << 20, "{now} bytes were taken while the log took none");
        if now > 0 && now == before {
            break;
        }
        before = now;
    }
    assert!(world.events().await.0.is_empty());
    assert!(process.sample("agon_intake_queue_records ") <= 1024);
    gate.add_permits(1);
    until("the rest", async || sent.load(Ordering::SeqCst) > before + (16 << 20)).await;
    flood.abort();
    process.stop().await;
}
