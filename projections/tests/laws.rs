//! Laws of the folds over any sequence of events: duplicates change nothing, a stop and a load
//! change nothing, other cells change nothing, the first of two that conflict stands, and nothing
//! panics.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use agon_projections::elo::RATING_MICROS_MAX;
use agon_projections::row::{HeadDetail, Rating, RowKey, Value};
use agon_projections::{CellKey, Outcome, Reason, Row, invariants};
use agon_schema::event::Event;
use agon_schema::rating::Elo;
use proptest::prelude::*;
use support::{
    Chance, Fold, benchmark, benchmark_event, define, define_benchmark, differences, environment,
    environment_event, own_rows, stream_event,
};

const NONE: [&str; 0] = [];

/// Which kind of cell, and the numbers its events are made from.
#[derive(Clone, Debug)]
struct Story {
    kind: u8,
    defined: bool,
    seeds: Vec<u64>,
}

impl Story {
    fn key(&self) -> CellKey {
        match self.kind {
            0 => environment("e"),
            1 => benchmark("b"),
            _ => CellKey::Stream(3),
        }
    }

    fn events(&self) -> Vec<Event> {
        let make = |seed: &u64| match self.kind {
            0 => environment_event("e", *seed),
            1 => benchmark_event("b", *seed),
            _ => stream_event(*seed),
        };
        self.definition().into_iter().chain(self.seeds.iter().map(make)).collect()
    }

    /// Without one, most events wait for a definition among them.
    fn definition(&self) -> Option<Event> {
        use agon_schema::event::{Aggregation, Direction};
        match self.kind {
            _ if !self.defined => None,
            0 => Some(define("e", Elo::default())),
            1 => Some(define_benchmark("b", "score", Direction::Lower, Aggregation::Mean)),
            _ => None,
        }
    }

    fn folded(&self) -> Fold {
        let mut fold = Fold::new(self.key());
        self.events().iter().for_each(|event| drop(fold.step(event)));
        fold
    }
}

fn story() -> impl Strategy<Value = Story> {
    let seeds = prop::collection::vec(any::<u64>(), 0..150);
    (0..3u8, prop::bool::weighted(0.7), seeds).prop_map(|(kind, defined, seeds)| Story {
        kind,
        defined,
        seeds,
    })
}

/// The same identity with other content.
fn contradicted(event: &Event) -> Event {
    let mut event = event.clone();
    match &mut event {
        Event::EnvironmentDefined(event) => {
            let elo = Elo::new(77.0, support::k(7.0), None, 0.0, 0.5).unwrap();
            event.rating = agon_schema::rating::RatingSystem::Elo(elo);
        }
        Event::BenchmarkDefined(event) => {
            event.metric = agon_schema::ids::MetricName::new("something else").unwrap();
        }
        Event::MatchFinished(event) => {
            event.occurred = support::at(1 << 33);
        }
        Event::SubmissionReceived(event) => event.artifact = Some("something else".into()),
        Event::RunScored(event) => event.metrics = support::metrics(&[("score", 123.456)]),
        Event::RecentChange(event) => event.title = Some("something else".into()),
    }
    event
}

fn check_invariants(fold: &Fold) {
    let mut ratings = Vec::new();
    for row in own_rows(&fold.cell) {
        match row.value {
            Value::Rating(rating) => {
                assert!(invariants::games_add_up(&rating), "{rating:?}");
                assert!(rating.rating_micros.abs() <= RATING_MICROS_MAX, "{rating:?}");
                ratings.push(rating);
            }
            Value::Score(score) => assert!(invariants::score_follows_runs(&score), "{score:?}"),
            Value::Head(head) => {
                if let HeadDetail::Stream(totals) = head.detail {
                    assert!(invariants::totals_are_bounded(&totals), "{totals:?}");
                }
                assert_eq!(Some(head.applied), fold.cell.applied());
            }
            Value::Server(messages) => assert!(messages > 0),
            Value::Tally(tally) => assert!(Some(tally.ver) <= fold.cell.applied()),
            other => panic!("{other:?} is no row of a cell itself"),
        }
    }
    check_placements(fold, &ratings);
}

