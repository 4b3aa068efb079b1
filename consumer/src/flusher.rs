//! Sends flushes one set at a time, and the same set again until it is answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agon_ports::{PortError, ProjectionStore, Retry};
use agon_projections::Flush;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio_util::task::AbortOnDropHandle;

use crate::step::Sending;

/// A set of flushes of different partitions.
pub(crate) type Set = Arc<Vec<Arc<Flush>>>;

/// What came of sending a set.
pub(crate) struct Answer {
    pub(crate) set: Set,
    /// All of it is in the store, with the time that each flush took; or the first failure. When
    /// that may pass, the set is sent again later.
    pub(crate) result: Result<Vec<Duration>, PortError>,
}

enum State {
    Idle,
    /// Dropped with the worker: what nobody waits for must not be written later, beside whoever
    /// takes over.
    UnderWay {
        set: Set,
        sent: AbortOnDropHandle<Result<Vec<Duration>, PortError>>,
    },
    Failed {
        set: Set,
        again_at: Instant,
    },
}

/// The sending side of one worker.
pub(crate) struct Flusher {
    store: Arc<dyn ProjectionStore>,
    state: State,
    attempts: u32,
    flushes_max: usize,
    retry_max: Duration,
}

impl Flusher {
    /// Sends to this store, so many flushes of a set at a time.
    pub(crate) fn new(
        store: Arc<dyn ProjectionStore>,
        flushes_max: usize,
        retry_max: Duration,
    ) -> Flusher {
        Flusher { store, state: State::Idle, attempts: 0, flushes_max, retry_max }
    }

    pub(crate) fn sending(&self, now: Instant) -> Sending {
        match &self.state {
            State::Idle => Sending::Idle,
            State::UnderWay { .. } => Sending::UnderWay,
            State::Failed { again_at, .. } => Sending::Failed {
                // Rounded up: a pause that ends a little early would only ask again.
                again_in_ms: again_at.saturating_duration_since(now).as_micros().div_ceil(1_000)
                    as u64,
            },
        }
    }

    /// Sends a set. A flush that the store has applied before is a no-op there.
    pub(crate) fn send(&mut self, set: Set) {
        let store = Arc::clone(&self.store);
        let flushes: Vec<_> = set.iter().map(Arc::clone).collect();
        let send_one = move |flush| {
            let store = Arc::clone(&store);
            async move {
                let sent_at = Instant::now();
                store.flush(flush).await.map(|()| sent_at.elapsed())
            }
        };
        // The first failure ends the rest: the set is sent again as a whole.
        let sent = stream::iter(flushes).map(send_one).buffered(self.flushes_max.max(1));
        let sent = tokio::spawn(sent.try_collect());
        self.state = State::UnderWay { set, sent: AbortOnDropHandle::new(sent) };
    }

    /// Sends the failed set again.
    pub(crate) fn resend(&mut self) {
        if let State::Failed { set, .. } = &self.state {
            self.send(Arc::clone(set));
        }
    }

    /// Waits for the answer; for ever when nothing is under way. Cancelling loses nothing: the
    /// state changes in the same poll that takes the answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        let State::UnderWay { set, sent } = &mut self.state else {
            return std::future::pending().await;
        };
        let result = sent.await.unwrap_or_else(|stopped| {
            Err(PortError::later("flush", format!("the store's task stopped: {stopped}")))
        });
        let set = Arc::clone(set);
        self.state = match &result {
            Err(error) if error.retry == Retry::Later => {
                let again_at = Instant::now() + pause(self.attempts, self.retry_max);
                self.attempts = self.attempts.saturating_add(1);
                State::Failed { set: Arc::clone(&set), again_at }
            }
            _ => {
                self.attempts = 0;
                State::Idle
            }
        };
        Answer { set, result }
    }
}

/// 10 ms, doubled at each attempt, at most `longest`.
pub(crate) fn pause(attempts: u32, longest: Duration) -> Duration {
    Duration::from_millis(10 << attempts.min(20)).min(longest)
}
