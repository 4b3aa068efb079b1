//! Distinct users against exact counts: exact below the limit, within its error above it, never
//! lower, and the same after any stop and load.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeSet, HashSet};

use agon_projections::row::{
    FirstSeen, HeadDetail, Kept, RowKey, StreamTotals, SubmissionRow, Tally, UserHash, Value,
};
use agon_projections::sketch::{BUCKET_ERROR, BUCKET_HASHES_MAX, COUNT_ERROR, Joined};
use agon_projections::sketch::{Registers, Users};
use agon_projections::stream::{EXACT_USERS_MAX, hash, is_exact};
use agon_projections::{Cell, CellKey, Known, Outcome, invariants};
use agon_schema::{Identity, NaturalId};
use proptest::prelude::*;
use support::{Chance, change, own_rows};

/// Users that have a row; events are told once each.
#[derive(Clone, Default)]
struct Rows(HashSet<UserHash>);

impl Known for Rows {
    fn first_seen(&self, _: Identity) -> Option<FirstSeen> {
        None
    }

    fn submission(&self, _: &NaturalId) -> Option<SubmissionRow> {
        None
    }

    fn user(&self, user: UserHash) -> Option<u64> {
        self.0.contains(&user).then_some(0)
    }
}

fn totals(cell: &Cell) -> StreamTotals {
    match cell.head_row().unwrap().value {
        Value::Head(head) => match head.detail {
            HeadDetail::Stream(totals) => totals,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn share_off(counted: u64, exact: u64) -> f64 {
    (counted as f64 - exact as f64).abs() / exact as f64
}

/// One message of a user, at an offset above 0.
fn send(cell: &mut Cell, rows: &mut Rows, offset: u64, user: &str) {
    let event = change(&offset.to_string(), Some(user), None, None);
    let Outcome::Counted(effects) = cell.step(offset, &event, rows) else { panic!("{user}") };
    for row in effects.rows {
        if let RowKey::User(_, user) = row.key {
            assert!(rows.0.insert(user), "a user is new once");
        }
    }
}

#[test]
fn a_partition_counts_exactly_and_then_by_a_sketch_and_never_lower() {
    let (mut cell, mut rows) = (Cell::new(CellKey::Stream(0)), Rows::default());
    let (mut chance, mut before, mut new) = (Chance(1), 0, 0_u64);
    for offset in 1..=160_000_u64 {
        // Three messages of four are of somebody new.
        let number = if chance.one_in(4) { chance.below(new.max(1)) } else { new };
        new = new.max(number + 1);
        send(&mut cell, &mut rows, offset, &format!("user {number}"));
        let totals = totals(&cell);
        assert!(totals.distinct_users >= before && invariants::totals_are_bounded(&totals));
        before = totals.distinct_users;
        if is_exact(&totals) {
            assert_eq!(totals.distinct_users, new);
        }
        if offset.is_power_of_two() {
            // What is not in a row is not in the cell.
            cell = Cell::from_rows(cell.key(), own_rows(&cell));
        }
    }
    let totals = totals(&cell);
    assert!(new > 100_000 && !is_exact(&totals));
    let off = share_off(totals.distinct_users, new);
    assert!(off < 3.0 * COUNT_ERROR, "{} of {new}: {off}", totals.distinct_users);
    assert_eq!(rows.0.len() as u64, EXACT_USERS_MAX, "rows of users are bounded");
    assert!(cell.slots() < 1_000, "{} rows", cell.slots());
}

#[test]
fn a_stop_and_a_load_anywhere_change_no_bit() {
    let (mut one, mut other) = (Cell::new(CellKey::Stream(0)), Cell::new(CellKey::Stream(0)));
    let (mut rows, mut rows_of_other) = (Rows::default(), Rows::default());
    for offset in 1..=2 * EXACT_USERS_MAX {
        let user = format!("user {offset}");
        send(&mut one, &mut rows, offset, &user);
        send(&mut other, &mut rows_of_other, offset, &user);
        if offset % 1_021 == 0 || offset.abs_diff(EXACT_USERS_MAX) < 3 {
            let mut own = own_rows(&other);
            Chance(offset).shuffle(&mut own);
            other = Cell::from_rows(other.key(), own);
        }
    }
    let sorted = |cell: &Cell| -> Vec<_> {
        let rows = own_rows(cell).into_iter();
        let mut rows: Vec<_> = rows.map(|row| (row.key, format!("{:?}", row.value))).collect();
        rows.sort();
        rows
    };
    assert!(sorted(&one) == sorted(&other));
}

#[test]
fn the_sketch_alone_stays_within_its_error_up_to_a_million_names() {
    let mut squares = Vec::new();
    for story in 0..4 {
        let (mut registers, mut micros) = (Registers::default(), 0_u64);
        for number in 1..=1_000_000_u64 {
            let user = hash(&format!("story {story}, name {number}"));
            micros += registers.insert(user).map_or(0, |(_, gain)| gain);
            assert_eq!(registers.insert(user), None, "nobody counts twice");
            if [1_000, 10_000, 100_000, 1_000_000].contains(&number) {
                let off = share_off(micros / 1_000_000, number);
                assert!(off < 3.0 * COUNT_ERROR, "{number} names: {off}");
                squares.push(off * off);
            }
        }
    }
    let root_mean_square = (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
    assert!(root_mean_square < 1.5 * COUNT_ERROR, "{root_mean_square}");
}

#[test]
fn a_row_of_registers_that_is_none_is_passed_over() {
    let registers = |place, ranks: Vec<u8>| {
        let mut row = own_rows(&with_one_user()).pop().unwrap();
        let RowKey::Tally(_, key) = &mut row.key else { panic!("{row:?}") };
        key.part = agon_projections::row::Part::Registers;
        key.place = place;
        row.value = Value::Tally(Tally { ver: 1, kept: Kept::Registers(ranks) });
        row
    };
    for (place, ranks, slots) in [(0, vec![7; 256], 1), (64, vec![7; 256], 0), (0, vec![7], 0)] {
        let cell = Cell::from_rows(CellKey::Stream(0), [registers(place, ranks)]);
        assert_eq!(cell.slots(), slots, "place {place}");
    }
}

fn with_one_user() -> Cell {
    let mut cell = Cell::new(CellKey::Stream(0));
    send(&mut cell, &mut Rows::default(), 1, "u");
    cell
}

fn users(numbers: impl Iterator<Item = u64>) -> Users {
    let mut users = Users::default();
    numbers.for_each(|number| users.insert(hash(&number.to_string())));
    users
}

fn joined<'a>(all: impl IntoIterator<Item = &'a Users>) -> (u64, bool) {
    let mut joined = Joined::default();
    all.into_iter().for_each(|users| joined.add(users));
    joined.count()
}

#[test]
fn users_of_buckets_are_within_their_error() {
    for count in [1_u64, 256, 257, 1_000, 5_000, 30_000, 100_000, 1_000_000] {
        let (counted, exact) = joined([&users(0..count)]);
        assert_eq!(exact, count as usize <= BUCKET_HASHES_MAX);
        let off = share_off(counted, count);
        assert!(off <= if exact { 0.0 } else { 3.0 * BUCKET_ERROR }, "{count}: {off}");
    }
    assert_eq!(joined([]), (0, true));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Joined buckets say what one bucket of all would say; exactly, where all of them are small.
    #[test]
    fn joined_buckets_are_one(parts in prop::collection::vec(
        prop::collection::btree_set(0..3_000_u64, 0..600), 1..6,
    )) {
        let all: BTreeSet<u64> = parts.iter().flatten().copied().collect();
        let buckets: Vec<Users> =
            parts.iter().map(|part| users(part.iter().copied())).collect();
        let (counted, exact) = joined(&buckets);
        let are_few = parts.iter().all(|part| part.len() <= BUCKET_HASHES_MAX);
        prop_assert_eq!(exact, are_few);
        if are_few {
            prop_assert_eq!(counted, all.len() as u64);
        } else {
            let mut registers = users(0..0);
            all.iter().for_each(|number| registers.insert(hash(&number.to_string())));
            prop_assert_eq!(counted, joined([&registers]).0);
        }
    }

    /// The order in which users come is no matter to a bucket.
    #[test]
    fn a_bucket_knows_no_order(
        mut numbers in prop::collection::vec(0..900_u64, 0..900),
        seed: u64,
    ) {
        let one = users(numbers.iter().copied());
        Chance(seed).shuffle(&mut numbers);
        prop_assert_eq!(one, users(numbers.into_iter()));
    }
}
