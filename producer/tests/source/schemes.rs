//! An upstream that comes back another one: with ids of another form, which refuses the old, or
//! with a gap behind the last event that was read. Events count once by their own ids.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::upstream::{STREAM_HEAD, Script, Upstream, many, request};
use crate::world::{World, config, until};

/// Reads 40 events from an upstream with numbers as ids, and stops.
async fn read_before(events: &[String], world: &World) {
    let events = events[..40].to_vec();
    let calm = Script { events, group: 1, is_faulty: false, before: Vec::new() };
    let upstream = Upstream::start(calm, 9).await;
    let process = world.start(config(&upstream.url));
    world.until_distinct(40).await;
    process.stop().await;
}

/// An upstream whose ids are `v2:NUMBER`. It answers 400 to any other id, and begins with event
/// `first` where none is given. Answers its address, and counts refusals.
async fn other(events: Vec<String>, first: usize) -> (String, Arc<AtomicUsize>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let refusals = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refusals);
    let task = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let Ok(head) = request(&mut socket).await else { continue };
            let id = head.lines().find_map(|line| line.strip_prefix("last-event-id: "));
            let start = match id.map(|id| id.strip_prefix("v2:")) {
                None => first,
                Some(Some(number)) => number.parse::<usize>().unwrap() + 1,
                Some(None) => {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let refusal = b"HTTP/1.1 400 What\r\ncontent-length: 0\r\n\r\n";
                    socket.write_all(refusal).await.ok();
                    continue;
                }
            };
            let mut body = STREAM_HEAD.to_owned();
            for (number, data) in events.iter().enumerate().skip(start) {
                body.push_str(&format!("id: v2:{number}\ndata: {data}\n\n"));
            }
            socket.write_all(body.as_bytes()).await.ok();
            // Until the caller goes.
            socket.read_u8().await.ok();
        }
    });
    (url, refusals, task)
}

#[tokio::test]
async fn another_id_scheme_is_read_from_its_beginning_and_each_event_counts_once() {
    let Some(events) = many(100) else { return };
    let world = World::new();
    read_before(&events, &world).await;
    let (url, refusals, task) = other(events, 0).await;
    let process = world.start(config(&url));
    world.until_distinct(100).await;
    assert_eq!(refusals.load(Ordering::SeqCst), 3, "an id is given up after three refusals");
    process.stop().await;
    assert_eq!(world.events().await.0.len(), 100);
    // The next start knows the new ids.
    let process = world.start(config(&url));
    until("a connection", async || process.sample("agon_source_connected ") == 1).await;
    assert_eq!(refusals.load(Ordering::SeqCst), 3);
    process.stop().await;
    task.abort();
}

#[tokio::test]
async fn a_gap_of_the_upstream_is_passed_over_and_reading_goes_on() {
    let Some(events) = many(100) else { return };
    let world = World::new();
    read_before(&events, &world).await;
    let (url, _, task) = other(events, 60).await;
    let process = world.start(config(&url));
    world.until_distinct(80).await;
    process.stop().await;
    let (ids, others) = world.events().await;
    assert_eq!((ids.len(), others), (80, 0));
    task.abort();
}
