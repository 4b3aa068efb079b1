//! The read side: boards in memory that follow the change feed, and the routes that show them.
//!
//! Reading order: [`api`] is the handle and its loading, `follower` the one task that hears the
//! change feed, `hearing` when it was last heard, `held` the cells in memory with the protocol
//! that loses no news, `progress` those who wait for a position, `rendered` the cached bodies,
//! `body` the JSON without any HTTP, `replay` dead letters once more, and `routes` what is served.

pub mod api;
mod body;
pub mod config;
mod cursor;
mod follower;
mod hearing;
mod held;
mod metrics;
mod progress;
mod rendered;
mod replay;
mod routes;

pub use api::{Api, Readiness};
pub use body::leaderboard::{BoardError, leaderboard_body};
pub use body::query::{BoardQuery, LIMIT_DEFAULT, LIMIT_MAX, SPAN_DEFAULT, SPAN_MAX, Window};
pub use body::records::{
    RECORDS_MAX, VALUE_BYTES_MAX, dead_letter_body, dead_letter_cursor, dead_letters_body,
    events_body, parse_record_id, record_id,
};
pub use body::stats::{
    StatsNewest, StatsQuery, StatsSum, TOP_LIMIT_DEFAULT, TOP_LIMIT_MAX, stats_body,
};
pub use config::{ApiConfig, LogIdentity};
pub use cursor::BadCursor;
pub use held::view::StreamCounts;
pub use replay::{ReplayError, Replayed, replay, replayed_body};
pub use routes::{event_routes, replay_routes, routes};
