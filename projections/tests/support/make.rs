//! Events in few words. Panics on what is invalid: tests write the values themselves.

use agon_projections::CellKey;
use agon_schema::event::{
    Aggregation, BenchmarkDefined, Direction, EnvironmentDefined, MatchFinished, Metrics, Player,
    Players, RecentChange, RunScored, RunStatus, SubmissionReceived,
};
use agon_schema::ids::MetricName;
use agon_schema::rating::{Elo, KStep, RatingSystem};
use agon_schema::{AgentId, BenchmarkId, EnvironmentId, Event, EventTime, NaturalId, Timestamp};

pub fn agent(id: &str) -> AgentId {
    AgentId::new(id).unwrap()
}

pub fn natural(id: &str) -> NaturalId {
    NaturalId::new(id).unwrap()
}

pub fn at(seconds: i64) -> EventTime {
    EventTime { at: Timestamp::from_micros(seconds * 1_000_000).unwrap(), filled_in: false }
}

pub fn environment(id: &str) -> CellKey {
    CellKey::Environment(EnvironmentId::new(id).unwrap())
}

pub fn benchmark(id: &str) -> CellKey {
    CellKey::Benchmark(BenchmarkId::new(id).unwrap())
}

pub fn k(k: f64) -> Vec<KStep> {
    vec![KStep { below_games: None, k }]
}

pub fn define(id: &str, elo: Elo) -> Event {
    Event::EnvironmentDefined(EnvironmentDefined {
        id: EnvironmentId::new(id).unwrap(),
        version: 1,
        rating: RatingSystem::Elo(elo),
    })
}

pub fn player(id: &str, placement: u32, home: bool) -> Player {
    Player { agent: agent(id), placement, score: None, home }
}

pub fn played(env: &str, id: &str, players: Vec<Player>) -> MatchFinished {
    MatchFinished {
        environment: EnvironmentId::new(env).unwrap(),
        match_id: natural(id),
        players: Players::new(players).unwrap(),
        occurred: at(0),
        context: None,
    }
}

/// A match of two; `outcome_a` is 1, 0.5 or 0.
pub fn duel(env: &str, id: &str, a: &str, b: &str, outcome_a: f64) -> Event {
    let (placement_a, placement_b) = placements(outcome_a);
    let players = vec![player(a, placement_a, false), player(b, placement_b, false)];
    Event::MatchFinished(played(env, id, players))
}

pub fn placements(outcome_a: f64) -> (u32, u32) {
    match outcome_a {
        1.0 => (1, 2),
        0.5 => (1, 1),
        0.0 => (2, 1),
        _ => panic!("{outcome_a} is no outcome"),
    }
}

pub fn define_benchmark(
    id: &str,
    metric: &str,
    direction: Direction,
    aggregation: Aggregation,
) -> Event {
    Event::BenchmarkDefined(BenchmarkDefined {
        id: BenchmarkId::new(id).unwrap(),
        version: 1,
        metric: MetricName::new(metric).unwrap(),
        direction,
        aggregation,
    })
}

pub fn metrics(named: &[(&str, f64)]) -> Metrics {
    Metrics::new(named.iter().map(|(name, value)| ((*name).to_owned(), *value))).unwrap()
}

pub fn submission(benchmark: &str, id: &str, by: &str, named: &[(&str, f64)]) -> Event {
    Event::SubmissionReceived(SubmissionReceived {
        benchmark: BenchmarkId::new(benchmark).unwrap(),
        submission_id: natural(id),
        agent: agent(by),
        metrics: metrics(named),
        artifact: None,
        occurred: at(0),
    })
}

pub fn run(
    benchmark: &str,
    submission: &str,
    id: &str,
    status: RunStatus,
    named: &[(&str, f64)],
) -> Event {
    Event::RunScored(RunScored {
        benchmark: BenchmarkId::new(benchmark).unwrap(),
        submission_id: natural(submission),
        run_id: natural(id),
        status,
        metrics: metrics(named),
        occurred: at(0),
    })
}

pub fn change(id: &str, user: Option<&str>, bot: Option<bool>, server: Option<&str>) -> Event {
    Event::RecentChange(RecentChange {
        id: natural(id),
        occurred_at: at(0).at,
        user: user.map(str::to_owned),
        bot,
        server_name: server.map(str::to_owned),
        change_type: None,
        title: None,
        namespace: None,
        minor: None,
        length_old_bytes: None,
        length_new_bytes: None,
        wiki: None,
    })
}
