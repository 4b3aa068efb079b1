//! A live stream read into the log, beside bare readers of the same stream from the same server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agon_memory::{MemoryControl, SystemClock};
use agon_ports::EventLog;
use agon_producer::source::{Source, SourceConfig};
use agon_producer::{Intake, IntakeConfig, View};
use prometheus::{Registry, TextEncoder};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::behind::gauge;
use super::child::{Server, add_user};
use super::deployment::{self, Deployment, PATIENCE};
use super::http::client;
use super::{Scratch, append, median, replay, report};
use crate::cli::BenchSource;
use crate::exit::Exit;
use crate::output;

/// How often it is looked whether all is acknowledged.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Bytes of a bare reader's buffer.
const BUFFER_BYTES: usize = 256 << 10;
const APPENDED: &str = "agon_source_events_total{result=\"appended\"}";
const INTO_LOG: &str = "source, into the embedded log";

/// Events a second of each side, a figure a round.
#[derive(Default)]
struct Sides {
    bytes: Vec<f64>,
    json: Vec<f64>,
    embedded: Vec<f64>,
    kafka: Vec<f64>,
    served: Vec<f64>,
}

/// Measures all sides in turn and prints them with their ratios.
///
/// # Errors
/// When a server does not start or is away, or an event is not appended.
pub async fn run(options: &BenchSource) -> Result<(), Exit> {
    let events = options.run.events;
    let kafka = match &options.log {
        Some(log) => Some(Deployment::make(log, None).await?),
        None => None,
    };
    let upstream = Server::start(&["bench", "replay", &events.to_string()])?;
    let per_s = |took_s: f64| events as f64 / took_s;
    let (mut sides, mut stream_bytes, mut memory) = (Sides::default(), 0, None);
    for _ in 0..options.run.rounds {
        let started = Instant::now();
        stream_bytes = read(&upstream.address, |_| Ok(())).await?;
        sides.bytes.push(per_s(started.elapsed().as_secs_f64()));
        let started = Instant::now();
        parse(&upstream.address, events).await?;
        sides.json.push(per_s(started.elapsed().as_secs_f64()));
        let scratch = Scratch::new("source")?;
        let log = Arc::new(append::open(scratch.path())?);
        sides.embedded.push(per_s(append_all(&upstream, events, log).await?));
        if let Some(kafka) = &kafka {
            let log = Arc::clone(&kafka.log);
            sides.kafka.push(per_s(append_all(&upstream, events, log).await?));
        }
        let (took_s, taken) = serve(&upstream, events, &scratch).await?;
        sides.served.push(per_s(took_s));
        memory = Some(taken);
    }
    print(&sides, events, stream_bytes, kafka.is_some())?;
    memory.map_or(Ok(()), output::line)
}

fn print(sides: &Sides, events: u64, stream_bytes: u64, on_kafka: bool) -> Result<(), Exit> {
    let event_bytes = stream_bytes as f64 / events as f64;
    let mb_per_s = |per_s: &[f64]| median(per_s) * event_bytes / 1e6;
    output::line(format_args!(
        "{events} recent changes of {event_bytes:.0} bytes as server-sent events; the source \
         takes {:.0} MB/s, a bare reader {:.0} MB/s",
        mb_per_s(&sides.embedded),
        mb_per_s(&sides.bytes)
    ))?;
    report(INTO_LOG, &sides.embedded, "bare reader of the bytes", &sides.bytes, "events")?;
    let parsing = "bare reader that splits and parses JSON";
    report(INTO_LOG, &sides.embedded, parsing, &sides.json, "events")?;
    if on_kafka {
        report("source, into Kafka", &sides.kafka, parsing, &sides.json, "events")?;
    }
    report("agon serve, which folds too", &sides.served, INTO_LOG, &sides.embedded, "events")
}

