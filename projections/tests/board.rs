//! Boards against a plain sorted list: rows in any order, twice and late, end in the same board.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use agon_projections::board::ranked::Ties;
use agon_projections::board::{Board, Entry, Standing, rating_key, score_key};
use agon_projections::row::{Head, HeadDetail, Rating, RowKey, Score, Value};
use agon_projections::{CellKey, Row};
use agon_schema::event::{Aggregation, Direction, Event, Metrics};
use agon_schema::rating::Elo;
use proptest::prelude::*;
use support::{Chance, agent, at, benchmark, define, define_benchmark, environment, natural};

const TIES: [Ties; 3] = [Ties::Competition, Ties::Dense, Ties::Ordinal];

/// What happened to one entrant: a rating or score of few values, so that many are equal.
#[derive(Clone, Debug)]
struct Update {
    agent: u8,
    value: i8,
    /// On a benchmark: no run counted yet.
    waits: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Environment,
    Benchmark(Direction),
}

impl Kind {
    fn key(self) -> CellKey {
        match self {
            Kind::Environment => environment("e"),
            Kind::Benchmark(_) => benchmark("b"),
        }
    }

    fn head(self, applied: u64) -> Row {
        let detail = match self {
            Kind::Environment => match define("e", Elo::default()) {
                Event::EnvironmentDefined(event) => HeadDetail::Environment(event),
                _ => unreachable!(),
            },
            Kind::Benchmark(direction) => {
                match define_benchmark("b", "score", direction, Aggregation::Last) {
                    Event::BenchmarkDefined(event) => HeadDetail::Benchmark(event),
                    _ => unreachable!(),
                }
            }
        };
        let head = Head { applied, counted: applied + 1, last: None, detail };
        Row { key: RowKey::Head(self.key()), value: Value::Head(head) }
    }

    fn entrant(self, update: &Update, ver: u64) -> Row {
        let value = match self {
            Kind::Environment => Value::Rating(Rating {
                rating_micros: i64::from(update.value),
                games: 1,
                wins: 1,
                draws: 0,
                losses: 0,
                last: at(0),
                ver,
            }),
            Kind::Benchmark(_) => Value::Score(Score {
                score: (!update.waits).then(|| f64::from(update.value) / 8.0),
                metrics: Metrics::default(),
                submission_id: natural("s"),
                submissions: 1,
                runs: u32::from(!update.waits),
                sum: 0.0,
                last: at(0),
                ver,
            }),
        };
        Row { key: RowKey::Entrant(self.key(), agent(&name(update.agent))), value }
    }

    /// Better first.
    fn order(self, update: &Update) -> i16 {
        match self {
            Kind::Benchmark(Direction::Lower) => i16::from(update.value),
            _ => -i16::from(update.value),
        }
    }
}

/// Names that do not sort as their numbers do, some the beginning of others.
fn name(n: u8) -> String {
    "ab".repeat(1 + usize::from(n % 3)) + &(255 - n).to_string()
}

/// The plain list: (order, name) of everyone on the board.
fn plain(kind: Kind, updates: &[Update]) -> Vec<(i16, String)> {
    let latest: BTreeMap<u8, &Update> = updates.iter().map(|u| (u.agent, u)).collect();
    let shown = latest.values().filter(|u| kind == Kind::Environment || !u.waits);
    let mut list: Vec<_> = shown.map(|u| (kind.order(u), name(u.agent))).collect();
    list.sort();
    list
}

fn plain_ranks(list: &[(i16, String)], ties: Ties) -> Vec<usize> {
    let rank = |(index, (key, _)): (usize, &(i16, String))| match ties {
        Ties::Ordinal => index + 1,
        Ties::Competition => 1 + list.iter().filter(|other| other.0 < *key).count(),
        Ties::Dense => {
            let better = list.iter().map(|other| other.0).filter(|other| other < key);
            1 + better.collect::<BTreeSet<_>>().len()
        }
    };
    list.iter().enumerate().map(rank).collect()
}

