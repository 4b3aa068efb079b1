//! The id from which a stream is resumed. It is control data beside the log, written only after
//! the log acknowledged every event up to it: it may be older than what the log has, never newer.
//! What it is older by comes twice, and counts once by its identity.

use std::sync::Arc;
use std::time::Duration;

use agon_ports::{ControlStore, PortError, Put};
use agon_schema::LogId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often an id is kept at most, and the pause after a failure.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// Attempts to keep the last id when the process stops.
const LAST_ATTEMPTS_MAX: u32 = 3;

/// An id that everything up to it is acknowledged.
pub(crate) type LastId = Option<Arc<str>>;

/// Where the id of one log's source stands. The key names the log: what another log has read says
/// nothing of this one.
pub(crate) struct Resume {
    control: Arc<dyn ControlStore>,
    key: String,
    version: u64,
}

impl Resume {
    pub fn new(control: Arc<dyn ControlStore>, source: &str, log: LogId) -> Resume {
        Resume { control, key: format!("source/{source}/{log}"), version: 0 }
    }

    /// The id that was kept.
    pub async fn load(&mut self) -> Result<LastId, PortError> {
        let Some(kept) = self.control.get(&self.key).await? else { return Ok(None) };
        self.version = kept.version;
        Ok(String::from_utf8(kept.value).ok().filter(|id| !id.is_empty()).map(Arc::from))
    }

    /// Keeps an id. Another process that reads the same source keeps ids that are as true, so
    /// whoever comes last may win.
    async fn keep(&mut self, id: &str) -> Result<(), PortError> {
        loop {
            match self.control.put(&self.key, id.as_bytes(), self.version).await? {
                Put::Stored(version) => {
                    self.version = version;
                    return Ok(());
                }
                Put::Conflict(version) => self.version = version,
            }
        }
    }

    /// Keeps what is acknowledged until nothing more can be.
    pub async fn run(mut self, mut acknowledged: watch::Receiver<LastId>, stop: CancellationToken) {
        let mut failures = 0;
        while acknowledged.changed().await.is_ok() {
            loop {
                let id = acknowledged.borrow_and_update().clone();
                match self.keep(id.as_deref().unwrap_or_default()).await {
                    Ok(()) => {
                        failures = 0;
                        break;
                    }
                    Err(error) if stop.is_cancelled() && failures >= LAST_ATTEMPTS_MAX => {
                        tracing::warn!(%error, "where the source was read to is kept as it was");
                        return;
                    }
                    Err(error) => {
                        if failures == 0 || stop.is_cancelled() {
                            tracing::warn!(%error, "where the source was read to waits to be kept");
                        }
                        failures += 1;
                        tokio::time::sleep(KEEP_EVERY).await;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(KEEP_EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}
