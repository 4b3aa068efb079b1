//! `--source`: wrong use is named, an upstream that is away is waited for while everything works.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Server, expect, http, stderr};

#[test]
fn wrong_use_is_named() {
    let said = |args: &[&str]| stderr(&expect(2, &[&["serve"], args].concat()));
    assert!(said(&["--source", "wikipedia"]).contains("possible values: wikimedia"));
    for url in ["stream", "ftp://host/stream"] {
        let said = said(&["--source", "wikimedia", "--source-url", url]);
        assert!(said.contains(url) && said.contains("https://HOST/PATH"), "{said}");
    }
    let said = said(&["--source", "wikimedia", "--source-user-agent", "a\nb"]);
    assert!(said.contains("NAME/VERSION (CONTACT)"), "{said}");
}

#[tokio::test]
async fn an_upstream_that_is_away_is_waited_for_and_the_server_is_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/stream", listener.local_addr().unwrap());
    drop(listener);
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--source", "wikimedia", "--source-url", &url]);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = http().get(format!("{}/readyz", server.base)).send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        // Not ready means here that the server still folds what it found at its start.
        let checks = body["checks"].as_array().cloned().unwrap_or_default();
        let is_named = |check: &&Value| {
            check["name"] == "source" && check["detail"].as_str().unwrap().contains(&url)
        };
        if let (200, Some(source)) = (status, checks.iter().find(is_named)) {
            assert_eq!(&body["ready"], &true);
            assert_eq!((&source["ok"], &source["required"]), (&false.into(), &false.into()));
            break;
        }
        assert!(Instant::now() < deadline, "{status}: {body}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let metrics = http().get(&server.metrics).send().await.unwrap().text().await.unwrap();
    for series in [
        "agon_source_events_total{result=\"appended\"} 0",
        "agon_source_lines_too_long_total 0",
        "agon_source_connected 0",
        "agon_source_last_event_seconds 0",
        "agon_source_reconnects_total ",
        "agon_check_ok{check=\"source\",required=\"false\"} 0",
        "agon_ready 1",
    ] {
        assert!(metrics.contains(series), "{series}");
    }
}
