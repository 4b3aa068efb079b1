//! Who sends most, against exact counts: no count too low, none too high by more than its error,
//! nobody left out who sends more than the list's error, and the same after a load.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use agon_projections::frequent::{DisjointTop, Frequent, PLACES, Places, Ranking, SharedTop, Top};
use proptest::prelude::*;
use support::Chance;

/// A partition, counted by places and in full.
#[derive(Clone, Default)]
struct Counted {
    places: Places,
    exact: BTreeMap<String, u64>,
    messages: u64,
}

impl Counted {
    fn count(&mut self, name: &str) -> u16 {
        *self.exact.entry(name.to_owned()).or_default() += 1;
        self.messages += 1;
        self.places.count(name)
    }

    fn rows(&self) -> Vec<(u16, Frequent)> {
        (0..PLACES as u16).filter_map(|n| Some((n, self.places.get(n)?.clone()))).collect()
    }

    fn ranking(&self) -> Ranking {
        let mut ranking = Ranking::default();
        self.rows().into_iter().for_each(|(place, frequent)| ranking.put(place, frequent));
        ranking
    }
}

/// Names as they come: some often, many once; `skew` more and more the first ones.
fn name(chance: &mut Chance, names: u64, skew: u32) -> String {
    let number = (0..=skew).map(|_| chance.below(names)).min().unwrap();
    format!("{}{number}", "n".repeat(number as usize % 3))
}

fn check(top: &Top, exact: &BTreeMap<String, u64>) {
    for Frequent { name, messages, error } in &top.first {
        let exact = exact[name];
        assert!(exact <= *messages && messages - error <= exact, "{name}: {messages} - {error}");
        assert!(error <= &top.error, "{name}: {error} of {}", top.error);
    }
    let order = |one: &Frequent, other: &Frequent| {
        (other.messages, &one.name) <= (one.messages, &other.name)
            && (one.messages > other.messages || one.name < other.name)
    };
    assert!(top.first.windows(2).all(|pair| order(&pair[0], &pair[1])), "{:?}", top.first);
    let least = top.first.last().map_or(0, |last| last.messages);
    for (name, count) in exact.iter().filter(|(_, count)| **count > least.max(top.error)) {
        assert!(top.first.iter().any(|found| found.name == *name), "{name} has {count}");
    }
}

fn disjoint<'a>(all: impl IntoIterator<Item = &'a Counted>, limit: usize) -> Top {
    let mut top = DisjointTop::new(limit);
    all.into_iter().for_each(|counted| top.add(&counted.ranking()));
    top.finish()
}

fn shared<'a>(all: impl IntoIterator<Item = &'a Counted>, limit: usize) -> Top {
    let mut top = SharedTop::new(limit);
    all.into_iter().for_each(|counted| top.add(&counted.ranking()));
    top.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn counts_are_within_their_errors(
        seed: u64,
        names in prop::sample::select(vec![3, 255, 256, 257, 2_000]),
        skew in 0..4_u32,
        messages in 0..6_000_u64,
    ) {
        let (mut chance, mut counted) = (Chance(seed), Counted::default());
        for _ in 0..messages {
            counted.count(&name(&mut chance, names, skew));
        }
        let top = disjoint([&counted], 20);
        check(&top, &counted.exact);
        prop_assert!(top.error <= counted.messages / PLACES as u64);
        let sum: u64 = counted.rows().iter().map(|(_, frequent)| frequent.messages).sum();
        prop_assert_eq!(sum, counted.messages, "every message stands somewhere");
        if counted.exact.len() <= PLACES {
            prop_assert!(top.first.iter().all(|frequent| frequent.error == 0));
        }
    }

    #[test]
    fn a_load_changes_no_place(seed: u64, stops in prop::collection::vec(0..3_000_u64, 1..4)) {
        let (mut chance, mut one) = (Chance(seed), Counted::default());
        let mut other = one.clone();
        for step in 0..3_000 {
            let name = name(&mut chance, 600, 1);
            prop_assert_eq!(one.count(&name), other.count(&name), "step {}", step);
            if stops.contains(&step) {
                let mut rows = other.rows();
                chance.shuffle(&mut rows);
                other.places = Places::default();
                let is_row = |(place, row)| other.places.load(place, row);
                prop_assert!(rows.into_iter().all(is_row));
            }
        }
        prop_assert_eq!(one.rows(), other.rows());
    }

    /// Partitions that share no name, as users; and such as share them, as servers.
    #[test]
    fn partitions_together_are_within_their_errors(
        seed: u64,
        names in prop::sample::select(vec![5, 700, 3_000]),
        limit in 1..40_usize,
    ) {
        let mut chance = Chance(seed);
        let mut partitions = vec![Counted::default(); 4];
        for _ in 0..8_000 {
            let name = name(&mut chance, names, 2);
            let home = name.bytes().map(usize::from).sum::<usize>() % 4;
            partitions[home].count(&name);
        }
        let exact: BTreeMap<String, u64> =
            partitions.iter().flat_map(|counted| counted.exact.clone()).collect();
        check(&disjoint(&partitions, limit), &exact);

        let (mut spread, mut whole) = (vec![Counted::default(); 4], BTreeMap::new());
        for _ in 0..8_000 {
            let name = name(&mut chance, names, 2);
            *whole.entry(name.clone()).or_default() += 1;
            let at = chance.below(4) as usize;
            spread[at].count(&name);
        }
        check(&shared(&spread, limit), &whole);
        if whole.len() <= PLACES {
            let top = shared(&spread, limit);
            prop_assert!(top.error == 0 && top.first.iter().all(|frequent| frequent.error == 0));
        }
    }
}

#[test]
fn a_name_that_comes_late_and_often_is_found() {
    let mut counted = Counted::default();
    for n in 0..20_000 {
        counted.count(&format!("once {n}"));
    }
    for _ in 0..500 {
        counted.count("often");
    }
    let top = disjoint([&counted], 1);
    assert_eq!(top.first[0].name, "often");
    assert!(top.first[0].messages - top.first[0].error == 500, "{top:?}");
}

#[test]
fn an_empty_name_is_a_name() {
    let mut counted = Counted::default();
    for name in ["", "a", "", "b"] {
        counted.count(name);
    }
    let found = disjoint([&counted], 9).first;
    let found: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.messages)).collect();
    assert_eq!(found, [("", 2), ("a", 1), ("b", 1)]);
    assert!(!Places::default().load(PLACES as u16, Frequent::default()), "there is no such place");
}
