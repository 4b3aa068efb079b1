//! The fold alone: matches a second on one core, over 100,000 agents whose matches follow Zipf's
//! law; in memory, without history and without a log. Beside it, in the same run, the least that
//! any such fold does (two look-ups by id and one exp2), so that the figure is also a ratio.
//!
//! `cargo bench -p agon-projections --bench fold`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "the figures are the output")]

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use agon_projections::environment::EnvironmentCell;
use agon_projections::row::{Head, HeadDetail, RowKey, Value};
use agon_projections::{Cell, CellKey, Known, Row};
use agon_schema::event::{EnvironmentDefined, Event, MatchFinished, Player, Players};
use agon_schema::rating::RatingSystem;
use agon_schema::{AgentId, EnvironmentId, EventTime, NaturalId, Timestamp};

const AGENTS: usize = 100_000;
const MATCHES: usize = 1_000_000;
const ROUNDS: usize = 9;
/// Matches that are timed at once. Of each such part the fastest round counts, so that what else
/// the machine does between parts is no part of the figure.
const PART: usize = 5_000;

/// A small generator with a fixed seed: the same work in every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 31)
    }

    /// In [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Agents by Zipf's law with exponent 1: the n-th comes 1/n as often as the first.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(count: usize) -> Zipf {
        let mut sum = 0.0;
        let weights = (1..=count).map(|n| {
            sum += 1.0 / n as f64;
            sum
        });
        Zipf(weights.collect())
    }

    fn pick(&self, chance: &mut Chance) -> usize {
        let at = chance.unit() * self.0[self.0.len() - 1];
        self.0.partition_point(|sum| *sum <= at)
    }
}

fn name(n: usize) -> String {
    format!("agent-{:08x}", (n as u32).wrapping_mul(0x9e37_79b9))
}

/// Events as a decoder makes them: every id its own copy.
fn events() -> Vec<MatchFinished> {
    let (zipf, mut chance) = (Zipf::new(AGENTS), Chance(1));
    let environment = EnvironmentId::new("bench").unwrap();
    let player = |n: usize, placement| Player {
        agent: AgentId::new(name(n)).unwrap(),
        placement,
        score: None,
        home: false,
    };
    let mut events = Vec::with_capacity(MATCHES);
    while events.len() < MATCHES {
        let (a, b) = (zipf.pick(&mut chance), zipf.pick(&mut chance));
        if a != b {
            let draw = chance.next().is_multiple_of(10);
            let players = vec![player(a, 1), player(b, if draw { 1 } else { 2 })];
            let micros = events.len() as i64 * 1_000_000;
            events.push(MatchFinished {
                environment: environment.clone(),
                match_id: NaturalId::new(events.len().to_string()).unwrap(),
                players: Players::new(players).unwrap(),
                occurred: EventTime {
                    at: Timestamp::from_micros(micros).unwrap(),
                    filled_in: false,
                },
                context: None,
            });
        }
    }
    events
}

struct Nothing;

impl Known for Nothing {
    fn first_seen(&self, _: agon_schema::Identity) -> Option<agon_projections::row::FirstSeen> {
        None
    }

    fn submission(&self, _: &NaturalId) -> Option<agon_projections::row::SubmissionRow> {
        None
    }

    fn user(&self, _: agon_projections::row::UserHash) -> Option<u64> {
        None
    }
}

fn definition() -> EnvironmentDefined {
    EnvironmentDefined {
        id: EnvironmentId::new("bench").unwrap(),
        version: 1,
        rating: RatingSystem::default(),
    }
}

/// A cell that knows every agent already: growing is no part of the figure.
fn cell(events: &[MatchFinished]) -> EnvironmentCell {
    let key = CellKey::Environment(definition().id);
    let detail = HeadDetail::Environment(definition());
    let head = Head { applied: 0, counted: 1, last: None, detail };
    let row = Row { key: RowKey::Head(key.clone()), value: Value::Head(head) };
    let Cell::Environment(mut cell) = Cell::from_rows(key, [row]) else { unreachable!() };
    for (event, offset) in events.iter().zip(1..) {
        cell.play(offset, event);
    }
    cell
}

/// The fastest time of each part so far.
struct Fastest(Vec<Duration>);

impl Fastest {
    fn new() -> Fastest {
        Fastest(vec![Duration::MAX; MATCHES / PART])
    }

    /// Does one round over all parts.
    fn round<T>(&mut self, events: &[T], mut work: impl FnMut(u64, &T)) {
        for (index, (part, fastest)) in events.chunks(PART).zip(&mut self.0).enumerate() {
            let started = Instant::now();
            for (event, offset) in part.iter().zip((index * PART) as u64 + 1..) {
                work(offset, event);
            }
            *fastest = started.elapsed().min(*fastest);
        }
    }

    fn show(&self, name: &str) -> f64 {
        let parts = self.0.iter().filter(|part| **part < Duration::MAX);
        let (sum, count) = parts.fold((Duration::ZERO, 0), |(s, n), part| (s + *part, n + PART));
        let nanos = sum.as_nanos() as f64 / count as f64;
        println!("{name:28} {nanos:7.1} ns  {:6.2} million/s", 1_000.0 / nanos);
        nanos
    }
}

fn main() {
    let events = events();
    let mut cell = cell(&events);
    let ratings: HashMap<AgentId, i64, foldhash::fast::RandomState> =
        (0..AGENTS).map(|n| (AgentId::new(name(n)).unwrap(), n as i64)).collect();
    let stepped: Vec<Event> =
        events[..MATCHES / 10].iter().cloned().map(Event::MatchFinished).collect();
    let (mut least, mut fold, mut step) = (Fastest::new(), Fastest::new(), Fastest::new());
    for _ in 0..ROUNDS {
        least.round(&events, |_, event| {
            let players = event.players.as_slice();
            let (a, b) = (ratings[&players[0].agent], ratings[&players[1].agent]);
            black_box(libm::exp2((b - a) as f64 * 1e-9));
        });
        fold.round(&events, |offset, event| {
            black_box(cell.play(offset, event));
        });
        let mut cell = Cell::new(CellKey::Environment(definition().id));
        cell.step(0, &Event::EnvironmentDefined(definition()), &Nothing);
        step.round(&stepped, |offset, event| {
            black_box(cell.step(offset, event, &Nothing));
        });
    }
    println!("{AGENTS} agents, {MATCHES} matches by Zipf's law, best of {ROUNDS} rounds, one core");
    let least = least.show("two look-ups and one exp2");
    let fold = fold.show("fold alone");
    println!("{:28} {:7.2}", "  ratio", fold / least);
    step.show("step with hashes and rows");
}
