//! A board of a million entrants beside the standard library's ordered set of (key, id), in one
//! run, so that the figures are a ratio and not this machine's speed.
//!
//! `cargo bench -p agon-projections --bench board`

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::Duration;

use agon_projections::board::ranked::{Ids, Ranked, Ties};
use criterion::{Criterion, criterion_group, criterion_main};

const ENTRANTS: u32 = 1_000_000;
const PAGE: usize = 50;
const SPAN: usize = 5;

/// A small generator with a fixed seed: the same work in every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn slot(&mut self) -> u32 {
        self.below(ENTRANTS.into()) as u32
    }

    /// A rating in millionths about the middle of a bell, a thousandth of the entrants tied.
    fn key(&mut self) -> u64 {
        let sum: u64 = (0..4).map(|_| self.below(500_000_000)).sum();
        if self.below(1000) == 0 { 1_000_000_000 } else { sum }
    }
}

fn id(n: u32) -> String {
    format!("agent-{:08x}-{:03}", n.wrapping_mul(0x9e37_79b9), n % 1000)
}

/// The same entrants twice: as a board, and as an ordered set that owns its ids.
struct Both {
    ids: Ids,
    keys: Vec<u64>,
    board: Ranked,
    set: BTreeSet<(u64, String)>,
}

fn both() -> Both {
    let (mut ids, mut chance) = (Ids::new(), Chance(1));
    let mut keys = Vec::with_capacity(ENTRANTS as usize);
    let mut board = Ranked::new();
    for n in 0..ENTRANTS {
        let slot = ids.intern(&id(n)).expect("an id of 18 bytes fits");
        let key = chance.key();
        board.insert(&ids, slot, key);
        keys.push(key);
    }
    let set = keys.iter().zip(0..).map(|(&key, n)| (key, id(n))).collect();
    Both { ids, keys, board, set }
}

fn update(c: &mut Criterion, both: &mut Both) {
    let mut group = c.benchmark_group("update");
    let Both { ids, keys, board, set } = both;
    let mut chance = Chance(2);
    group.bench_function("board", |b| {
        b.iter(|| {
            let (slot, new) = (chance.slot(), chance.key());
            let old = std::mem::replace(&mut keys[slot as usize], new);
            board.update(ids, slot, old, new)
        });
    });
    // The set has its own keys from here on.
    let mut keys = vec![0; ENTRANTS as usize];
    for (key, id) in set.iter() {
        if let Some(slot) = ids.slot_of(id) {
            keys[slot as usize] = *key;
        }
    }
    group.bench_function("ordered set", |b| {
        b.iter(|| {
            let (slot, new) = (chance.slot(), chance.key());
            let old = std::mem::replace(&mut keys[slot as usize], new);
            let entry = set.take(&(old, ids.id(slot).to_owned()));
            entry.map(|(_, id)| set.insert((new, id)))
        });
    });
}

fn rank(c: &mut Criterion, Both { ids, keys, board, set }: &Both) {
    let mut group = c.benchmark_group("rank of an entrant");
    let mut chance = Chance(3);
    for (name, ties) in
        [("ordinal", Ties::Ordinal), ("competition", Ties::Competition), ("dense", Ties::Dense)]
    {
        group.bench_function(format!("board, {name}"), |b| {
            b.iter(|| {
                let slot = chance.slot();
                board.rank_by(ids, slot, keys[slot as usize], ties)
            });
        });
    }
    group.bench_function("board, by id", |b| {
        b.iter_batched(
            || id(chance.slot()),
            |id| {
                let slot = ids.slot_of(&id)?;
                board.rank_of(ids, slot, keys[slot as usize])
            },
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function("ordered set, walk", |b| {
        b.iter(|| {
            let slot = chance.slot();
            set.range(..(keys[slot as usize], ids.id(slot).to_owned())).count()
        });
    });
}

fn page(c: &mut Criterion, Both { ids, keys, board, set }: &Both) {
    let mut chance = Chance(4);
    let mut group = c.benchmark_group("page of 50 at any rank");
    let bytes = |page: &mut dyn Iterator<Item = &str>| page.map(str::len).sum::<usize>();
    group.bench_function("board", |b| {
        b.iter(|| {
            let from = chance.slot() as usize;
            let standings = board.standings(from, Ties::Competition).take(PAGE);
            bytes(&mut standings.map(|s| ids.id(black_box(s).slot)))
        });
    });
    group.bench_function("ordered set, walk", |b| {
        b.iter(|| {
            let from = chance.slot() as usize;
            bytes(&mut set.iter().skip(from).take(PAGE).map(|(_, id)| id.as_str()))
        });
    });
    group.finish();

    let mut group = c.benchmark_group("5 on each side of an entrant");
    group.bench_function("board", |b| {
        b.iter(|| {
            let slot = chance.slot();
            let ordinal = board.rank_of(ids, slot, keys[slot as usize])?;
            let standings = board.standings(ordinal.saturating_sub(SPAN), Ties::Competition);
            let standings = standings.take(2 * SPAN + 1);
            Some(bytes(&mut standings.map(|s| ids.id(black_box(s).slot))))
        });
    });
    // Without ranks: an ordered set finds neighbours, but not where they stand.
    group.bench_function("ordered set, no ranks", |b| {
        b.iter(|| {
            let slot = chance.slot();
            let me = (keys[slot as usize], ids.id(slot).to_owned());
            let before = set.range(..&me).rev().take(SPAN);
            bytes(&mut before.chain(set.range(&me..).take(SPAN + 1)).map(|(_, id)| id.as_str()))
        });
    });
}

#[allow(clippy::print_stderr, reason = "memory is no timing, so criterion has no place for it")]
fn all(c: &mut Criterion) {
    let mut both = both();
    let (ids_bytes, board_bytes) = (both.ids.bytes(), both.board.bytes());
    let an_entrant = |bytes: usize| bytes as f64 / f64::from(ENTRANTS);
    eprintln!(
        "{ENTRANTS} entrants, ids of 18 bytes: {:.1} bytes an entrant in ids, {:.1} on the board",
        an_entrant(ids_bytes),
        an_entrant(board_bytes)
    );
    rank(c, &both);
    page(c, &both);
    update(c, &mut both);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1));
    targets = all
}
criterion_main!(benches);
