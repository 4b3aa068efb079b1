//! The read side through the real router, over a store and a feed in memory that real folds fill.
#![allow(clippy::unwrap_used)]

mod agents;
mod caching;
mod details;
mod feed;
mod fold;
mod following;
mod heirs;
mod leaderboard;
mod loading;
mod matches;
mod paging;
mod policy;
mod positions;
mod records;
mod replay;
mod silence;
mod site;
mod stats;
mod torn;