/// In every match somebody was best: wins and draws are there for each.
fn check_placements(fold: &Fold, ratings: &[Rating]) {
    let matches = fold.side.keys().filter(|key| matches!(key, RowKey::Match(..))).count();
    let games: u64 = ratings.iter().map(|rating| u64::from(rating.games)).sum();
    let losses: u64 = ratings.iter().map(|rating| u64::from(rating.losses)).sum();
    assert!(games - losses >= matches as u64);
    let wins: u64 = ratings.iter().map(|rating| u64::from(rating.wins)).sum();
    assert!(wins <= matches as u64);
}

/// Own rows may be told of slot by slot: what was touched is all that changed.
fn check_touched(fold: &Fold) {
    let own: BTreeMap<RowKey, Value> =
        own_rows(&fold.cell).into_iter().map(|row: Row| (row.key, row.value)).collect();
    assert_eq!(own, fold.kept);
}

/// What an event touched carries its offset and its time.
fn check_stamps(fold: &Fold, offset: u64, event: &Event, touched: &[u32]) {
    for slot in touched {
        let (ver, last) = match fold.cell.row(*slot).value {
            Value::Rating(rating) => (rating.ver, rating.last),
            Value::Score(score) => (score.ver, score.last),
            Value::Tally(tally) => {
                assert_eq!(tally.ver, offset);
                continue;
            }
            _ => continue,
        };
        assert_eq!((ver, Some(last)), (offset, event.occurred()));
    }
}

