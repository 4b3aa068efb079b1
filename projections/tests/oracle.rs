//! A slow oracle of its own (plain f64, the platform's pow, no code of the fold) beside the real
//! fold, over every match of three public sources.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "the oracle is plain f64 with powf")]

mod support;

use std::collections::{BTreeMap, HashMap};

use agon_projections::board::Standing;
use agon_projections::board::ranked::Ties;
use agon_projections::row::{Rating, RowKey, Value};
use agon_projections::{Outcome, invariants};
use agon_schema::Event;
use agon_schema::rating::{Elo, KStep};
use support::{
    Fold, MatchLine, define, environment, k, match_lines, own_rows, placements, played, player,
};

#[derive(Clone, Debug)]
struct Slow {
    rating: f64,
    games: u32,
    wins: u32,
    draws: u32,
    losses: u32,
}

/// The rules in the oracle's own words.
struct Rules {
    start: f64,
    /// (games below, K), rising.
    k: Vec<(u32, f64)>,
    floor: f64,
    home: f64,
}

const PLAIN: fn() -> Rules =
    || Rules { start: 1500.0, k: vec![(u32::MAX, 32.0)], floor: f64::NEG_INFINITY, home: 0.0 };

fn oracle(lines: &[MatchLine], rules: &Rules) -> HashMap<String, Slow> {
    let fresh = Slow { rating: rules.start, games: 0, wins: 0, draws: 0, losses: 0 };
    let mut agents: HashMap<String, Slow> = HashMap::new();
    for line in lines {
        let a = agents.get(&line.a).cloned().unwrap_or(fresh.clone());
        let b = agents.get(&line.b).cloned().unwrap_or(fresh.clone());
        let home =
            if line.context.split('|').any(|part| part == "home") { rules.home } else { 0.0 };
        let expected_a = 1.0 / (1.0 + 10f64.powf((b.rating - a.rating - home) / 400.0));
        for (name, before, scored, expected) in [
            (&line.a, a, line.outcome_a, expected_a),
            (&line.b, b, 1.0 - line.outcome_a, 1.0 - expected_a),
        ] {
            let k = rules.k.iter().find(|(below, _)| before.games < *below).unwrap().1;
            let rating = (before.rating + k * (scored - expected)).max(rules.floor);
            let after = Slow {
                rating,
                games: before.games + 1,
                wins: before.wins + u32::from(scored == 1.0),
                draws: before.draws + u32::from(scored == 0.5),
                losses: before.losses + u32::from(scored == 0.0),
            };
            agents.insert(name.clone(), after);
        }
    }
    agents
}

fn fold(lines: &[MatchLine], elo: Elo) -> Fold {
    let mut fold = Fold::new(environment("e"));
    assert!(matches!(fold.step(&define("e", elo)), Outcome::Counted(_)));
    for line in lines {
        let (a, b) = placements(line.outcome_a);
        let is_home = line.context.split('|').any(|part| part == "home");
        let players = vec![player(&line.a, a, is_home), player(&line.b, b, false)];
        let mut event = played("e", &line.match_id, players);
        event.occurred = line.played_on;
        let outcome = fold.step(&Event::MatchFinished(event));
        assert!(matches!(outcome, Outcome::Counted(_)), "{line:?}: {outcome:?}");
    }
    fold
}

fn ratings(fold: &Fold) -> BTreeMap<String, Rating> {
    let rows = own_rows(&fold.cell).into_iter();
    rows.filter_map(|row| match (row.key, row.value) {
        (RowKey::Entrant(_, agent), Value::Rating(rating)) => {
            Some((agent.as_str().to_owned(), rating))
        }
        _ => None,
    })
    .collect()
}

