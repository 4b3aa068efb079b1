//! What ends a league: all else it reports in the log and goes on.

use crate::client::Problem;
use crate::games::IllegalMove;

/// Why a league could not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that makes no sense.
    #[error("read the league's setting {name}: {value} is not allowed; use {remedy}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// What it was set to.
        value: String,
        /// What is allowed.
        remedy: &'static str,
    },
    /// The HTTP client could not be set up.
    #[error("set up the HTTP client of the league")]
    Client {
        /// Why.
        source: reqwest::Error,
    },
    /// A body could not be written as JSON.
    #[error("encode a body for POST {path}")]
    Encode {
        /// The route, without its base.
        path: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The token is not accepted, so nothing would be.
    #[error(
        "POST {path} was answered {} {}: {}; give the league a token of a producer",
        problem.status, problem.code, problem.detail
    )]
    Forbidden {
        /// The route, without its base.
        path: &'static str,
        /// What was answered.
        problem: Problem,
    },
    /// An environment or benchmark could not be defined, so no match or score would count.
    #[error(
        "define {id} with POST {path}: no answer in {attempts} attempts, the last met with \
         {reason}; check the address and that the server is ready"
    )]
    Undefined {
        /// What was to be defined.
        id: &'static str,
        /// The route, without its base.
        path: &'static str,
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt met with.
        reason: String,
    },
    /// Nothing is taken any more.
    #[error(
        "POST {path}: {refusals} deliveries in a row were refused, the last with {code}: \
         {detail}; check that the environments are defined and active"
    )]
    RefusedInRow {
        /// The route, without its base.
        path: &'static str,
        /// How many.
        refusals: u32,
        /// The code of the last refusal.
        code: String,
        /// Its reason.
        detail: String,
    },
    /// The thread that played did not come back.
    #[error("play a batch of the league on a thread of its own")]
    Thread {
        /// Why.
        source: tokio::task::JoinError,
    },
    /// An agent broke the rules.
    #[error("play a match of the league")]
    Play {
        /// Which move.
        #[from]
        source: IllegalMove,
    },
}
