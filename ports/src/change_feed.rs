//! The change feed: a hint of what changed, from whoever folds to whoever shows boards.

use agon_projections::{Applied, CellKey, Row};
use agon_schema::TopicPartition;
use async_trait::async_trait;
use std::sync::Arc;

/// One piece of news. Applying it twice or late is harmless.
#[derive(Clone, Debug)]
pub enum Change {
    /// A cell moved over the span `(from, to]`; these are its changed own rows.
    Moved {
        /// Which cell.
        cell: CellKey,
        /// Its `applied` before (exclusive). A reader that stands elsewhere loads the cell anew.
        from: Applied,
        /// Its `applied` now (inclusive).
        to: u64,
        /// Its head and changed entrants or servers.
        rows: Arc<Vec<Row>>,
    },
    /// Something of this partition may have changed without news, since someone else took it over
    /// or news were lost: a reader loads its cells of the partition anew.
    Reload {
        /// Which partition.
        source: TopicPartition,
    },
    /// A partition is folded and stored through this offset. Comes after the moves it covers.
    Progress {
        /// Which partition.
        source: TopicPartition,
        /// How far (inclusive).
        applied: u64,
        /// When the newest record of the flush was appended, in milliseconds since the epoch.
        appended_at_ms: i64,
    },
}

/// What a subscriber hears next.
#[derive(Clone, Debug)]
pub enum Heard {
    /// News, in the order they were published.
    Change(Change),
    /// The subscriber was too slow and missed some: it loads again what it shows.
    Missed,
    /// Nobody publishes any more.
    Closed,
}

/// The sending side.
#[async_trait]
pub trait ChangePublisher: Send + Sync {
    /// Tells every subscriber. Never waits for a slow one.
    async fn publish(&self, change: Change);
}

/// The listening side: hears what is published after it was made.
#[async_trait]
pub trait ChangeSubscriber: Send {
    /// Waits for the next piece of news. Cancelling the call loses nothing.
    async fn next(&mut self) -> Heard;
}
