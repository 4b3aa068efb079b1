//! Laws of the board against a sorted list, with blocks so small that they split and merge.

use proptest::prelude::*;

use super::*;

/// The same board as a plain list, sorted whenever it is asked.
#[derive(Default)]
struct Model {
    entries: Vec<(u64, String, u32)>,
}

impl Model {
    fn insert(&mut self, id: &str, slot: u32, key: u64) -> bool {
        let entry = (key, id.to_owned(), slot);
        let new = !self.entries.contains(&entry);
        if new {
            self.entries.push(entry);
            self.entries.sort();
        }
        new
    }

    fn remove(&mut self, slot: u32, key: u64) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(k, _, s)| (*s, *k) != (slot, key));
        self.entries.len() < before
    }

    fn update(&mut self, id: &str, slot: u32, old: u64, new: u64) -> bool {
        let has = |key| self.entries.iter().any(|(k, _, s)| (*s, *k) == (slot, key));
        if !has(old) || (old != new && has(new)) {
            return false;
        }
        self.remove(slot, old);
        self.insert(id, slot, new)
    }

    fn distinct_better(&self, key: u64) -> usize {
        let mut keys: Vec<u64> = self.entries.iter().map(|e| e.0).filter(|&k| k < key).collect();
        keys.dedup();
        keys.len()
    }

    fn rank(&self, ordinal: usize, ties: Ties) -> usize {
        let key = self.entries[ordinal].0;
        1 + match ties {
            Ties::Ordinal => ordinal,
            Ties::Competition => self.entries.iter().filter(|e| e.0 < key).count(),
            Ties::Dense => self.distinct_better(key),
        }
    }
}

