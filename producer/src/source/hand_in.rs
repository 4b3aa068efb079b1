//! Hands batches in, one after the other, and says up to which id the log has them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::metrics::SourceMetrics;
use super::reader::Batch;
use super::resume::LastId;
use crate::intake::{Entry, Intake, IntakeError, OnConflict, Submitted};

/// Pause after the first failure; doubles.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

pub(crate) struct Sender {
    pub intake: Intake,
    pub metrics: SourceMetrics,
}

impl Sender {
    /// Hands in until there are no more batches, or the intake is closed.
    pub async fn run(
        self,
        mut batches: mpsc::Receiver<Batch>,
        acknowledged: watch::Sender<LastId>,
        stop: CancellationToken,
    ) {
        while let Some(batch) = batches.recv().await {
            let entries = Arc::new(batch.entries);
            let Some(submitted) = self.insist(&entries, &stop).await else { return };
            for (entry, submitted) in entries.iter().zip(&submitted) {
                self.metrics.count(result(entry, submitted), 1);
            }
            acknowledged.send_if_modified(|kept| {
                let is_news = batch.last_id.is_some() && *kept != batch.last_id;
                if is_news {
                    kept.clone_from(&batch.last_id);
                }
                is_news
            });
        }
    }

    /// Hands a batch in until the log has it; `None` when it never will.
    async fn insist(
        &self,
        entries: &Arc<Vec<Entry>>,
        stop: &CancellationToken,
    ) -> Option<Vec<Submitted>> {
        let mut pause = PAUSE;
        loop {
            let error = match self.hand_in(entries).await {
                Ok(submitted) => return Some(submitted),
                Err(error) => error,
            };
            // Without an acknowledgement its id is not kept, so it comes again.
            if error == IntakeError::Closed || stop.is_cancelled() {
                return None;
            }
            if error.may_pass() {
                tracing::debug!(%error, "the source waits for the log");
            } else {
                tracing::error!(%error, "the source waits: the log refuses its events");
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn hand_in(&self, entries: &Arc<Vec<Entry>>) -> Result<Vec<Submitted>, IntakeError> {
        self.intake.admit(Arc::clone(entries), OnConflict::Append, None).await?.wait().await
    }
}

fn result(entry: &Entry, submitted: &Submitted) -> &'static str {
    match (entry, submitted) {
        (_, Submitted::Refused { .. }) => "refused",
        (Entry::MalformedChange(_), _) => "malformed",
        (Entry::Event(_), Submitted::Appended { .. }) => "appended",
        (Entry::Event(_), Submitted::Duplicate { .. }) => "duplicate",
        (Entry::Event(_), Submitted::Conflict { .. }) => "conflict",
    }
}
