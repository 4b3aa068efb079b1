//! Serves recorded events from the last id on, and refuses, cuts and repeats by count.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Bytes after which a connection is cut: somewhere in an event.
const CUT_BYTES: usize = 1_500_001;
/// Every so many requests one is refused.
const REFUSED_EVERY: usize = 4;
/// Events before the asked one that come again.
const REPEATED: usize = 20;

/// Serves until it is dropped.
pub struct Replay {
    pub url: String,
    task: JoinHandle<()>,
}

impl Replay {
    /// Serves these, each the data of one event; its id is its number.
    pub async fn start(events: Vec<String>) -> Replay {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/stream", listener.local_addr().unwrap());
        let (events, requests) = (Arc::new(events), AtomicUsize::new(0));
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let is_refused = requests.fetch_add(1, Ordering::SeqCst) % REFUSED_EVERY == 1;
                // A caller that has gone is no failure of this server.
                let events = Arc::clone(&events);
                tokio::spawn(async move { answer(socket, &events, is_refused).await.ok() });
            }
        });
        Replay { url, task }
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut socket: TcpStream, events: &[String], is_refused: bool) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    if is_refused {
        let away = b"HTTP/1.1 503 Away\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n";
        return socket.write_all(away).await;
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let last = head.lines().find_map(|line| line.strip_prefix("last-event-id: "));
    let start = last.map_or(0, |id| id.parse::<usize>().unwrap()).saturating_sub(REPEATED);
    let mut body = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
         connection: close\r\n\r\n:ok\n\n"
        .to_owned();
    for (number, event) in events.iter().enumerate().skip(start) {
        body.push_str(&format!("event: message\nid: {number}\ndata: {event}\n\n"));
    }
    let is_cut = body.len() > CUT_BYTES;
    socket.write_all(&body.as_bytes()[..body.len().min(CUT_BYTES)]).await?;
    if !is_cut {
        // Silence, until the caller goes.
        socket.read_u8().await?;
    }
    Ok(())
}