/// Folds both ways and compares every agent; gives the real fold.
fn compare(lines: &[MatchLine], rules: &Rules, elo: Elo) -> Fold {
    let slow = oracle(lines, rules);
    let fold = fold(lines, elo);
    let fast = ratings(&fold);
    assert_eq!(fast.len(), slow.len());
    for (agent, rating) in &fast {
        let Slow { rating: points, games, wins, draws, losses } = slow[agent];
        let apart = (rating.rating_micros as f64 / 1e6 - points).abs();
        assert!(apart <= 0.001, "{agent}: {points} is {apart} from {rating:?}");
        let counts = (rating.games, rating.wins, rating.draws, rating.losses);
        assert_eq!(counts, (games, wins, draws, losses), "{agent}");
        assert!(invariants::games_add_up(rating));
    }
    fold
}

fn top(fold: &Fold, count: usize) -> Vec<(String, f64)> {
    let board = agon_projections::board::Board::from_rows(fold.cell.key(), own_rows(&fold.cell));
    let page = board.page(0, count, Ties::Competition);
    page.iter()
        .map(|entry| match entry.standing {
            Standing::Rating(rating) => (entry.agent.to_owned(), rating.rating_micros as f64 / 1e6),
            Standing::Score(_) => panic!("an environment has ratings"),
        })
        .collect()
}

fn check_top(fold: &Fold, want: &[(&str, f64)]) {
    for ((agent, rating), (want_agent, want_rating)) in top(fold, want.len()).iter().zip(want) {
        assert_eq!(agent, want_agent);
        assert!((rating - want_rating).abs() <= 0.001, "{agent}: {rating}, not {want_rating}");
    }
}

#[test]
fn football() {
    let Some(lines) = match_lines("football-international/matches.csv.gz") else { return };
    assert_eq!(lines.len(), 45_810);
    let fold = compare(&lines, &PLAIN(), Elo::default());
    assert_eq!(fold.cell.slots(), 333);
    check_top(
        &fold,
        &[
            ("Brazil", 2064.9646),
            ("Argentina", 2040.5287),
            ("France", 1994.9458),
            ("Netherlands", 1993.0844),
            ("Spain", 1958.7505),
        ],
    );
    let brazil = ratings(&fold)["Brazil"];
    let counts = (brazil.games, brazil.wins, brazil.draws, brazil.losses);
    assert_eq!(counts, (1022, 655, 206, 161));
    let all: Vec<Rating> = ratings(&fold).into_values().collect();
    assert!(invariants::points_are_conserved(1_500_000_000, &all));
}

#[test]
fn football_with_home_steps_and_floor() {
    let Some(lines) = match_lines("football-international/matches.csv.gz") else { return };
    let rules = Rules {
        start: 1200.0,
        k: vec![(10, 40.0), (20, 32.0), (u32::MAX, 24.0)],
        floor: 1000.0,
        home: 100.0,
    };
    let step = |below_games, k| KStep { below_games, k };
    let steps = vec![step(Some(10), 40.0), step(Some(20), 32.0), step(None, 24.0)];
    let elo = Elo::new(1200.0, steps, Some(1000.0), 100.0, 0.5).unwrap();
    let fold = compare(&lines, &rules, elo);
    let lowest = ratings(&fold).into_values().map(|rating| rating.rating_micros).min();
    assert_eq!(lowest, Some(1_000_000_000), "the floor was reached");
}

#[test]
fn nfl() {
    let Some(lines) = match_lines("nfl-elo-538/matches.csv.gz") else { return };
    assert_eq!(lines.len(), 16_810);
    let fold = compare(&lines, &PLAIN(), Elo::default());
    assert_eq!(fold.cell.slots(), 123);
    check_top(&fold, &[("KC", 1806.680)]);
    // As its publishers play it: home counts 65 points, K is 20.
    let rules = Rules { k: vec![(u32::MAX, 20.0)], home: 65.0, ..PLAIN() };
    compare(&lines, &rules, Elo::new(1500.0, k(20.0), None, 65.0, 0.5).unwrap());
}

#[test]
fn swebench_pairs() {
    let Some(lines) = match_lines("swebench-submissions/pairwise_matches.csv.gz") else { return };
    assert_eq!(lines.len(), 52_500);
    let fold = compare(&lines, &PLAIN(), Elo::default());
    assert_eq!(fold.cell.slots(), 15);
    assert!(ratings(&fold).values().all(|rating| rating.games == 7_000));
}
