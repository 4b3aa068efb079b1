//! One long story of all kinds of events and the hash of every row it leaves: the same in debug
//! and release, today and tomorrow. Where it changes, so does what users see, and FOLD_VERSION.
#![allow(clippy::unwrap_used)]

mod support;

use agon_projections::row::Value;
use agon_projections::row_bytes::{key_bytes, value_bytes};
use agon_projections::{CellKey, FOLD_VERSION, RowKey};
use agon_schema::codec::encode_malformed_change;
use agon_schema::event::{Aggregation, Direction};
use agon_schema::rating::{Elo, KStep};
use agon_schema::{ContentHash, Event, Record, Topic, encode};
use support::{
    Chance, World, benchmark_event, define, define_benchmark, environment_event, k, stream_event,
};

/// Of fold version 2.
const GOLDEN: &str = "629defef5df3a33d472563d93e1019f8";

const EVENTS: usize = 2_000;

fn definitions() -> Vec<Event> {
    let step = |below_games, k| KStep { below_games, k };
    let steps = vec![step(Some(10), 40.0), step(Some(20), 32.0), step(None, 24.0)];
    let mut events = vec![
        define("plain", Elo::default()),
        define("stepped", Elo::new(1200.0, steps, Some(1100.0), 65.0, 0.4).unwrap()),
        define("wild", Elo::new(-1e6, k(10_000.0), None, 1e6, 1.0).unwrap()),
    ];
    for (id, direction, aggregation) in [
        ("best", Direction::Lower, Aggregation::Best),
        ("last", Direction::Higher, Aggregation::Last),
        ("mean", Direction::Higher, Aggregation::Mean),
        ("sum", Direction::Lower, Aggregation::Sum),
    ] {
        events.push(define_benchmark(id, "score", direction, aggregation));
    }
    events
}

fn record(event: &Event) -> (Topic, Record) {
    (event.topic(), encode(event, "golden", 0))
}

fn story() -> Vec<(Topic, Record)> {
    let mut chance = Chance(2026);
    let mut records: Vec<_> = definitions().iter().map(record).collect();
    while records.len() < EVENTS {
        let seed = chance.next();
        let next = match chance.below(20) {
            0..=9 => {
                let environment = chance.pick(&["plain", "stepped", "wild", "undefined"]);
                record(&environment_event(environment, seed))
            }
            10..=14 => {
                let benchmark = chance.pick(&["best", "last", "mean", "sum", "undefined"]);
                record(&benchmark_event(benchmark, seed))
            }
            15..=17 => record(&stream_event(seed)),
            18 => chance.pick(&records),
            _ => {
                let line = format!("{{\"no\": \"change {}\"}}", chance.below(30));
                (Topic::RecentChange, encode_malformed_change(line.as_bytes(), "golden", 0))
            }
        };
        records.push(next);
    }
    records
}

fn rows(world: &World) -> Vec<(Vec<u8>, Vec<u8>)> {
    let loose = world.rows.iter().map(|(key, value)| (key_bytes(key), value_bytes(value)));
    let mut rows: Vec<_> =
        loose.chain(world.cells.values().flat_map(|cell| cell.bytes())).collect();
    rows.sort();
    rows
}

fn hash(rows: &[(Vec<u8>, Vec<u8>)]) -> String {
    let mut bytes = Vec::new();
    for part in rows.iter().flat_map(|(key, value)| [key, value]) {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    ContentHash::of_bytes(&bytes).0.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_same_events_give_the_same_bits_for_ever() {
    let mut world = World::default();
    story().iter().for_each(|(topic, record)| world.feed(*topic, record));
    let rejected = world.dead.len() as u64;
    assert_eq!(world.counted + world.duplicates + rejected, EVENTS as u64);
    // A golden hash over a story in which little happens would prove little.
    assert!(
        world.counted > 1_000 && world.duplicates > 30 && rejected > 200,
        "{}",
        summary(&world)
    );
    let rows = rows(&world);
    assert_eq!(hash(&rows), GOLDEN, "fold version {FOLD_VERSION}: {}", summary(&world));
}

fn summary(world: &World) -> String {
    let (counted, duplicates) = (world.counted, world.duplicates);
    let ratings: Vec<String> = world
        .cells
        .values()
        .flat_map(|fold| support::own_rows(&fold.cell))
        .filter_map(|row| match (row.key, row.value) {
            (RowKey::Entrant(CellKey::Environment(id), agent), Value::Rating(rating)) => {
                Some(format!("{id} {agent} {}", rating.rating_micros))
            }
            _ => None,
        })
        .take(10)
        .collect();
    let rejected = world.dead.len();
    format!("{counted} counted, {duplicates} duplicates, {rejected} rejected; {ratings:?}")
}