fn check(board: &Board, kind: Kind, updates: &[Update]) {
    let list = plain(kind, updates);
    assert_eq!((board.len(), board.is_empty()), (list.len(), list.is_empty()));
    for ties in TIES {
        let ranks = plain_ranks(&list, ties);
        let want: Vec<_> = ranks.iter().copied().zip(list.iter().map(|l| l.1.as_str())).collect();
        for (from, limit) in [(0, usize::MAX), (0, 3), (2, 4), (list.len(), 5), (9999, 5)] {
            let page = board.page(from, limit, ties);
            let found: Vec<_> = page.iter().map(|entry| (entry.rank, entry.agent)).collect();
            let want = want.iter().skip(from).take(limit).copied().collect::<Vec<_>>();
            assert_eq!(found, want, "{ties:?} from {from}");
        }
        for rank in 0..list.len() + 3 {
            let first = ranks.iter().position(|r| *r >= rank).unwrap_or(list.len());
            assert_eq!(board.ordinal_of_rank(rank, ties), first, "{ties:?} rank {rank}: {want:?}");
        }
    }
    for (ordinal, (_, name)) in list.iter().enumerate() {
        assert_eq!(board.ordinal_of(name), Some(ordinal), "{name}");
    }
    let shown: BTreeSet<&str> = list.iter().map(|line| line.1.as_str()).collect();
    for n in 0..=255 {
        if !shown.contains(name(n).as_str()) {
            assert_eq!(board.ordinal_of(&name(n)), None, "{n} stands on no board");
        }
    }
    check_walk(board, &list);
}

/// Pages by cursor meet everyone once, and a cursor of someone who is gone still finds its place.
fn check_walk(board: &Board, list: &[(i16, String)]) {
    for limit in [1, 2, 7] {
        let (mut met, mut from) = (Vec::new(), 0);
        loop {
            let page = board.page(from, limit, Ties::Competition);
            let Some(last) = page.last() else { break };
            met.extend(page.iter().map(|entry| entry.agent.to_owned()));
            from = board.ordinal_after(last.sort_key, last.agent);
        }
        assert!(met.iter().eq(list.iter().map(|line| &line.1)), "pages of {limit}");
    }
    for (ordinal, entry) in board.page(0, usize::MAX, Ties::Ordinal).iter().enumerate() {
        // Right behind and right before an entrant, by the bytes of the id.
        let behind = format!("{}\u{1}", entry.agent);
        assert_eq!(board.ordinal_after(entry.sort_key, &behind), ordinal + 1);
        let before = &entry.agent[..entry.agent.len() - 1];
        assert!(board.ordinal_after(entry.sort_key, before) <= ordinal);
    }
    assert_eq!(board.ordinal_after(0, ""), 0);
    assert_eq!(board.ordinal_after(u64::MAX, "~"), list.len());
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::Environment,
        Kind::Benchmark(Direction::Higher),
        Kind::Benchmark(Direction::Lower),
    ])
}

fn updates() -> impl Strategy<Value = Vec<Update>> {
    let one = (0..40u8, -4..4i8, prop::bool::weighted(0.2));
    prop::collection::vec(
        one.prop_map(|(agent, value, waits)| Update { agent, value, waits }),
        0..120,
    )
}

/// Every row that the updates ever made, the head's among them, each once or twice, shuffled.
fn deliveries(kind: Kind, updates: &[Update], chance: &mut Chance) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (update, ver) in updates.iter().zip(1..) {
        let copies = 1 + chance.below(2);
        for _ in 0..copies {
            rows.push(kind.entrant(update, ver));
            rows.push(kind.head(ver));
        }
    }
    rows.push(kind.head(0));
    chance.shuffle(&mut rows);
    rows
}

