//! Reads the stream into batches, connects anew when it ends, and never gives up.

use std::time::Duration;

use agon_schema::Event;
use agon_schema::wikimedia::{self, Line};
use tokio::sync::mpsc;

use super::client::{Client, Refused, Stream};
use super::metrics::SourceMetrics;
use super::pause::Tried;
use super::resume::{LastId, Resume};
use super::sse::{Parser, Piece};
use super::{SourceConfig, Standing};
use crate::intake::{Entry, Intake};

/// Refusals in a row after which an id is taken to be of no use to the server.
const ID_REFUSALS_MAX: u32 = 3;
/// Pause before the place to resume from is asked for again.
const LOAD_PAUSE: Duration = Duration::from_secs(1);

/// Events in the order of the stream, and the id behind the last of them.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub entries: Vec<Entry>,
    pub bytes: usize,
    pub last_id: LastId,
}

/// Nobody takes batches any more.
struct Closed;

/// Where the source was read to; waits for whoever knows, for to begin elsewhere would skip.
pub(crate) async fn loaded(resume: &mut Resume, standing: &Standing) -> LastId {
    loop {
        match resume.load().await {
            Ok(last_id) => return last_id,
            Err(error) => {
                standing.set(Err(format!("waits to learn where it was read to: {error}")));
                tokio::time::sleep(LOAD_PAUSE).await;
            }
        }
    }
}

pub(crate) struct Reader {
    config: SourceConfig,
    client: Client,
    metrics: SourceMetrics,
    standing: Standing,
    /// Its clock is the clock of all that is taken in.
    intake: Intake,
    batches: mpsc::Sender<Batch>,
    batch: Batch,
    retry_ms: Option<u64>,
    /// Events of the connection that is open.
    events: u64,
}

impl Reader {
    pub fn new(
        config: SourceConfig,
        client: Client,
        metrics: SourceMetrics,
        standing: Standing,
        intake: Intake,
        batches: mpsc::Sender<Batch>,
    ) -> Reader {
        let batch = Batch::default();
        let (retry_ms, events) = (None, 0);
        Reader { config, client, metrics, standing, intake, batches, batch, retry_ms, events }
    }

    /// Reads until nobody takes batches any more.
    pub async fn run(mut self, mut last_id: LastId) {
        let (mut failures, mut id_refusals) = (0, 0);
        loop {
            let mut tried = Tried { retry_ms: self.retry_ms, ..Tried::default() };
            let reason = match self.client.open(last_id.as_deref()).await {
                Ok(stream) => {
                    id_refusals = 0;
                    let url = &self.config.url;
                    tracing::info!(%url, last_id = last_id.as_deref(), "reading the source");
                    self.standing.set(Ok(format!("reads {url}")));
                    self.metrics.connected.set(1);
                    self.events = 0;
                    let ended = self.drink(stream, &mut last_id).await;
                    self.metrics.connected.set(0);
                    let Ok(reason) = ended else { return };
                    tried.retry_ms = self.retry_ms;
                    reason
                }
                Err(refused) => {
                    let Refused { reason, retry_after, is_empty, is_bad_request } = refused;
                    tried = Tried { retry_after, is_empty, ..tried };
                    id_refusals = if is_bad_request { id_refusals + 1 } else { 0 };
                    self.events = 0;
                    reason
                }
            };
            failures = if self.events > 0 { 0 } else { failures + 1 };
            tried.failures = failures;
            if id_refusals >= ID_REFUSALS_MAX
                && let Some(id) = last_id.take()
            {
                tracing::error!(
                    %id, "the source refuses the id to resume from; it is read from where the \
                    server begins, and what came between is missing"
                );
                id_refusals = 0;
            }
            let pause = self.config.pause.pause(tried, chance());
            let pause_ms = pause.as_millis();
            tracing::warn!(%reason, pause_ms, "the source is waited for");
            self.standing.set(Err(format!("waits {pause_ms} ms to connect again: {reason}")));
            tokio::time::sleep(pause).await;
            self.metrics.reconnects.inc();
        }
    }

    /// Reads a stream to its end; answers why it ended.
    async fn drink(&mut self, mut stream: Stream, last: &mut LastId) -> Result<String, Closed> {
        let mut parser = Parser::new(self.config.line_bytes_max);
        let silence = Duration::from_millis(self.config.silence_ms_max);
        let batches = self.batches.clone();
        loop {
            let has_some = !self.batch.entries.is_empty();
            // What was read goes on as soon as there is room; until then the batch grows to its
            // limit, and then the socket is not read.
            let chunk = tokio::select! {
                biased;
                permit = batches.reserve(), if has_some => {
                    permit.map_err(|_| Closed)?.send(std::mem::take(&mut self.batch));
                    continue;
                }
                chunk = tokio::time::timeout(silence, stream.chunk()), if self.has_room() => chunk,
            };
            let reason = match chunk {
                Ok(Ok(Some(bytes))) => {
                    self.take(&mut parser, &bytes, last).await?;
                    continue;
                }
                Ok(Ok(None)) => "the stream ended".to_owned(),
                Ok(Err(error)) => format!("the stream broke off: {error}"),
                Err(_) => format!("the stream said nothing for {} s", silence.as_secs()),
            };
            return Ok(reason);
        }
    }

    fn has_room(&self) -> bool {
        self.batch.entries.len() < self.config.batch_events_max
            && self.batch.bytes < self.config.batch_bytes_max
    }

    async fn take(
        &mut self,
        parser: &mut Parser,
        mut bytes: &[u8],
        last: &mut LastId,
    ) -> Result<(), Closed> {
        while let Some(piece) = parser.next(&mut bytes) {
            match piece {
                Piece::Retry(retry_ms) => self.retry_ms = Some(retry_ms),
                Piece::TooLong { .. } => self.metrics.lines_too_long.inc(),
                Piece::Event { data, .. } => {
                    self.events += 1;
                    let size_bytes = data.len();
                    self.batch.entries.extend(entry(data, &self.metrics));
                    self.batch.bytes += size_bytes;
                }
            }
            if let Some(id) = parser.last_id() {
                *last = Some(id.clone());
                self.batch.last_id.clone_from(last);
            }
            if !self.has_room() {
                let batch = std::mem::take(&mut self.batch);
                self.batches.send(batch).await.map_err(|_| Closed)?;
            }
        }
        if self.events > 0 {
            self.metrics.heard(self.intake.clock().now());
        }
        Ok(())
    }
}

/// From 0 to 1; the middle where the system has no chance to give.
fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |bits| f64::from(bits) / f64::from(u32::MAX))
}

fn entry(data: &[u8], metrics: &SourceMetrics) -> Option<Entry> {
    match wikimedia::parse(data) {
        Ok(Line::Change(change)) => Some(Entry::Event(Event::RecentChange(change))),
        Ok(Line::Canary) => {
            metrics.count("canary", 1);
            None
        }
        Err(reason) => {
            tracing::debug!(%reason, "an event of the source is malformed; kept as a dead letter");
            Some(Entry::MalformedChange(data.to_vec()))
        }
    }
}
