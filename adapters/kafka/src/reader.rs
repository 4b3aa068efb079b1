//! [`KafkaReader`]: hands out what a thread of its own fetched and made records of.
//!
//! ```text
//! brokers ─> library's queue ─> thread: take, make records, cut by bytes ─> 4 batches ─> next()
//!            bounded (settings)         waits while the batches are full     bounded
//! ```

use std::collections::VecDeque;
use std::thread::{self, Thread};
use std::time::Duration;

use agon_ports::{Assignment, LogReader, LogRecord, PortError, ReadLimits, Retry};
use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::fetching::{Batch, Fetching, Source};

/// Batches that wait for the reader.
const BATCHES_MAX: usize = 4;

/// Reads some partitions.
pub(crate) struct KafkaReader {
    attempted: String,
    batches: mpsc::Receiver<Batch>,
    /// Why nothing can come for now.
    away: watch::Receiver<Option<String>>,
    thread: Thread,
    held: VecDeque<LogRecord>,
    /// Why nothing will come any more.
    refusal: Option<String>,
}

impl KafkaReader {
    /// Starts to fetch from these offsets on, which were checked.
    pub(crate) fn start(source: Source, from: Assignment) -> Result<KafkaReader, PortError> {
        let attempted = format!("read {} partitions at {}", from.len(), source.cluster.address);
        let (to_reader, batches) = mpsc::channel(BATCHES_MAX);
        let (is_away, away) = watch::channel(None);
        let fetching = Fetching::new(source, to_reader, is_away, attempted.clone());
        let thread = thread::Builder::new().name("kafka-fetch".to_owned());
        let thread = thread.spawn(move || fetching.run(&from));
        let thread = thread.map_err(|error| PortError::later(&attempted, error))?;
        let thread = thread.thread().clone();
        Ok(KafkaReader { attempted, batches, away, thread, held: VecDeque::new(), refusal: None })
    }

    /// As many held records as the limits admit, one at least.
    fn hand_out(&mut self, limits: ReadLimits) -> Vec<LogRecord> {
        let mut bytes = 0;
        let mut count = 0;
        for read in self.held.iter().take(limits.records_max.max(1)) {
            bytes += read.record.size_bytes();
            if count > 0 && bytes > limits.bytes_max {
                break;
            }
            count += 1;
        }
        if count == self.held.len() {
            return Vec::from(std::mem::take(&mut self.held));
        }
        self.held.drain(..count).collect()
    }

    fn take(&mut self, batch: Option<Batch>) -> Result<(), PortError> {
        self.thread.unpark();
        match batch {
            Some(Ok(records)) => {
                self.held = records.into();
                Ok(())
            }
            Some(Err(error)) => {
                if error.retry == Retry::Never {
                    self.refusal = Some(error.reason.clone());
                }
                Err(error)
            }
            None => Err(self.ended()),
        }
    }

    /// The thread ended: with the refusal that it told, else it died.
    fn ended(&self) -> PortError {
        let reason = self.refusal.as_deref().unwrap_or("the thread that fetches died");
        PortError::never(&self.attempted, reason)
    }
}

#[async_trait]
impl LogReader for KafkaReader {
    async fn next(
        &mut self,
        limits: ReadLimits,
        wait: Duration,
    ) -> Result<Vec<LogRecord>, PortError> {
        let deadline = Instant::now() + wait;
        while self.held.is_empty() {
            // Each of these is safe to drop, and what is received is held at once.
            let batch = tokio::select! {
                biased;
                batch = self.batches.recv() => batch,
                why = told(&mut self.away) => return Err(PortError::later(&self.attempted, why)),
                () = sleep_until(deadline) => return Ok(Vec::new()),
            };
            self.take(batch)?;
        }
        Ok(self.hand_out(limits))
    }
}

/// Waits until the brokers are known to be away, and why.
async fn told(away: &mut watch::Receiver<Option<String>>) -> String {
    match away.wait_for(Option::is_some).await.map(|why| (*why).clone()) {
        Ok(Some(why)) => why,
        // The thread has ended, which its last batch tells.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}
