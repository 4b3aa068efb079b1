//! Events made from a number: the same ones everywhere and for ever, so that a golden hash can
//! stand on them. Ids come from small sets, so that duplicates and conflicts happen by themselves.

use agon_schema::event::{Aggregation, Direction, Event, Player, RunStatus};
use agon_schema::rating::{Elo, KStep};

use super::make::{agent, at, change, define, define_benchmark, k, played, run, submission};

/// A small generator (SplitMix64).
#[derive(Clone, Debug)]
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    /// Mostly hundredths around zero, now and then as large or small as a number gets.
    pub fn number(&mut self) -> f64 {
        if self.one_in(8) {
            return self.pick(&[f64::MAX, f64::MIN, f64::MIN_POSITIVE, -0.0, 5e-324, 1e17]);
        }
        self.below(20_001) as f64 / 100.0 - 100.0
    }

    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            list.swap(end, self.below(end as u64 + 1) as usize);
        }
    }
}

/// Ids of which some are the beginning of others and some are not ASCII.
fn agent_id(chance: &mut Chance, of: u64) -> String {
    let n = chance.below(of);
    match n {
        0 => "a".into(),
        1 => "a b".into(),
        2 => "ab".into(),
        3 => "Côte d'Ivoire".into(),
        4 => "🦀".into(),
        _ => format!("agent-{n}"),
    }
}

fn elo(chance: &mut Chance) -> Elo {
    let tame = chance.one_in(2);
    if tame {
        return Elo::default();
    }
    let start = chance.pick(&[1500.0, 1_000_000.0, -1_000_000.0, 0.1]);
    let step = |below_games, k| KStep { below_games, k };
    let steps = chance.pick(&[
        k(10_000.0),
        k(1e-9),
        vec![step(Some(3), 40.0), step(Some(9), 32.0), step(None, 24.0)],
    ]);
    let floor = chance.pick(&[None, Some(start), Some(-1_000_000.0)]);
    let home = chance.pick(&[0.0, 65.0, 1_000_000.0, -1_000_000.0]);
    let draw = chance.pick(&[0.5, 0.0, 1.0, 0.3]);
    Elo::new(start, steps, floor, home, draw).unwrap()
}

/// A definition or a match of environment `env`.
pub fn environment_event(env: &str, seed: u64) -> Event {
    let mut chance = Chance(seed);
    if chance.one_in(16) {
        let event = define(env, elo(&mut chance));
        let Event::EnvironmentDefined(mut event) = event else { unreachable!() };
        event.version = chance.pick(&[1, 1, 1, 2]);
        return Event::EnvironmentDefined(event);
    }
    let count = chance.pick(&[2, 2, 2, 2, 2, 2, 3, 4, 8, 64]);
    let mut ids: Vec<String> = Vec::new();
    while ids.len() < count {
        let id = agent_id(&mut chance, if count > 10 { 70 } else { 12 });
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let players = ids.iter().map(|id| Player {
        agent: agent(id),
        placement: 1 + chance.below(count as u64) as u32,
        score: chance.one_in(3).then(|| chance.number()),
        home: chance.one_in(4),
    });
    let players = players.collect();
    let id = format!("m{}", chance.below(500));
    let mut event = played(env, &id, players);
    event.occurred = at(chance.below(1 << 32) as i64);
    event.occurred.filled_in = chance.one_in(5);
    Event::MatchFinished(event)
}

/// A definition, a submission or a run of `benchmark`.
pub fn benchmark_event(benchmark: &str, seed: u64) -> Event {
    let mut chance = Chance(seed);
    let metric = chance.pick(&["score", "score", "score", "score", "score", "other"]);
    let value = chance.number();
    let named = [(metric, value), ("cost", 1.0)];
    let id = format!("s{}", chance.below(60));
    match chance.below(16) {
        0 => {
            let direction = chance.pick(&[Direction::Higher, Direction::Lower]);
            let aggregation = chance.pick(&[
                Aggregation::Best,
                Aggregation::Last,
                Aggregation::Mean,
                Aggregation::Sum,
            ]);
            define_benchmark(benchmark, "score", direction, aggregation)
        }
        1..=6 => {
            let by = agent_id(&mut chance, 12);
            let named = if chance.one_in(2) { &named[..] } else { &[] };
            submission(benchmark, &id, &by, named)
        }
        _ => {
            let status =
                chance.pick(&[RunStatus::Completed, RunStatus::Completed, RunStatus::Failed]);
            let run_id = format!("r{}", chance.below(9));
            run(benchmark, &id, &run_id, status, &named)
        }
    }
}

/// A change of a wiki.
pub fn stream_event(seed: u64) -> Event {
    let mut chance = Chance(seed);
    let id = format!("c{}", chance.below(300));
    let user = format!("user {}", chance.below(40));
    let user = (!chance.one_in(8)).then_some(user.as_str());
    let bot = chance.pick(&[None, Some(true), Some(false), Some(false)]);
    let server = chance.pick(&[
        None,
        Some("en.wikipedia.org"),
        Some("en.wikipedia.or"),
        Some(""),
        Some("\0"),
    ]);
    let mut event = change(&id, user, bot, server);
    if let Event::RecentChange(event) = &mut event {
        // Mostly within minutes, now and then days apart.
        let range_s = chance.pick(&[100, 100, 5_000, 200_000]);
        event.occurred_at = at(chance.below(range_s) as i64).at;
    }
    event
}