proptest! {
    #[test]
    fn rows_in_any_order_end_in_the_sorted_list(
        kind in kinds(),
        updates in updates(),
        seed in any::<u64>(),
    ) {
        let mut chance = Chance(seed);
        let rows = deliveries(kind, &updates, &mut chance);
        let cut = chance.below(rows.len() as u64 + 1) as usize;
        let (first, later) = rows.split_at(cut);
        let mut board = Board::from_rows(kind.key(), first.iter().cloned());
        let mut left = later;
        while !left.is_empty() {
            let (next, rest) = left.split_at((1 + chance.below(9) as usize).min(left.len()));
            board.apply(next);
            left = rest;
        }
        check(&board, kind, &updates);
        prop_assert_eq!(board.head().map(|head| head.applied), Some(updates.len() as u64));
        prop_assert_eq!(board.key(), &kind.key());
    }

    #[test]
    fn a_board_follows_step_by_step(kind in kinds(), updates in updates()) {
        let mut board = Board::from_rows(kind.key(), [kind.head(0)]);
        for (update, ver) in updates.iter().zip(1..) {
            board.apply(&[kind.entrant(update, ver), kind.head(ver)]);
            prop_assert_eq!(board.len(), plain(kind, &updates[..ver as usize]).len());
        }
        check(&board, kind, &updates);
    }

    #[test]
    fn keys_sort_as_ratings_and_scores(a in any::<i64>(), b in any::<i64>(), x: f64, y: f64) {
        prop_assert_eq!(rating_key(a).cmp(&rating_key(b)), b.cmp(&a));
        let (x, y) = (if x.is_finite() { x } else { 0.0 }, if y.is_finite() { y } else { 0.0 });
        let order = x.partial_cmp(&y).unwrap();
        prop_assert_eq!(score_key(x, Direction::Lower).cmp(&score_key(y, Direction::Lower)), order);
        let reversed = score_key(y, Direction::Higher).cmp(&score_key(x, Direction::Higher));
        prop_assert_eq!(reversed, order);
    }
}

#[test]
fn zeros_of_both_signs_tie() {
    for direction in [Direction::Higher, Direction::Lower] {
        assert_eq!(score_key(0.0, direction), score_key(-0.0, direction));
    }
}

#[test]
fn an_entry_shows_the_latest_value() {
    let kind = Kind::Environment;
    let mut board = Board::from_rows(kind.key(), []);
    assert!(board.is_empty() && board.head().is_none());
    let update = |value| Update { agent: 1, value, waits: false };
    board.apply(&[kind.entrant(&update(5), 7)]);
    board.apply(&[kind.entrant(&update(6), 6), kind.entrant(&update(9), 9)]);
    let page = board.page(0, 9, Ties::Competition);
    let Entry { rank, agent, sort_key, standing } = page[0];
    assert_eq!((rank, agent, sort_key), (1, name(1).as_str(), rating_key(9)));
    let Standing::Rating(rating) = standing else { panic!("{standing:?}") };
    assert_eq!((rating.rating_micros, rating.ver), (9, 9));
}

#[test]
fn a_head_that_comes_late_turns_the_order() {
    let kind = Kind::Benchmark(Direction::Lower);
    let updates = [1, 2, 3].map(|agent| Update { agent, value: agent as i8, waits: false });
    let rows = updates.clone().map(|update| kind.entrant(&update, 1));
    let mut board = Board::from_rows(kind.key(), rows[..2].iter().cloned());
    board.apply(&rows[2..]);
    board.apply(&[kind.head(1)]);
    check(&board, kind, &updates);
}

#[test]
fn a_score_that_is_taken_back_leaves_the_board() {
    let kind = Kind::Benchmark(Direction::Lower);
    let update = |waits| Update { agent: 1, value: 3, waits };
    let mut board = Board::from_rows(kind.key(), [kind.head(0), kind.entrant(&update(false), 1)]);
    assert_eq!(board.len(), 1);
    board.apply(&[kind.entrant(&update(true), 2)]);
    assert_eq!((board.len(), board.ordinal_of(&name(1))), (0, None));
    board.apply(&[kind.entrant(&update(false), 3)]);
    assert_eq!(board.len(), 1);
}

#[test]
fn rows_of_another_kind_are_passed_over() {
    let rating = Kind::Environment.entrant(&Update { agent: 1, value: 1, waits: false }, 1);
    let mut board = Board::from_rows(benchmark("b"), [rating.clone()]);
    board.apply(&[rating]);
    assert!(board.is_empty());
    let scores = [2, 1, 3].map(|agent| Update { agent, value: agent as i8, waits: false });
    let kind = Kind::Benchmark(Direction::Higher);
    board.apply(&scores.clone().map(|score| kind.entrant(&score, 1)));
    check(&board, kind, &scores);
}
