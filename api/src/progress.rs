//! How far each partition is folded and stored, and those who wait for more.

use std::collections::BTreeMap;
use std::time::Duration;

use agon_projections::Row;
use agon_projections::row::{RowKey, Value};
use agon_schema::{PositionToken, TopicPartition};
use tokio::sync::watch;
use tokio::time::Instant;

/// The progress of all partitions as the store and the change feed told it.
pub(crate) struct Progress {
    known: watch::Sender<Known>,
}

#[derive(Default)]
struct Known {
    /// Whether the store was read.
    is_loaded: bool,
    applied: BTreeMap<TopicPartition, u64>,
}

impl Known {
    fn raise(&mut self, source: TopicPartition, applied: u64) -> bool {
        let known = self.applied.get(&source).copied();
        if known.is_some_and(|known| known >= applied) {
            return false;
        }
        self.applied.insert(source, applied);
        true
    }

    fn covers(&self, token: &PositionToken) -> bool {
        token.positions().all(|position| {
            self.applied.get(&position.source).is_some_and(|applied| *applied >= position.offset)
        })
    }
}

impl Progress {
    /// Of nothing yet.
    pub fn new() -> Progress {
        Progress { known: watch::Sender::new(Known::default()) }
    }

    /// A partition is folded through this offset, and whatever shows it has been told so. Answers
    /// whether that is more than was known.
    pub fn raise(&self, source: TopicPartition, applied: u64) -> bool {
        self.known.send_if_modified(|known| known.raise(source, applied))
    }

    /// Takes over the rows of the store.
    pub fn load(&self, rows: &[Row]) {
        self.known.send_modify(|known| {
            known.is_loaded = true;
            for row in rows {
                if let (RowKey::Progress(source), Value::Progress(row)) = (&row.key, &row.value) {
                    known.raise(*source, row.applied);
                }
            }
        });
    }

    /// Whether the store was read once.
    pub fn is_loaded(&self) -> bool {
        self.known.borrow().is_loaded
    }

    /// Waits until everything that the token names is folded, at most until the deadline.
    pub async fn reaches(&self, token: &PositionToken, deadline: Instant) -> bool {
        let mut known = self.known.subscribe();
        let covered = known.wait_for(|known| known.covers(token));
        tokio::time::timeout_at(deadline, covered).await.is_ok()
    }
}

/// Until when a read may wait.
pub(crate) fn deadline(wait_ms_max: u64) -> Instant {
    Instant::now() + Duration::from_millis(wait_ms_max)
}

#[cfg(test)]
mod tests {
    use agon_schema::{LogId, Position, Topic};

    use super::*;

    fn at(partition: u32, offset: u64) -> Position {
        Position { source: TopicPartition { topic: Topic::Matches, partition }, offset }
    }

    fn token(positions: &[Position]) -> PositionToken {
        let log: LogId = serde_json::from_str("\"1f2e3d4c-0000-7000-8000-000000000001\"").unwrap();
        PositionToken::of(log, positions.iter().copied())
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_reached_when_every_part_of_it_is() {
        let progress = Progress::new();
        let now = deadline(0);
        assert!(progress.reaches(&token(&[]), now).await, "nothing is always reached");
        assert!(!progress.reaches(&token(&[at(0, 0)]), now).await);
        assert!(progress.raise(at(0, 7).source, 7));
        assert!(!progress.raise(at(0, 7).source, 7));
        assert!(!progress.raise(at(0, 3).source, 3));
        assert!(progress.reaches(&token(&[at(0, 7)]), now).await, "it never falls");
        assert!(!progress.reaches(&token(&[at(0, 8)]), deadline(500)).await);
        assert!(!progress.reaches(&token(&[at(0, 7), at(1, 0)]), now).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_woken() {
        let progress = Progress::new();
        let token = token(&[at(2, 5)]);
        let (reached, ()) = tokio::join!(progress.reaches(&token, deadline(1000)), async {
            progress.raise(at(2, 4).source, 4);
            tokio::task::yield_now().await;
            progress.raise(at(2, 5).source, 5);
        });
        assert!(reached);
    }
}
