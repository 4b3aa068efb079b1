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
const ROUNDS: usize = 7;

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

    fn user(&self, _: agon_projections::row::UserHash) -> bool {
        false
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

/// Nanoseconds a match.
fn fold(cell: &mut EnvironmentCell, events: &[MatchFinished]) -> f64 {
    let started = Instant::now();
    for (event, offset) in events.iter().zip(1..) {
        black_box(cell.play(offset, event));
    }
    nanos_each(started.elapsed(), events.len())
}

/// Nanoseconds a match: two look-ups and one exp2, and nothing kept.
fn least(
    ratings: &HashMap<AgentId, i64, foldhash::fast::RandomState>,
    events: &[MatchFinished],
) -> f64 {
    let started = Instant::now();
    for event in events {
        let players = event.players.as_slice();
        let (a, b) = (ratings[&players[0].agent], ratings[&players[1].agent]);
        black_box(libm::exp2((b - a) as f64 * 1e-9));
    }
    nanos_each(started.elapsed(), events.len())
}

/// Nanoseconds an event: the whole pure step, with hashes of identity and content and all rows.
fn whole(events: &[MatchFinished]) -> f64 {
    let mut cell = Cell::new(CellKey::Environment(definition().id));
    cell.step(0, &Event::EnvironmentDefined(definition()), &Nothing);
    let events: Vec<Event> = events.iter().cloned().map(Event::MatchFinished).collect();
    let started = Instant::now();
    for (event, offset) in events.iter().zip(1..) {
        black_box(cell.step(offset, event, &Nothing));
    }
    nanos_each(started.elapsed(), events.len())
}

fn nanos_each(elapsed: Duration, count: usize) -> f64 {
    elapsed.as_nanos() as f64 / count as f64
}

fn main() {
    let events = events();
    let mut cell = cell(&events);
    let ratings = (0..AGENTS).map(|n| (AgentId::new(name(n)).unwrap(), n as i64)).collect();
    let (mut fold_ns, mut least_ns, mut whole_ns) = (f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        least_ns = least_ns.min(least(&ratings, &events));
        fold_ns = fold_ns.min(fold(&mut cell, &events));
        whole_ns = whole_ns.min(whole(&events[..MATCHES / 10]));
    }
    let millions = |nanos: f64| 1_000.0 / nanos;
    println!("{AGENTS} agents, {MATCHES} matches by Zipf's law, best of {ROUNDS} rounds, one core");
    println!("two look-ups, one exp2  {least_ns:7.1} ns  {:6.2} million/s", millions(least_ns));
    println!("fold alone              {fold_ns:7.1} ns  {:6.2} million/s", millions(fold_ns));
    println!("  ratio                 {:7.2}", fold_ns / least_ns);
    println!("step with hashes, rows  {whole_ns:7.1} ns  {:6.2} million/s", millions(whole_ns));
}