fn is_counted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Counted(_))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn nothing_panics_and_the_invariants_hold(story in story()) {
        let mut fold = Fold::new(story.key());
        for (offset, event) in story.events().iter().enumerate() {
            let before = fold.cell.head_row();
            let outcome = fold.step(event);
            check_invariants(&fold);
            if let Outcome::Counted(effects) = &outcome {
                prop_assert_eq!(fold.cell.applied(), Some(offset as u64));
                check_stamps(&fold, offset as u64, event, &effects.touched);
            } else if story.kind < 2 || matches!(outcome, Outcome::Duplicate(_)) {
                prop_assert_eq!(fold.cell.head_row(), before);
            }
        }
        check_touched(&fold);
    }

    #[test]
    fn duplicates_anywhere_change_nothing(story in story(), seed in any::<u64>()) {
        let mut chance = Chance(seed);
        let (mut plain, mut fold) = (Fold::new(story.key()), Fold::new(story.key()));
        let mut counted: Vec<(u64, Event)> = Vec::new();
        let mut offset = 0;
        for event in story.events() {
            while !counted.is_empty() && chance.one_in(2) {
                let (first, event) = chance.pick(&counted);
                prop_assert_eq!(fold.step_at(offset, &event), Outcome::Duplicate(first));
                offset += 1;
            }
            let outcome = fold.step_at(offset, &event);
            prop_assert_eq!(&outcome, &plain.step_at(offset, &event));
            if is_counted(&outcome) {
                counted.push((offset, event));
            }
            offset += 1;
        }
        prop_assert_eq!(differences(&plain, &fold), NONE);
    }

    #[test]
    fn a_stop_and_a_load_change_nothing(
        story in story(),
        stops in prop::collection::vec(0..150usize, 1..4),
    ) {
        let (mut unbroken, mut fold) = (Fold::new(story.key()), Fold::new(story.key()));
        for (index, event) in story.events().iter().enumerate() {
            if stops.contains(&index) {
                fold = fold.reloaded();
                prop_assert_eq!(differences(&unbroken, &fold), NONE);
            }
            let one = unbroken.step(event);
            let other = fold.step(event);
            // Slots are numbers of the moment; the rows must be equal.
            prop_assert_eq!(std::mem::discriminant(&one), std::mem::discriminant(&other));
        }
        prop_assert_eq!(differences(&unbroken, &fold), NONE);
        check_touched(&fold);
    }

    #[test]
    fn rows_load_in_any_order(story in story(), seed in any::<u64>()) {
        let fold = story.folded();
        let mut rows = own_rows(&fold.cell);
        Chance(seed).shuffle(&mut rows);
        let mut loaded = fold.clone();
        loaded.cell = agon_projections::Cell::from_rows(story.key(), rows);
        prop_assert_eq!(differences(&fold, &loaded), NONE);
    }

    #[test]
    fn the_first_of_two_that_conflict_stands(story in story()) {
        let mut fold = Fold::new(story.key());
        let mut counted = Vec::new();
        for event in story.events() {
            if is_counted(&fold.step(&event)) {
                counted.push(event);
            }
        }
        let before = fold.clone();
        for event in &counted {
            match fold.step(&contradicted(event)) {
                Outcome::Rejected(rejection) => {
                    prop_assert_eq!(rejection.reason, Reason::ConflictingDuplicate);
                }
                other => prop_assert!(false, "{:?}: {:?}", event, other),
            }
        }
        if story.kind < 2 {
            prop_assert_eq!(differences(&before, &fold), NONE);
        } else {
            // A partition of the stream counts what it rejects, and nothing else moves.
            prop_assert!(differences(&before, &fold).len() <= 1);
            prop_assert_eq!(before.cell.slots(), fold.cell.slots());
        }
    }

    #[test]
    fn other_cells_change_nothing(
        stories in prop::collection::vec(story(), 2..5),
        seed in any::<u64>(),
    ) {
        let mut chance = Chance(seed);
        let mut left: Vec<std::vec::IntoIter<Event>> =
            stories.iter().map(|story| story.events().into_iter()).collect();
        let fresh = |story: &Story| Fold::new(story.key());
        let mut together: Vec<Fold> = stories.iter().map(fresh).collect();
        let mut alone: Vec<Vec<(u64, Event)>> = vec![Vec::new(); stories.len()];
        for offset in 0..600 {
            let index = chance.below(stories.len() as u64) as usize;
            if let Some(event) = left[index].next() {
                together[index].step_at(offset, &event);
                alone[index].push((offset, event));
            }
        }
        for ((story, together), events) in stories.iter().zip(&together).zip(alone) {
            let mut fold = fresh(story);
            events.iter().for_each(|(offset, event)| drop(fold.step_at(*offset, event)));
            prop_assert_eq!(differences(&fold, together), NONE);
        }
    }

    #[test]
    fn duels_at_one_k_make_and_lose_no_points(
        pairs in prop::collection::vec((0..9u8, 0..9u8, 0..3u8), 0..300),
        k in 1e-6..10_000.0f64,
        start in -1e6..1e6f64,
        home in -1e6..1e6f64,
    ) {
        let mut fold = Fold::new(environment("e"));
        fold.step(&define("e", Elo::new(start, support::k(k), None, home, 0.5).unwrap()));
        for (index, (a, b, outcome)) in pairs.into_iter().enumerate().filter(|(_, p)| p.0 != p.1) {
            let (first, second) = support::placements(f64::from(outcome) / 2.0);
            let players = vec![
                support::player(&format!("agent {a}"), first, index % 2 == 0),
                support::player(&format!("agent {b}"), second, false),
            ];
            fold.step(&Event::MatchFinished(support::played("e", &index.to_string(), players)));
        }
        let ratings: Vec<Rating> = own_rows(&fold.cell)
            .into_iter()
            .filter_map(|row| match row.value {
                Value::Rating(rating) => Some(rating),
                _ => None,
            })
            .collect();
        let start_micros = agon_projections::elo::to_micros(start);
        prop_assert!(invariants::points_are_conserved(start_micros, &ratings));
    }
}
