//! Cuts, refusals, repetitions, restarts: distinct events in are distinct events in the log.

use std::sync::atomic::Ordering;

use agon_ports::ControlStore;
use tokio::net::TcpListener;

use crate::upstream::{Script, Upstream, many, request};
use crate::world::{World, config, until};

fn script(events: &[String], group: usize) -> Script {
    Script { events: events.to_vec(), group, is_faulty: true, before: Vec::new() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cut_refused_repeated_and_reordered_counts_once() {
    let Some(events) = many(600) else { return };
    for (seed, group) in [(1, 1), (2, 7), (3, 1), (4, 7)] {
        let upstream = Upstream::start(script(&events, group), seed).await;
        let world = World::new();
        let process = world.start(config(&upstream.url));
        until("all events", async || process.events("appended") >= 600).await;
        assert_eq!(process.events("appended"), 600, "seed {seed}");
        assert_eq!(process.events("malformed") + process.events("conflict"), 0, "seed {seed}");
        assert!(process.events("duplicate") > 0 && process.events("canary") > 0, "seed {seed}");
        assert!(process.sample("agon_source_last_event_seconds ") > 1_700_000_000);
        let requests = upstream.requests.load(Ordering::SeqCst);
        assert!(requests > 3, "seed {seed}: {requests}");
        let reconnects = process.sample("agon_source_reconnects_total ");
        assert!(reconnects + 1 >= requests, "seed {seed}: {reconnects}");
        process.stop().await;
        let (ids, others) = world.events().await;
        assert_eq!((ids.len(), others), (600, 0), "seed {seed}");
    }
}

/// Each life ends without a word while events are on their way; nothing of it is waited for.
#[test]
fn a_killed_process_resumes_and_skips_nothing() {
    let Some(events) = many(1500) else { return };
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let servers = runtime();
    for (seed, group) in [(11, 1), (12, 7)] {
        let upstream = servers.block_on(Upstream::start(script(&events, group), seed));
        let world = World::new();
        for count in [300, 700, 1100] {
            let life = runtime();
            let process = life.block_on(async {
                let process = world.start(config(&upstream.url));
                world.until_distinct(count).await;
                if count == 1100 {
                    let control = world.control.clone();
                    let is_kept = async || !control.list("source/").await.unwrap().is_empty();
                    until("a kept id", is_kept).await;
                }
                process
            });
            life.shutdown_background();
            drop(process);
        }
        servers.block_on(async {
            let process = world.start(config(&upstream.url));
            world.until_distinct(events.len()).await;
            process.stop().await;
            let (ids, others) = world.events().await;
            assert_eq!((ids.len(), others), (1500, 0), "seed {seed}");
        });
    }
}

#[tokio::test]
async fn a_stop_keeps_the_place_and_the_next_start_asks_for_what_is_behind_it() {
    let Some(events) = many(40) else { return };
    let mut calm = script(&events, 1);
    calm.is_faulty = false;
    let upstream = Upstream::start(calm, 5).await;
    let world = World::new();
    let process = world.start(config(&upstream.url));
    world.until_distinct(40).await;
    process.stop().await;
    let kept = world.control.list("source/wikimedia/").await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].1.value, b"39");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let process = world.start(config(&url));
    let (mut socket, _) = listener.accept().await.unwrap();
    let head = request(&mut socket).await.unwrap();
    assert!(head.contains("\r\nlast-event-id: 39\r\n"), "{head}");
    assert!(head.contains("\r\naccept: text/event-stream\r\n"), "{head}");
    process.stop().await;
}

#[tokio::test]
async fn an_upstream_that_is_gone_is_waited_for_and_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let world = World::new();
    let process = world.start(config(&format!("http://{address}/stream")));
    let reconnects = async || process.sample("agon_source_reconnects_total ") > 5;
    until("attempts", reconnects).await;
    let reason = process.standing.get().unwrap_err();
    assert!(reason.contains(&address.to_string()), "{reason}");
    assert_eq!(process.sample("agon_source_connected "), 0);
    let Some(events) = many(20) else { return };
    // It is back, at its old address.
    let listener = TcpListener::bind(address).await.unwrap();
    let calm = Script { events, group: 1, is_faulty: false, before: Vec::new() };
    let _upstream = Upstream::serve(listener, calm, 6);
    world.until_distinct(20).await;
    assert!(process.standing.get().unwrap().starts_with("reads http://"));
    process.stop().await;
}

#[tokio::test]
async fn silence_ends_a_connection() {
    let Some(events) = many(10) else { return };
    let calm = Script { events, group: 1, is_faulty: false, before: Vec::new() };
    let upstream = Upstream::start(calm, 7).await;
    let mut config = config(&upstream.url);
    config.silence_ms_max = 50;
    let world = World::new();
    let process = world.start(config);
    let is_back = async || upstream.requests.load(Ordering::SeqCst) > 2;
    until("another request", is_back).await;
    assert_eq!(world.events().await.0.len(), 10);
    process.stop().await;
}

#[test]
fn addresses_that_are_none_are_refused() {
    for url in ["", "stream", "ftp://host/stream", "http://", "https://me:secret@host/"] {
        let error = agon_producer::source::address(url).unwrap_err().to_string();
        assert!(error.contains("https://HOST/PATH"), "{error}");
    }
}