/// Every answer of the board is the model's.
fn check(board: &Ranked, ids: &Ids, model: &Model) {
    assert_eq!(board.check(ids), Ok(()));
    assert_eq!((board.len(), board.is_empty()), (model.entries.len(), model.entries.is_empty()));
    let expected: Vec<(u32, u64)> = model.entries.iter().map(|e| (e.2, e.0)).collect();
    for from in 0..=expected.len() + 1 {
        let rest = expected.get(from..).unwrap_or_default();
        assert!(board.iter_from(from).eq(rest.iter().copied()), "from {from}");
        assert_eq!(board.at(from), rest.first().map(|e| e.0));
    }
    for (ordinal, (key, id, slot)) in model.entries.iter().enumerate() {
        assert_eq!(board.rank_of(ids, *slot, *key), Some(ordinal));
        assert_eq!(board.position(ids, *key, id), Ok(ordinal));
        // Between this entry and the next: an id right after this one.
        let cursor = format!("{id}\0");
        assert_eq!(board.position(ids, *key, &cursor), Err(ordinal + 1));
        for ties in [Ties::Competition, Ties::Dense, Ties::Ordinal] {
            let rank = model.rank(ordinal, ties);
            assert_eq!(board.rank_by(ids, *slot, *key, ties), Some(rank));
            let page: Vec<usize> = board.standings(ordinal, ties).map(|s| s.rank).take(9).collect();
            let rest = ordinal..model.entries.len().min(ordinal + 9);
            assert_eq!(page, rest.map(|n| model.rank(n, ties)).collect::<Vec<_>>());
        }
    }
    let keys = model.entries.iter().flat_map(|e| [e.0.saturating_sub(1), e.0, e.0 + 1]);
    for key in keys.chain([0, u64::MAX]) {
        assert_eq!(board.count_better(key), model.entries.iter().filter(|e| e.0 < key).count());
        assert_eq!(board.distinct_better(key), model.distinct_better(key));
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert(usize, u64),
    Remove(usize, u64),
    /// Removes whatever stands at this ordinal, modulo the length.
    RemoveAt(usize),
    Update(usize, u64, u64),
    /// Moves whatever stands at this ordinal, modulo the length.
    Move(usize, u64),
}

/// Ids that are prefixes of each other, and of more than one byte a letter.
fn names() -> Vec<String> {
    let mut names: Vec<String> = (1..40).map(|n| "a".repeat(n)).collect();
    names.extend((0..60).map(|n| format!("a{n}")));
    names.extend(["é", "éa", "e\u{301}", "Z", "z", "𝄞", "~", "\u{7f}"].map(String::from));
    names.push("é".repeat(64));
    names
}

fn op() -> impl Strategy<Value = Op> {
    let name = || 0..names().len();
    // Few keys, so that runs of equal ones cross blocks; the key 1 most of all.
    let key = || prop_oneof![2 => Just(1), 3 => 0..6u64, 1 => (1 << 32)..(1 << 32) + 3u64];
    prop_oneof![
        6 => (name(), key()).prop_map(|(n, k)| Op::Insert(n, k)),
        1 => (name(), key()).prop_map(|(n, k)| Op::Remove(n, k)),
        3 => any::<usize>().prop_map(Op::RemoveAt),
        1 => (name(), key(), key()).prop_map(|(n, a, b)| Op::Update(n, a, b)),
        3 => (any::<usize>(), key()).prop_map(|(at, k)| Op::Move(at, k)),
    ]
}

fn apply(op: &Op, ids: &Ids, names: &[String], board: &mut Ranked, model: &mut Model) {
    let slot = |name: usize| ids.slot_of(&names[name]).unwrap();
    let pick = |at: usize, model: &Model| {
        let at = at.checked_rem(model.entries.len())?;
        Some((model.entries[at].2, model.entries[at].0))
    };
    match *op {
        Op::Insert(n, key) => {
            let new = board.insert(ids, slot(n), key);
            assert_eq!(new, model.insert(&names[n], slot(n), key), "{op:?}");
        }
        Op::Remove(n, key) => {
            assert_eq!(board.remove(ids, slot(n), key), model.remove(slot(n), key), "{op:?}");
        }
        Op::Update(n, old, new) => {
            let moved = board.update(ids, slot(n), old, new);
            assert_eq!(moved, model.update(&names[n], slot(n), old, new), "{op:?}");
        }
        Op::RemoveAt(at) => {
            let Some((slot, key)) = pick(at, model) else { return };
            assert!(board.remove(ids, slot, key) && model.remove(slot, key), "{op:?}");
        }
        Op::Move(at, key) => {
            let Some((slot, old)) = pick(at, model) else { return };
            let moved = board.update(ids, slot, old, key);
            assert_eq!(moved, model.update(ids.id(slot), slot, old, key), "{op:?}");
        }
    }
}

fn interned(names: &[String]) -> Ids {
    let mut ids = Ids::new();
    for name in names {
        ids.intern(name).unwrap();
    }
    ids
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn answers_like_a_sorted_list(ops in prop::collection::vec(op(), 0..300)) {
        let names = names();
        let ids = interned(&names);
        let (mut board, mut model) = (Ranked::new(), Model::default());
        for op in &ops {
            apply(op, &ids, &names, &mut board, &mut model);
            prop_assert_eq!(board.check(&ids), Ok(()));
        }
        check(&board, &ids, &model);
    }

    #[test]
    fn goes_on_from_a_bulk_build(
        start in prop::collection::vec((0..108u32, 0..5u64), 0..200),
        ops in prop::collection::vec(op(), 0..100),
    ) {
        let names = names();
        let ids = interned(&names);
        // Slots never handed out are left out, whatever their key.
        let unknown = [(names.len() as u32, 3), (u32::MAX, 0)];
        let mut board = Ranked::build(&ids, start.iter().copied().chain(unknown));
        let mut model = Model::default();
        for (slot, key) in start {
            model.insert(ids.id(slot), slot, key);
        }
        check(&board, &ids, &model);
        for op in &ops {
            apply(op, &ids, &names, &mut board, &mut model);
        }
        check(&board, &ids, &model);
    }
}

#[test]
fn empties_in_any_order() {
    let names: Vec<String> = (0..300).map(|n| format!("{n:03}")).collect();
    let ids = interned(&names);
    let orders: [fn(u32) -> u32; 4] = [|n| n, |n| 299 - n, |n| n * 7 % 300, |n| (n ^ 1) % 300];
    let keys: [fn(u32) -> u64; 3] = [|_| 7, u64::from, |slot| u64::from(slot / 20)];
    for (fill, drain, key) in ways(&orders, &keys) {
        let mut board = Ranked::new();
        for slot in (0..300).map(fill) {
            assert!(board.insert(&ids, slot, key(slot)));
        }
        assert_eq!((board.check(&ids), board.len()), (Ok(()), 300));
        for slot in (0..300).map(drain) {
            assert!(board.remove(&ids, slot, key(slot)));
            assert_eq!(board.check(&ids), Ok(()));
        }
        assert_eq!((board.len(), board.blocks.len()), (0, 0));
    }
}

type Order = fn(u32) -> u32;
type Key = fn(u32) -> u64;

/// Every way to fill with every way to drain and every kind of keys.
fn ways(orders: &[Order], keys: &[Key]) -> Vec<(Order, Order, Key)> {
    let pairs = orders.iter().flat_map(|&fill| orders.iter().map(move |&drain| (fill, drain)));
    pairs.flat_map(|(fill, drain)| keys.iter().map(move |&key| (fill, drain, key))).collect()
}

#[test]
fn refuses_slots_and_keys_that_are_not_there() {
    let ids = interned(&["a".into(), "b".into()]);
    let mut board = Ranked::build(&ids, [(0, 5)]);
    let refused = [
        board.insert(&ids, 0, 5),
        board.insert(&ids, 2, 5),
        board.insert(&ids, u32::MAX, 0),
        board.remove(&ids, 0, 4),
        board.remove(&ids, 1, 5),
        board.remove(&ids, 9, 5),
        board.update(&ids, 0, 4, 5),
        board.update(&ids, 1, 5, 6),
        board.rank_of(&ids, 1, 5).is_some(),
        board.at(1).is_some(),
        board.iter_from(usize::MAX).next().is_some(),
    ];
    assert_eq!(refused, [false; 11]);
    assert!(board.update(&ids, 0, 5, 5), "a move to where it stands is none");
    assert_eq!((board.check(&ids), board.len()), (Ok(()), 1));
}
