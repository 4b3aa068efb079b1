//! The board at its real block size: orders made to hurt, memory, and ids.

use agon_projections::board::ranked::{ID_BYTES_MAX, IdError, Ids, Ranked, Standing, Ties};
use proptest::prelude::*;

const ENTRANTS: u32 = 20_000;

/// An id of 18 bytes that does not sort by its number.
fn id(n: u32) -> String {
    format!("agent-{:08x}-{:03}", n.wrapping_mul(0x9e37_79b9), n % 1000)
}

fn ids(count: u32) -> Ids {
    let mut ids = Ids::new();
    for n in 0..count {
        assert_eq!(ids.intern(&id(n)), Ok(n));
    }
    ids
}

/// Compares the whole board with a sorted list, and some ranks with their count.
fn check(board: &Ranked, ids: &Ids, mut entries: Vec<(u64, u32)>) {
    assert_eq!(board.check(ids), Ok(()));
    entries.sort_by(|a, b| (a.0, ids.id(a.1)).cmp(&(b.0, ids.id(b.1))));
    assert!(board.iter_from(0).eq(entries.iter().map(|&(key, slot)| (slot, key))));
    for (ordinal, &(key, slot)) in entries.iter().enumerate().step_by(97) {
        assert_eq!(board.rank_of(ids, slot, key), Some(ordinal));
        assert_eq!(board.at(ordinal), Some(slot));
        assert_eq!(board.count_better(key), entries.partition_point(|e| e.0 < key));
        let next = board.iter_from(ordinal).next();
        assert_eq!(next, Some((slot, key)));
    }
}

#[test]
fn stands_insert_orders_made_to_hurt() {
    let ids = ids(ENTRANTS);
    let last = u64::from(ENTRANTS) - 1;
    let scattered = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let orders: [(&str, &dyn Fn(u64) -> u64); 6] = [
        ("ascending", &|n| n),
        ("descending", &|n| last - n),
        ("one key", &|_| 1500),
        ("from both ends to the middle", &|n| if n % 2 == 0 { n } else { 2 * last - n }),
        ("in front of the same place", &|n| if n < 600 { n } else { 300 + (last - n) }),
        ("scattered", &scattered),
    ];
    for (name, key_of) in orders {
        let mut board = Ranked::new();
        let entries: Vec<(u64, u32)> = (0..ENTRANTS).map(|n| (key_of(n.into()), n)).collect();
        for &(key, slot) in &entries {
            assert!(board.insert(&ids, slot, key), "{name}");
        }
        let entry_bytes = board.bytes() as f64 / f64::from(ENTRANTS);
        assert!(entry_bytes < 15.0, "{name}: {entry_bytes} bytes an entry");
        check(&board, &ids, entries.clone());

        let bulk = Ranked::build(&ids, entries.iter().map(|&(key, slot)| (slot, key)));
        check(&bulk, &ids, entries.clone());

        for &(key, slot) in entries.iter().filter(|e| e.1 % 10 != 0) {
            assert!(board.remove(&ids, slot, key), "{name}");
        }
        let left: Vec<_> = entries.into_iter().filter(|e| e.1 % 10 == 0).collect();
        let entry_bytes = board.bytes() as f64 / left.len() as f64;
        assert!(entry_bytes < 30.0, "{name}: {entry_bytes} bytes an entry after removals");
        check(&board, &ids, left);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Whatever way entrants came to their keys, the board is that of the keys alone.
    #[test]
    fn keeps_no_trace_of_the_way(moves in prop::collection::vec((0..3000u32, 0..400u64), 6000)) {
        let ids = ids(3000);
        let mut keys: Vec<u64> = (0..3000).map(|n| n % 7).collect();
        let mut board = Ranked::build(&ids, (0..3000).zip(keys.iter().copied()));
        for (slot, key) in moves {
            let old = std::mem::replace(&mut keys[slot as usize], key);
            prop_assert!(board.update(&ids, slot, old, key));
        }
        check(&board, &ids, keys.iter().copied().zip(0..).collect());
        let mut distinct = keys.clone();
        distinct.sort_unstable();
        distinct.dedup();
        for (n, &key) in distinct.iter().enumerate() {
            prop_assert_eq!(board.distinct_better(key), n);
        }
    }
}

#[test]
fn numbers_equal_entrants_three_ways() {
    let mut ids = Ids::new();
    let slots: Vec<u32> = ["d", "a", "c", "b", "e"].map(|id| ids.intern(id).unwrap()).into();
    let keys = [10, 20, 20, 20, 30];
    let board = Ranked::build(&ids, slots.into_iter().zip(keys));
    let check = |ties, expected: [usize; 5]| {
        let line = |s: Standing| (ids.id(s.slot).to_owned(), s.rank);
        let page: Vec<_> = board.standings(0, ties).map(line).collect();
        let names = ["d", "a", "b", "c", "e"].map(String::from);
        assert_eq!(page, names.into_iter().zip(expected).collect::<Vec<_>>(), "{ties:?}");
    };
    check(Ties::Competition, [1, 2, 2, 2, 5]);
    check(Ties::Dense, [1, 2, 2, 2, 3]);
    check(Ties::Ordinal, [1, 2, 3, 4, 5]);
}

/// Less than half of what a Redis sorted set takes for a member of 18 bytes (126).
#[test]
fn costs_few_bytes_an_entrant() {
    const COUNT: u32 = 100_000;
    let ids = ids(COUNT);
    let key = |n: u32| u64::from(n.wrapping_mul(0x85eb_ca6b));
    let mut grown = Ranked::new();
    for n in 0..COUNT {
        assert!(grown.insert(&ids, n, key(n)));
    }
    for n in 0..COUNT {
        assert!(grown.update(&ids, n, key(n), key(n) ^ 0xff_ffff));
    }
    let built = Ranked::build(&ids, (0..COUNT).map(|n| (n, key(n))));
    for (name, board) in [("grown", grown), ("built", built)] {
        let entry_bytes = (ids.bytes() + board.bytes()) as f64 / f64::from(COUNT);
        assert!(entry_bytes < 45.0, "{name}: {entry_bytes} bytes an entrant");
    }
}

#[test]
fn interns_ids_once() {
    let mut ids = Ids::new();
    assert!(ids.is_empty() && ids.slot_of("a").is_none());
    // More than a group of the arena, prefixes of each other, the longest there are.
    let names: Vec<String> = (0..1000)
        .map(|n| "é".repeat(1 + n % 60) + &n.to_string())
        .chain(["é".repeat(64)])
        .collect();
    for _ in 0..2 {
        for (slot, name) in names.iter().enumerate() {
            assert_eq!(ids.intern(name), Ok(slot as u32));
        }
    }
    for (slot, name) in names.iter().enumerate() {
        assert_eq!((ids.slot_of(name), ids.id(slot as u32)), (Some(slot as u32), &**name));
    }
    assert_eq!((ids.len(), ids.id(1001), ids.id(u32::MAX)), (1001, "", ""));
    assert_eq!(ids.slot_of("no such id"), None);
}

#[test]
fn refuses_ids_of_a_wrong_length() {
    let mut ids = Ids::new();
    for id_bytes in [0, ID_BYTES_MAX + 1, 100_000] {
        let refused = ids.intern(&"x".repeat(id_bytes));
        assert_eq!(refused, Err(IdError::Length { id_bytes }));
        assert!(refused.unwrap_err().to_string().contains("1 to 128"));
    }
    assert_eq!((ids.len(), ids.slot_of("")), (0, None));
}
