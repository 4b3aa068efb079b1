//! The other end: an HTTP server that serves events from an id on and misbehaves by a seed.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
     connection: close\r\n\r\n";

/// Numbers by a seed.
#[derive(Clone)]
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % limit
    }
}

/// The data of the recorded stream's events, when the shared data is beside the project.
pub fn recorded() -> Option<Vec<Value>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = root.join("wikimedia-recentchange/stream.sse");
    let Ok(text) = fs::read_to_string(&path) else {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    };
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    Some(data.map(|data| serde_json::from_str(data).unwrap()).collect())
}

/// The recorded events, repeated under ids of their own until there are so many.
pub fn many(count: usize) -> Option<Vec<String>> {
    let recorded = recorded()?;
    let event = |number: usize| {
        let mut event = recorded[number % recorded.len()].clone();
        if number >= recorded.len() {
            event["meta"]["id"] = Value::String(format!("made-{number}"));
        }
        event.to_string()
    };
    Some((0..count).map(event).collect())
}

/// What a server serves, and how badly.
pub struct Script {
    pub events: Vec<String>,
    /// Events that share an id.
    pub group: usize,
    /// Refuse, cut, repeat and reorder.
    pub is_faulty: bool,
    /// What is sent before the events of the first connection.
    pub before: Vec<u8>,
}

/// A server on loopback.
pub struct Upstream {
    pub url: String,
    pub requests: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    pub async fn start(script: Script, seed: u64) -> Upstream {
        Upstream::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), script, seed)
    }

    pub fn serve(listener: TcpListener, script: Script, seed: u64) -> Upstream {
        let url = format!("http://{}/v2/stream/recentchange", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicU64::new(0));
        let (script, seen) = (Arc::new(script), Arc::clone(&requests));
        let chance = Arc::new(Mutex::new(Chance(seed)));
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let number = seen.fetch_add(1, Ordering::SeqCst);
                let mut chance = chance.lock().unwrap();
                let own = Chance(chance.below(u64::MAX));
                drop(chance);
                // A caller that has gone is no failure of this server.
                let script = Arc::clone(&script);
                tokio::spawn(async move { script.answer(socket, own, number == 0).await.ok() });
            }
        });
        Upstream { url, requests, task }
    }
}

/// The head of a request.
pub async fn request(socket: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    Ok(String::from_utf8(head).unwrap())
}

impl Script {
    async fn answer(
        &self,
        mut socket: TcpStream,
        mut chance: Chance,
        is_first: bool,
    ) -> std::io::Result<()> {
        let head = request(&mut socket).await?;
        assert!(head.contains("user-agent: test/1 (mail@example.org)"), "{head}");
        let end = "content-length: 0\r\n\r\n";
        let refusal = match if self.is_faulty { chance.below(12) } else { 12 } {
            0 => format!("HTTP/1.1 429 Slow\r\nretry-after: 0\r\n{end}"),
            1 => {
                format!("HTTP/1.1 503 Away\r\nretry-after: Fri, 31 Dec 1999 23:59:59 GMT\r\n{end}")
            }
            2 => "HTTP/1.1 204 Nothing\r\n\r\n".to_owned(),
            3 => "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>"
                .to_owned(),
            4 => String::new(),
            _ => self.events_from(&head, &mut chance, is_first, &mut socket).await?,
        };
        socket.write_all(refusal.as_bytes()).await
    }

    /// Sends events from the id of the request on, until it is cut or kept open in silence.
    async fn events_from(
        &self,
        head: &str,
        chance: &mut Chance,
        is_first: bool,
        socket: &mut TcpStream,
    ) -> std::io::Result<String> {
        let id = head.lines().find_map(|line| line.strip_prefix("last-event-id: "));
        let start = id.map_or(0, |id| {
            let id: usize = id.parse().unwrap();
            if self.group == 1 { id + 1 } else { id * self.group }
        });
        let mut body = STREAM_HEAD.as_bytes().to_vec();
        if is_first {
            body.extend_from_slice(&self.before);
        }
        body.extend_from_slice(b"\xef\xbb\xbf: ok\n\nretry: 2\n");
        let repeated = if self.is_faulty { chance.below(20) as usize } else { 0 };
        let mut order: Vec<usize> = (start.saturating_sub(repeated)..self.events.len()).collect();
        for group in order.chunk_by_mut(|a, b| a / self.group == b / self.group) {
            let turn = chance.below(group.len() as u64) as usize;
            group.rotate_left(if self.is_faulty { turn } else { 0 });
        }
        for number in order {
            let end = ["\n", "\r", "\r\n"][chance.below(3) as usize];
            let (id, data) = (number / self.group, &self.events[number]);
            let event = format!("event: message{end}id: {id}{end}data: {data}{end}{end}");
            body.extend_from_slice(event.as_bytes());
            if number % 50 == 7 {
                let canary = r#"{"meta":{"dt":"2025-08-29T00:00:00Z","domain":"canary"}}"#;
                body.extend_from_slice(format!(": hm{end}data: {canary}{end}{end}").as_bytes());
            }
        }
        let cut = 1 + chance.below(120_000) as usize;
        let is_cut = self.is_faulty && cut < body.len();
        for piece in body[..if is_cut { cut } else { body.len() }].chunks(100 + cut % 5000) {
            socket.write_all(piece).await?;
        }
        if !is_cut {
            socket.flush().await?;
            // Until the caller goes.
            socket.read_u8().await?;
        }
        Ok(String::new())
    }
}
