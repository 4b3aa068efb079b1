//! The server over real sockets: patience, limits in number, and the way down.

use std::net::SocketAddr;
use std::time::Duration;

use agon_edge::{Drained, ServeSettings, bind, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::site::Site;

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Drained>,
    _site: Site,
}

impl Server {
    async fn start(settings: ServeSettings) -> Server {
        let site = Site::new().await;
        let listener = bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, site.router.clone(), settings, stop.clone()));
        Server { address, stop, task, _site: site }
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends all of it on a connection of its own and returns all that comes.
    async fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        client.send(request).await;
        client.rest().await
    }

    async fn get_open(&self) -> String {
        self.exchange("GET /open HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await
    }

    async fn stop(self) -> Drained {
        self.stop.cancel();
        self.task.await.unwrap()
    }
}

struct Client(TcpStream);

const GET: &str = "GET /open HTTP/1.1\r\nhost: x\r\n\r\n";

impl Client {
    /// What the other side has closed takes nothing more, which the answer will show.
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref()).await;
    }

    /// One answer of `/open`, whose body is the word.
    async fn answer(&mut self) -> String {
        let mut text = String::new();
        let mut byte = [0];
        while !text.ends_with("\r\n\r\nopen") {
            assert_eq!(self.0.read(&mut byte).await.unwrap(), 1, "closed after {text:?}");
            text.push(char::from(byte[0]));
        }
        text
    }

    /// Everything until the other side closes.
    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        // A reset after the answer is an end like another.
        let _ = self.0.read_to_end(&mut bytes).await;
        String::from_utf8(bytes).unwrap()
    }
}

fn quick() -> ServeSettings {
    ServeSettings { head_ms_max: 150, idle_ms_max: 150, write_ms_max: 150, ..Default::default() }
}

