//! The arena: rules of games, built-in agents, a benchmark, and the league that plays them.
//!
//! The crate knows nothing of how Agon works inside. It speaks to it over HTTP, with a token, like
//! any other producer; what it may rely on is the public interface alone.

pub mod agents;
pub mod arena;
pub mod benchmark;
pub mod client;
pub mod dice;
pub mod error;
pub mod games;
pub mod league;
pub mod report;
pub mod retry;
pub mod schedule;

pub use client::Bearer;
pub use error::Error;
pub use league::{LeagueConfig, run};
pub use report::{LeagueReport, Tally};
pub use retry::RetryPolicy;
