//! What is served, each with who may. All of it is open but the statistics of the stream, and
//! records as they are, which are for operators.

mod agents;
mod boards;
mod leaderboard;
mod matches;
mod read;
mod records;
mod stats;

use std::sync::Arc;

use agon_edge::{Role, Route, Routes, Who};
use agon_ports::EventLog;
use axum::http::Method;

use crate::api::Api;
use records::Records;

/// The routes of the read side, to be merged with those of others.
pub fn routes(api: Api) -> Routes {
    let get = |path| Route::new(Method::GET, path, Who::Anyone);
    Routes::new()
        .add(get("/leaderboard").also_at_root(), leaderboard::get)
        .add(Route::new(Method::GET, "/stats", Who::AnyToken).also_at_root(), stats::get)
        .add(get("/environments"), boards::list_environments)
        .add(get("/environments/{id}"), boards::get_environment)
        .add(get("/benchmarks"), boards::list_benchmarks)
        .add(get("/benchmarks/{id}"), boards::get_benchmark)
        .add(get("/matches").also_at_root(), matches::list)
        .add(get("/environments/{id}/matches/{match_id}"), matches::get)
        .add(get("/benchmarks/{id}/submissions/{submission_id}"), matches::get_submission)
        .add(get("/agents/{id}/ratings"), agents::ratings)
        .add(get("/agents/{id}/history"), agents::history)
        .with_state(api)
}

/// Records and dead letters for operators, to be merged with the other routes. They read the log
/// itself.
pub fn event_routes(api: Api, log: Arc<dyn EventLog>) -> Routes {
    let get = |path| Route::new(Method::GET, path, Who::Role(Role::Operator));
    Routes::new()
        .add(get("/events"), records::list)
        .add(get("/dead-letters"), records::dead_letters)
        .add(get("/dead-letters/{id}"), records::dead_letter)
        .with_state(Records { api, log })
}

/// Dead letters appended again by operators, to be merged where writes are served. The record goes
/// to the log itself: what the intake knows of it is that it did not count.
pub fn replay_routes(api: Api, log: Arc<dyn EventLog>) -> Routes {
    let path = "/dead-letters/{id}/replay";
    Routes::new()
        .add(Route::new(Method::POST, path, Who::Role(Role::Operator)), records::replay)
        .with_state(Records { api, log })
}