#[tokio::test]
async fn a_connection_answers_many_requests_and_outlives_a_pause() {
    let settings = ServeSettings { head_ms_max: 50, ..ServeSettings::default() };
    let server = Server::start(settings).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.send(GET).await;
        let answer = client.answer().await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\r\nx-request-id: "), "{answer}");
        // Longer than a head may take: between requests another limit holds.
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    client.send(GET.repeat(2)).await;
    client.answer().await;
    client.answer().await;
    assert_eq!(server.stop().await, Drained { cut: 0 });
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_closed_while_others_are_served() {
    let server = Server::start(quick()).await;
    let mut silent = server.connect().await;
    let mut slow = server.connect().await;
    let trickle = async {
        slow.send("GET /open HTTP/1.1\r\nhost: x\r\n").await;
        let (mut reader, mut writer) = slow.0.split();
        let write = async {
            while writer.write_all(b"a: b\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let mut byte = [0];
        tokio::select! {
            () = write => 0,
            read = reader.read(&mut byte) => read.unwrap_or(0),
        }
    };
    assert_eq!(trickle.await, 0, "closed without an answer");
    assert_eq!(silent.rest().await, "");
    assert!(server.get_open().await.starts_with("HTTP/1.1 200"));
    let mut idle = server.connect().await;
    idle.send(GET).await;
    idle.answer().await;
    assert_eq!(idle.rest().await, "");
    assert_eq!(server.stop().await, Drained { cut: 0 });
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_connection() {
    let settings = ServeSettings { connections_max: 1, ..quick() };
    let server = Server::start(settings).await;
    let mut deaf = server.connect().await;
    deaf.send("GET /api/v1/flood HTTP/1.1\r\nhost: x\r\n\r\n").await;
    while !server.get_open().await.starts_with("HTTP/1.1 200") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.stop().await, Drained { cut: 0 });
}

#[tokio::test]
async fn heads_over_their_limits_are_431() {
    let server = Server::start(ServeSettings::default()).await;
    let huge = format!("GET /open HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "b".repeat(64 << 10));
    let many = format!("GET /open HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(101));
    for request in [huge, many] {
        let answer = server.exchange(request).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let path =
        format!("GET /{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "a".repeat(16384));
    let answer = server.exchange(path).await;
    assert!(answer.starts_with("HTTP/1.1 404 ") || answer.starts_with("HTTP/1.1 414 "), "{answer}");
}

#[tokio::test]
async fn requests_that_could_be_read_in_two_ways_are_400() {
    let server = Server::start(ServeSettings::default()).await;
    for head in [
        "",
        "host: x\r\nhost: y\r\n",
        "host: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n",
        "host: x\r\ncontent-length: -1\r\n",
        "host: x\r\ntransfer-encoding: gzip\r\n",
        "host: x\r\na: b\r\n folded: c\r\n",
        "host: x\r\na : b\r\n",
    ] {
        let request = format!("POST /echo HTTP/1.1\r\n{head}connection: close\r\n\r\n{{}}");
        let answer = server.exchange(request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer}");
    }
    // Chunked wins over a length, and nothing of the body is taken for a second request.
    let both = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 4\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
                c\r\n{\"name\":\"a\"}\r\n0\r\n\r\nGET /open HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = server.exchange(both).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn bodies_over_the_limit_and_bodies_that_do_not_come() {
    let server = Server::start(ServeSettings::default()).await;
    let head = "host: x\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let announced = format!("POST /echo HTTP/1.1\r\n{head}content-length: 1048577\r\n\r\n");
    let answer = server.exchange(announced).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    // Who sends everything before looking at the answer still finds it.
    let mut eager = server.connect().await;
    let bytes = 8 << 20;
    eager.send(format!("POST /echo HTTP/1.1\r\n{head}content-length: {bytes}\r\n\r\n")).await;
    for _ in 0..8 {
        eager.send(" ".repeat(bytes / 8)).await;
    }
    let answer = eager.rest().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    let mut endless = server.connect().await;
    endless.send(format!("POST /echo HTTP/1.1\r\n{head}transfer-encoding: chunked\r\n\r\n")).await;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..17 {
        endless.send(&chunk).await;
    }
    let answer = endless.rest().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    for framing in ["content-length: 50", "transfer-encoding: chunked"] {
        let stalled = format!("POST /api/v1/stalled HTTP/1.1\r\n{head}{framing}\r\n\r\n");
        let answer = server.exchange(stalled).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("\"code\":\"body_too_slow\""), "{answer}");
    }
    assert!(server.get_open().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn one_connection_too_many_is_503_and_its_place_comes_back() {
    for settings in [
        ServeSettings { connections_max: 2, ..ServeSettings::default() },
        ServeSettings { connections_per_address_max: 2, ..ServeSettings::default() },
    ] {
        let server = Server::start(settings).await;
        let mut held = [server.connect().await, server.connect().await];
        for client in &mut held {
            client.send(GET).await;
            client.answer().await;
        }
        let refused = server.get_open().await;
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
        assert!(refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
        assert!(refused.contains("\r\nx-request-id: "), "{refused}");
        assert!(refused.contains("\"code\":\"overloaded\""), "{refused}");
        drop(held);
        while !server.get_open().await.starts_with("HTTP/1.1 200") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn on_the_way_down_what_is_in_flight_is_answered() {
    let server = Server::start(ServeSettings::default()).await;
    let mut idle = server.connect().await;
    idle.send(GET).await;
    idle.answer().await;
    let mut busy = server.connect().await;
    busy.send("GET /api/v1/wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let address = server.address;
    server.stop.cancel();
    let answer = busy.rest().await;
    assert!(answer.ends_with("waited"), "{answer}");
    assert_eq!(idle.rest().await, "");
    assert_eq!(server.stop().await, Drained { cut: 0 });
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn on_the_way_down_a_kept_connection_is_told_so_by_its_last_answer() {
    let settings =
        ServeSettings { parting_ms: 30_000, drain_ms_max: 60_000, ..ServeSettings::default() };
    let server = Server::start(settings).await;
    let mut kept = server.connect().await;
    kept.send(GET).await;
    let answer = kept.answer().await;
    assert!(!answer.contains("connection: close"), "{answer}");
    // In the queue of the socket, perhaps not taken yet.
    let mut late = server.connect().await;
    server.stop.cancel();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for client in [&mut kept, &mut late] {
        client.send(GET).await;
        let answer = client.rest().await;
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert!(answer.ends_with("open"), "{answer}");
    }
    assert_eq!(server.stop().await, Drained { cut: 0 });
}

#[tokio::test]
async fn what_is_not_done_at_the_deadline_is_cut() {
    let settings = ServeSettings { drain_ms_max: 50, ..ServeSettings::default() };
    let server = Server::start(settings).await;
    let mut busy = server.connect().await;
    busy.send("GET /api/v1/wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.stop().await, Drained { cut: 1 });
    assert_eq!(busy.rest().await, "");
}

#[tokio::test]
async fn an_address_in_use_is_named_with_its_remedy() {
    let held = bind("127.0.0.1:0").await.unwrap();
    let address = held.local_addr().unwrap().to_string();
    let error = bind(&address).await.unwrap_err().to_string();
    assert!(error.contains(&address) && error.contains("--listen"), "{error}");
    for address in ["nowhere", "127.0.0.1:99999", "192.0.2.1:80"] {
        let error = bind(address).await.unwrap_err().to_string();
        assert!(error.contains(address) && error.contains("--listen"), "{error}");
    }
}
