//! Sends flushes one set at a time, and the same set again until it is answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agon_ports::{PortError, ProjectionStore, Retry};
use agon_projections::Flush;
use tokio::task::JoinHandle;

use crate::step::Sending;

/// A set of flushes of different partitions.
pub(crate) type Set = Arc<Vec<Arc<Flush>>>;

/// What came of sending a set.
pub(crate) enum Answer {
    /// All of it is in the store.
    Stored(Set, Duration),
    /// It is tried again later.
    Again(PortError),
}

enum State {
    Idle,
    UnderWay { set: Set, sent_at: Instant, answer: JoinHandle<Result<(), PortError>> },
    Failed { set: Set, again_at: Instant },
}

/// The sending side of one worker.
pub(crate) struct Flusher {
    store: Arc<dyn ProjectionStore>,
    state: State,
    attempts: u32,
    retry_max: Duration,
}

impl Flusher {
    pub(crate) fn new(store: Arc<dyn ProjectionStore>, retry_max: Duration) -> Flusher {
        Flusher { store, state: State::Idle, attempts: 0, retry_max }
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
        let flushes = Arc::clone(&set);
        let answer = tokio::spawn(async move {
            for flush in flushes.iter() {
                store.flush(Arc::clone(flush)).await?;
            }
            Ok(())
        });
        self.state = State::UnderWay { set, sent_at: Instant::now(), answer };
    }

    /// Sends the failed set again.
    pub(crate) fn resend(&mut self) {
        if let State::Failed { set, .. } = std::mem::replace(&mut self.state, State::Idle) {
            self.send(set);
        }
    }

    /// Waits for the answer; for ever when nothing is under way. Cancelling loses nothing.
    ///
    /// # Errors
    /// When the store refuses the set for good.
    pub(crate) async fn answer(&mut self) -> Result<Answer, PortError> {
        let State::UnderWay { answer, .. } = &mut self.state else {
            return std::future::pending().await;
        };
        let answered = answer.await;
        let State::UnderWay { set, sent_at, .. } = std::mem::replace(&mut self.state, State::Idle)
        else {
            return std::future::pending().await;
        };
        let result = answered.unwrap_or_else(|stopped| {
            Err(PortError::later("flush", format!("the store's task stopped: {stopped}")))
        });
        match result {
            Ok(()) => {
                self.attempts = 0;
                Ok(Answer::Stored(set, sent_at.elapsed()))
            }
            Err(error) if error.retry == Retry::Later => {
                let pause = pause(self.attempts, self.retry_max);
                self.attempts = self.attempts.saturating_add(1);
                self.state = State::Failed { set, again_at: Instant::now() + pause };
                Ok(Answer::Again(error))
            }
            Err(error) => Err(error),
        }
    }
}

/// 10 ms, doubled at each attempt, at most `longest`.
pub(crate) fn pause(attempts: u32, longest: Duration) -> Duration {
    Duration::from_millis(10 << attempts.min(20)).min(longest)
}
