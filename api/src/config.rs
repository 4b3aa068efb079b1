//! What the read side is told when it starts: its limits, and which log it shows.

use agon_schema::{EventTime, LogId, Position, PositionToken, TopicPartition};
use serde::Serialize;

/// The limits of the read side. At each of them something is let go or refused; nothing grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// Boards in memory; 256. Beyond it the one that was asked for longest ago goes.
    pub boards_max: usize,
    /// Entrants of all boards in memory; 2,000,000, about 90 bytes each and what metrics take.
    /// Beyond it boards go in the same way; a board that alone has more is refused with 503.
    pub entrants_max: usize,
    /// Boards read from the store at one time; 4. The others wait. Each may hold as many entrants
    /// again as all boards in memory.
    pub loads_max: usize,
    /// Bytes of rendered bodies; 64 MiB. Beyond it the old ones go.
    pub rendered_bytes_max: usize,
    /// Milliseconds that a read waits for its `min_position`; 2,000. Then 504.
    pub position_wait_ms_max: u64,
    /// Milliseconds that the change feed may be silent about a partition before what is shown of
    /// it counts as stale; 5,000. Boards are served all the same, and readiness says so.
    pub staleness_ms_max: u64,
}

impl Default for ApiConfig {
    fn default() -> ApiConfig {
        ApiConfig {
            boards_max: 256,
            entrants_max: 2_000_000,
            loads_max: 4,
            rendered_bytes_max: 64 << 20,
            position_wait_ms_max: 2000,
            staleness_ms_max: 5000,
        }
    }
}

/// Which log the answers speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    /// Its id, which stands in every position.
    pub id: LogId,
    /// Partitions of each of its topics.
    pub partitions: u32,
}

impl LogIdentity {
    /// The token of one offset; of nothing yet when there is none.
    pub fn token(&self, source: TopicPartition, offset: Option<u64>) -> String {
        let position = offset.map(|offset| Position { source, offset });
        PositionToken::of(self.id, position).to_string()
    }
}

/// How far an answer is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct AsOf {
    /// A position token.
    pub position: String,
    /// When the last folded event happened, if any says.
    pub occurred_at: Option<String>,
}

impl AsOf {
    /// One partition up to an offset.
    pub fn of(
        log: LogIdentity,
        source: TopicPartition,
        offset: u64,
        last: Option<EventTime>,
    ) -> AsOf {
        AsOf {
            position: log.token(source, Some(offset)),
            occurred_at: last.map(|time| time.at.to_string()),
        }
    }
}
