//! Elo against published figures, reference vectors and a slow formula of its own.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "the independent formula is plain f64 with powf")]

mod support;

use agon_projections::elo::{MICROS, RATING_MICROS_MAX, Standing, expected_score, rate, to_micros};
use agon_schema::rating::{Elo, KStep};
use proptest::prelude::*;
use serde_json::Value as Json;
use support::{Chance, Fold, agent, data, define, duel, environment, k, played, player};

fn vectors() -> Option<Json> {
    data("rating-vectors/elo.json").map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

/// The textbook's words, in plain f64.
fn slow_expected(own: f64, other: f64) -> f64 {
    1.0 / (1.0 + 10f64.powf((other - own) / 400.0))
}

/// Every player against every other one, in no particular order, in points.
fn slow_rate(elo: &Elo, players: &[Standing]) -> Vec<f64> {
    let points = |p: &Standing| p.rating_micros as f64 / 1e6;
    let with_home = |p: &Standing| points(p) + if p.home { elo.home_advantage() } else { 0.0 };
    let mut after = Vec::new();
    for (index, own) in players.iter().enumerate() {
        let mut gained = 0.0;
        for (other_index, other) in players.iter().enumerate().rev() {
            if other_index != index {
                let score = match own.placement.cmp(&other.placement) {
                    std::cmp::Ordering::Less => 1.0,
                    std::cmp::Ordering::Equal => elo.draw_score(),
                    std::cmp::Ordering::Greater => 0.0,
                };
                gained += score - slow_expected(with_home(own), with_home(other));
            }
        }
        let moved = points(own) + elo.k(own.games) * gained / (players.len() as f64 - 1.0);
        after.push(elo.floor().map_or(moved, |floor| moved.max(floor)));
    }
    after
}

fn standing(rating: f64, placement: u32) -> Standing {
    Standing { rating_micros: to_micros(rating), games: 0, placement, home: false }
}

fn rated(elo: &Elo, players: &[Standing]) -> Vec<i64> {
    let mut after = Vec::new();
    rate(elo, players, &mut after);
    after
}

#[test]
fn expected_scores_agree_with_the_vectors() {
    let Some(vectors) = vectors() else { return };
    let cases = vectors["expected_score"].as_array().unwrap();
    assert_eq!(cases.len(), 11);
    for case in cases {
        let (difference, expected) =
            (case["difference"].as_f64().unwrap(), case["expected"].as_f64().unwrap());
        let got = expected_score(difference);
        assert!((got - expected).abs() <= 1e-12, "{difference}: {got}, not {expected}");
    }
}

#[test]
fn the_published_example_comes_out() {
    let Some(vectors) = vectors() else { return };
    let example = &vectors["published"][0];
    let (own, k) = (example["player"].as_f64().unwrap(), example["k"].as_f64().unwrap());
    let (mut expected, mut scored) = (0.0, 0.0);
    for game in example["games"].as_array().unwrap() {
        expected += expected_score(own - game["rating"].as_f64().unwrap());
        scored += game["score"].as_f64().unwrap();
    }
    let new = own + k * (scored - expected);
    let near = |name: &str, got: f64, tolerance: f64| {
        let want = example[name].as_f64().unwrap();
        assert!((got - want).abs() <= tolerance, "{name}: {got}, not {want}");
    };
    near("exact_expected_sum", expected, 1e-12);
    near("exact_new_rating", new, 1e-9);
    near("published_new_rating", new, example["published_tolerance"].as_f64().unwrap());
}

#[test]
fn the_sequence_comes_out() {
    let Some(vectors) = vectors() else { return };
    let mut fold = Fold::new(environment("e"));
    fold.step(&define("e", Elo::default()));
    for (index, line) in vectors["sequence"]["matches"].as_array().unwrap().iter().enumerate() {
        let (a, b) = (line[0].as_str().unwrap(), line[1].as_str().unwrap());
        fold.step(&duel("e", &index.to_string(), a, b, line[2].as_f64().unwrap()));
    }
    let finals = vectors["sequence"]["final"].as_object().unwrap();
    assert_eq!(finals.len(), 3);
    for (name, want) in finals {
        let got = rating(&fold, name) as f64 / MICROS;
        // Five roundings to a millionth lie between the two.
        assert!((got - want.as_f64().unwrap()).abs() <= 1e-6, "{name}: {got}, not {want}");
    }
}

fn rating(fold: &Fold, name: &str) -> i64 {
    let agon_projections::Cell::Environment(cell) = &fold.cell else { unreachable!() };
    cell.rating(&agent(name)).unwrap().rating_micros
}

#[test]
fn one_match_by_hand() {
    let with = |start, floor, home, draw| Elo::new(start, k(32.0), floor, home, draw).unwrap();
    let plain = with(1500.0, None, 0.0, 0.5);
    let home = |mut s: Standing| {
        s.home = true;
        s
    };
    for (name, elo, first, second, after) in [
        ("equal", &plain, standing(1500.0, 1), standing(1500.0, 2), (1516.0, 1484.0)),
        ("drawn", &plain, standing(1500.0, 1), standing(1500.0, 1), (1500.0, 1500.0)),
        ("favourite", &plain, standing(1900.0, 1), standing(1500.0, 2), (1902.909091, 1497.090909)),
        ("upset", &plain, standing(1500.0, 1), standing(1900.0, 2), (1529.090909, 1870.909091)),
        ("drawn up", &plain, standing(1500.0, 1), standing(1900.0, 1), (1513.090909, 1886.909091)),
        (
            "home helps nobody's gain",
            &with(1500.0, None, 400.0, 0.5),
            home(standing(1500.0, 1)),
            standing(1500.0, 2),
            (1502.909091, 1497.090909),
        ),
        (
            "both at home",
            &with(1500.0, None, 400.0, 0.5),
            home(standing(1500.0, 1)),
            home(standing(1500.0, 2)),
            (1516.0, 1484.0),
        ),
        (
            "floor",
            &with(100.0, Some(100.0), 0.0, 0.5),
            standing(100.0, 1),
            standing(105.0, 2),
            (116.230243, 100.0),
        ),
        (
            "a draw scores nothing",
            &with(1500.0, None, 0.0, 0.0),
            standing(1500.0, 1),
            standing(1500.0, 1),
            (1484.0, 1484.0),
        ),
        (
            "a draw scores a third",
            &with(1500.0, None, 0.0, 1.0 / 3.0),
            standing(1500.0, 1),
            standing(1900.0, 1),
            (1507.757576, 1881.575758),
        ),
    ] {
        let want = vec![to_micros(after.0), to_micros(after.1)];
        assert_eq!(rated(elo, &[first, second]), want, "{name}");
    }
}

#[test]
fn halves_round_to_even() {
    // An expected score of one half makes the change K / 2 exactly.
    for (k_micros, change) in [(1, 0), (3, 2), (5, 2), (7, 4)] {
        let elo = Elo::new(0.0, k(f64::from(k_micros) / MICROS), None, 0.0, 0.5).unwrap();
        let after = rated(&elo, &[standing(0.0, 1), standing(0.0, 2)]);
        assert_eq!(after, [change, -change], "K of {k_micros} millionths");
    }
}

#[test]
fn k_follows_the_games_of_each_player() {
    let step = |below_games, k| KStep { below_games, k };
    let steps = vec![step(Some(10), 40.0), step(Some(20), 32.0), step(None, 24.0)];
    let elo = Elo::new(1500.0, steps, None, 0.0, 0.5).unwrap();
    for (games, k) in [(0, 40.0), (9, 40.0), (10, 32.0), (19, 32.0), (20, 24.0), (u32::MAX, 24.0)] {
        let mut first = standing(1500.0, 1);
        first.games = games;
        let after = rated(&elo, &[first, standing(1500.0, 2)]);
        assert_eq!(after, [to_micros(1500.0 + k / 2.0), to_micros(1480.0)], "{games} games");
    }
    // In a sequence the tenth match is the last at 40 and the twentieth the last at 32.
    let mut fold = Fold::new(environment("e"));
    fold.step(&define("e", elo));
    let (mut gained, mut before) = (Vec::new(), to_micros(1500.0));
    for n in 0..22 {
        let newcomer = format!("newcomer {n}");
        fold.step(&duel("e", &n.to_string(), "a", &newcomer, 1.0));
        let now = rating(&fold, "a");
        let k =
            (now - before) as f64 / MICROS / (1.0 - slow_expected(before as f64 / MICROS, 1500.0));
        gained.push(k.round() as u32);
        before = now;
    }
    let want = [vec![40; 10], vec![32; 10], vec![24; 2]].concat();
    assert_eq!(gained, want);
}

#[test]
fn many_players_by_hand() {
    // Three equal ones: each pair at K 16; first +16, second 0, third -16.
    let three = [standing(1500.0, 1), standing(1500.0, 2), standing(1500.0, 3)];
    let elo = Elo::default();
    assert_eq!(rated(&elo, &three), [1516.0, 1500.0, 1484.0].map(to_micros));
    // Two share the first place: +8 each from the third.
    let shared = [standing(1500.0, 1), standing(1500.0, 1), standing(1500.0, 2)];
    assert_eq!(rated(&elo, &shared), [1508.0, 1508.0, 1484.0].map(to_micros));
}

#[test]
fn ratings_stop_at_the_ends() {
    let elo = Elo::new(0.0, k(10_000.0), None, 0.0, 0.5).unwrap();
    let at =
        |rating_micros, placement| Standing { rating_micros, games: 0, placement, home: false };
    let ends = [at(RATING_MICROS_MAX, 1), at(RATING_MICROS_MAX, 2)];
    let after = rated(&elo, &ends);
    assert_eq!(after, [RATING_MICROS_MAX, RATING_MICROS_MAX - 5_000_000_000]);
    let after = rated(&elo, &[at(-RATING_MICROS_MAX, 1), at(-RATING_MICROS_MAX, 2)]);
    assert_eq!(after, [-RATING_MICROS_MAX + 5_000_000_000, -RATING_MICROS_MAX]);
}

fn standings(max: usize) -> impl Strategy<Value = Vec<Standing>> {
    let one = (-4000.0..4000.0f64, 0..40u32, 1..=64u32, any::<bool>());
    prop::collection::vec(one, 2..=max).prop_map(|players| {
        let mut players: Vec<Standing> = players
            .into_iter()
            .map(|(rating, games, placement, home)| Standing {
                rating_micros: to_micros(rating),
                games,
                placement,
                home,
            })
            .collect();
        players.sort_by_key(|p| p.placement);
        players
    })
}

proptest! {
    #[test]
    fn agrees_with_the_slow_formula(
        players in standings(64),
        k_first in 0.001..100.0f64,
        k_later in 0.001..100.0f64,
        floor in prop::option::of(-4000.0..1000.0f64),
        home in -200.0..200.0f64,
        draw in 0.0..=1.0f64,
    ) {
        let steps = vec![
            KStep { below_games: Some(20), k: k_first },
            KStep { below_games: None, k: k_later },
        ];
        let elo = Elo::new(4000.0, steps, floor, home, draw).unwrap();
        for (got, want) in rated(&elo, &players).iter().zip(slow_rate(&elo, &players)) {
            // One rounding of half a millionth, and the last digits of two ways to add.
            let apart = (*got as f64 - want * MICROS).abs();
            prop_assert!(apart <= 0.51, "{got} is {apart} millionths from {want}");
        }
    }

    #[test]
    fn two_players_exchange_points(
        players in standings(2),
        k_points in 1e-6..10_000.0f64,
        home in -1e6..1e6f64,
    ) {
        let elo = Elo::new(1500.0, k(k_points), None, home, 0.5).unwrap();
        let before: i64 = players.iter().map(|p| p.rating_micros).sum();
        prop_assert_eq!(rated(&elo, &players).iter().sum::<i64>(), before);
    }

    #[test]
    fn many_players_exchange_points_but_for_one_rounding_each(players in standings(64)) {
        let before: i64 = players.iter().map(|p| p.rating_micros).sum();
        let mut same_k = players.clone();
        same_k.iter_mut().for_each(|p| p.games = 0);
        let after: i64 = rated(&Elo::default(), &same_k).iter().sum();
        prop_assert!((after - before).unsigned_abs() <= players.len() as u64 / 2 + 1);
    }

    #[test]
    fn the_order_in_which_players_are_sent_does_not_matter(
        players in standings(64),
        seed in any::<u64>(),
    ) {
        let sent: Vec<_> = players
            .iter()
            .enumerate()
            .map(|(n, p)| player(&format!("agent {n}"), p.placement, p.home))
            .collect();
        let mut shuffled = sent.clone();
        Chance(seed).shuffle(&mut shuffled);
        let elo = Elo::new(1500.0, k(32.0), None, 77.0, 0.4).unwrap();
        let folds = [sent, shuffled].map(|players| {
            let mut fold = Fold::new(environment("e"));
            fold.step(&define("e", elo.clone()));
            let event = played("e", "1", players);
            fold.step(&agon_schema::Event::MatchFinished(event));
            fold.bytes()
        });
        prop_assert_eq!(&folds[0], &folds[1]);
    }
}
