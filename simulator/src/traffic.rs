//! Which events flow: a pure function of the seed and a number.
//!
//! Matches of a few agents in a few environments and submissions on a few benchmarks, each with an
//! id of its own. Some are sent again after they were taken, some under their id with other
//! content; how often an unanswered one is tried differs, so that some stay unknown.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

/// Environments that are played in.
pub const ENVIRONMENTS: usize = 8;
/// Benchmarks that are submitted to.
pub const BENCHMARKS: usize = 4;
/// Agents of each of them.
const AGENTS: usize = 40;
/// Events of one request.
const BATCH_MAX: usize = 20;

/// A board on which events count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Board {
    /// Ratings of an environment; an agent's count is its games.
    Environment(String),
    /// Scores on a benchmark; an agent's count is its submissions.
    Benchmark(String),
}

/// One event and how it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its natural id, which no other event has.
    pub id: String,
    /// Where it counts.
    pub board: Board,
    /// For whom it counts, once each.
    pub agents: Vec<String>,
    /// What is posted.
    pub body: Value,
}

/// Events that are posted together, and what is done when there is no answer or a good one.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Where to.
    pub path: &'static str,
    /// One, sent as an object, or several, sent as an array; all of one kind.
    pub events: Vec<Event>,
    /// How often it is sent until it is answered.
    pub attempts_max: u32,
    /// Whether it is sent once more after it was taken.
    pub again: bool,
    /// Sent last: the first event's id with other content, which must not count.
    pub rival: Option<Value>,
}

/// The name of an environment by its number.
pub fn environment(number: usize) -> String {
    format!("arena-{number}")
}

/// The name of a benchmark by its number.
pub fn benchmark(number: usize) -> String {
    format!("bench-{number}")
}

/// The request with this number.
pub fn request(seed: u64, number: u64) -> Request {
    let mut chance = StdRng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let is_match = chance.random_bool(0.8);
    let count = if chance.random_bool(0.5) { 1 } else { chance.random_range(2..=BATCH_MAX) };
    let attempts_max = chance.random_range(1..=6);
    let again = chance.random_bool(0.15);
    let wants_rival = chance.random_bool(0.05);
    let events: Vec<Event> = (0..count)
        .map(|place| {
            let id = format!("{seed}-{number}-{place}");
            if is_match { a_match(id, &mut chance) } else { a_submission(id, &mut chance) }
        })
        .collect();
    let rival = events.first().filter(|_| wants_rival).map(|first| rival_of(&first.body));
    let path = if is_match { "/matches" } else { "/submissions" };
    Request { path, events, attempts_max, again, rival }
}

/// The body of all events of a request.
pub fn body(request: &Request) -> Value {
    match request.events.as_slice() {
        [only] => only.body.clone(),
        several => several.iter().map(|event| event.body.clone()).collect(),
    }
}

fn a_match(id: String, chance: &mut StdRng) -> Event {
    let name = environment(chance.random_range(0..ENVIRONMENTS));
    // A draw below a draw, so that few agents play most: their rows are touched again and again.
    let below = chance.random_range(1..=AGENTS);
    let first = chance.random_range(0..below);
    let second = (first + chance.random_range(1..AGENTS)) % AGENTS;
    let agents = vec![format!("agent-{first}"), format!("agent-{second}")];
    let (one, two) = [(1, 2), (2, 1), (1, 1)][chance.random_range(0..3)];
    let body = json!({
        "match_id": id,
        "environment": name,
        "players": [
            {"agent": agents[0], "placement": one},
            {"agent": agents[1], "placement": two},
        ],
    });
    Event { id, board: Board::Environment(name), agents, body }
}

fn a_submission(id: String, chance: &mut StdRng) -> Event {
    let name = benchmark(chance.random_range(0..BENCHMARKS));
    let agent = format!("agent-{}", chance.random_range(0..AGENTS));
    let points = chance.random_range(0..1_000);
    let body = json!({
        "submission_id": id,
        "benchmark": name,
        "agent": agent,
        "metrics": {"points": points},
    });
    Event { id, board: Board::Benchmark(name), agents: vec![agent], body }
}

/// The same id for the same agents, with another outcome.
fn rival_of(body: &Value) -> Value {
    let mut rival = body.clone();
    match rival.get_mut("metrics") {
        Some(metrics) => metrics["points"] = json!(-1),
        None => rival["context"] = json!({"rival": "yes"}),
    }
    rival
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_number_has_one_request() {
        for number in 0..200 {
            assert_eq!(request(7, number), request(7, number));
        }
        assert_ne!(request(7, 0), request(8, 0));
    }

    #[test]
    fn no_two_events_share_an_id() {
        let ids: Vec<String> =
            (0..2_000).flat_map(|number| request(7, number).events).map(|event| event.id).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    }

    #[test]
    fn all_boards_all_ways_of_sending() {
        let requests: Vec<Request> = (0..2_000).map(|number| request(7, number)).collect();
        let events = || requests.iter().flat_map(|request| &request.events);
        let boards: BTreeSet<&Board> = events().map(|event| &event.board).collect();
        assert_eq!(boards.len(), ENVIRONMENTS + BENCHMARKS);
        assert!(events().all(|event| event.agents.first() != event.agents.get(1)));
        assert!(requests.iter().any(|request| request.again));
        assert!(requests.iter().any(|request| request.events.len() == 1));
        assert!(requests.iter().any(|request| request.events.len() == BATCH_MAX));
        let attempts: BTreeSet<u32> = requests.iter().map(|request| request.attempts_max).collect();
        assert_eq!(attempts, BTreeSet::from([1, 2, 3, 4, 5, 6]));
        let rivals = requests.iter().filter_map(|request| Some((request, request.rival.as_ref()?)));
        for (request, rival) in rivals {
            assert_ne!(rival, &request.events[0].body);
        }
    }
}