/// Reads the stream to its end and answers its bytes; `each` gets them as they come.
async fn read(address: &str, mut each: impl FnMut(&[u8]) -> Result<(), Exit>) -> Result<u64, Exit> {
    let mut socket = TcpStream::connect(address).await.map_err(Exit::missing)?;
    let head = format!("GET {} HTTP/1.1\r\nhost: {address}\r\n\r\n", replay::ENDING);
    socket.write_all(head.as_bytes()).await.map_err(Exit::missing)?;
    let (mut buffer, mut bytes) = (vec![0; BUFFER_BYTES], 0);
    loop {
        let read = socket.read(&mut buffer).await.map_err(Exit::missing)?;
        if read == 0 {
            return Ok(bytes);
        }
        bytes += read as u64;
        each(&buffer[..read])?;
    }
}

/// Reads the stream, and the JSON of each event, which is dropped.
async fn parse(address: &str, events: u64) -> Result<(), Exit> {
    let (mut rest, mut parsed) = (Vec::new(), 0);
    read(address, |bytes| {
        rest.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(end) = rest[start..].iter().position(|byte| *byte == b'\n') {
            if let Some(data) = rest[start..start + end].strip_prefix(b"data: ") {
                serde_json::from_slice::<Value>(data).map_err(Exit::missing)?;
                parsed += 1;
            }
            start += end + 1;
        }
        rest.drain(..start);
        Ok(())
    })
    .await?;
    expect(parsed, events)
}

fn expect(found: u64, events: u64) -> Result<(), Exit> {
    match found == events {
        true => Ok(()),
        false => Err(Exit::Missing(format!("{found} of {events} events came through"))),
    }
}

/// Seconds until a log has acknowledged all that the source reads.
async fn append_all(upstream: &Server, events: u64, log: Arc<dyn EventLog>) -> Result<f64, Exit> {
    let registry = Registry::new();
    let clock = Arc::new(SystemClock);
    let intake = Intake::start(IntakeConfig::default(), log, View::None, clock, &registry);
    let (intake, appending) = intake.map_err(Exit::missing)?;
    let stop = CancellationToken::new();
    let config = SourceConfig::new(&url(upstream), "agon-bench").map_err(Exit::missing)?;
    let control = Arc::new(MemoryControl::default());
    let started = Instant::now();
    let source = Source::wikimedia(config, intake.clone(), control, &registry, stop.clone());
    let source = source.map_err(Exit::missing)?;
    let all = appended(events, async || {
        TextEncoder::new().encode_to_string(&registry.gather()).map_err(Exit::missing)
    });
    let took_s = all.await.map(|()| started.elapsed().as_secs_f64());
    stop.cancel();
    source.ended().await.map_err(Exit::missing)?;
    intake.close().await;
    appending.await.map_err(Exit::missing)?;
    took_s
}

/// Seconds until `agon serve` has acknowledged all, from its start on, and the memory it took.
async fn serve(upstream: &Server, events: u64, scratch: &Scratch) -> Result<(f64, String), Exit> {
    let (data, http) = (scratch.path().join("data"), client()?);
    add_user(&data)?;
    let (data, url) = (data.to_string_lossy().into_owned(), url(upstream));
    let started = Instant::now();
    let server = Server::start(&[
        "serve",
        "--data",
        &data,
        "--listen",
        "127.0.0.1:0",
        "--source",
        "wikimedia",
        "--source-url",
        &url,
    ])?;
    appended(events, async || deployment::metrics(&http, &server).await).await?;
    let took_s = started.elapsed().as_secs_f64();
    Ok((took_s, format!("agon serve: {}", server.memory())))
}

fn url(upstream: &Server) -> String {
    format!("http://{}{}", upstream.address, replay::LIVE)
}

/// Waits until the metrics say that all events are appended.
async fn appended(events: u64, look: impl AsyncFn() -> Result<String, Exit>) -> Result<(), Exit> {
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        let found = gauge(&look().await?, APPENDED).unwrap_or(0.0) as u64;
        if found >= events {
            return Ok(());
        }
        if found > last {
            (last, moved) = (found, Instant::now());
        }
        if moved.elapsed() > PATIENCE {
            return expect(found, events);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
