//! The bytes of rows: each row comes back from them, and keys sort as their parts do.
#![allow(clippy::unwrap_used)]

mod support;

use agon_projections::row::{
    Counts, DeadLetter, FirstSeen, Part, Progress, Table, TallyKey, UserHash, Value,
};
use agon_projections::row_bytes::{
    Prefix, key_bytes, key_of_bytes, prefix_bytes, row_of_bytes, value_bytes,
};
use agon_projections::{CellKey, Reason, Rejection, Row, RowKey};
use agon_schema::record::RecordHash;
use agon_schema::{AgentId, ContentHash, Identity, NaturalId, Topic, TopicPartition};
use proptest::prelude::*;
use support::{
    Fold, benchmark, benchmark_event, define, define_benchmark, environment, environment_event,
    own_rows, stream_event,
};

/// Ids of which many are the beginning of others.
fn id() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        "[ab]{1,4}",
        "a[ !b]{0,3}b",
        Just("é".to_owned()),
        Just("🦀".to_owned()),
        Just("a\u{a0}b".to_owned()),
        "[a-z]{126,128}",
    ];
    text.prop_filter("an id", |text| AgentId::new(text.as_str()).is_ok())
}

fn agent() -> impl Strategy<Value = AgentId> {
    id().prop_map(|id| AgentId::new(id).unwrap())
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..3u64, 254..258u64, Just(u64::MAX), any::<u64>()]
}

fn cell() -> impl Strategy<Value = CellKey> {
    let slug = || prop_oneof!["[ab]{1,3}", "a[._-]b?", "[A-Z]{64}"];
    prop_oneof![
        slug().prop_map(|id| environment(&id)),
        slug().prop_map(|id| benchmark(&id)),
        number().prop_map(|n| CellKey::Stream(n as u32)),
    ]
}

fn source() -> impl Strategy<Value = TopicPartition> {
    (prop::sample::select(&Topic::ALL[..]), number())
        .prop_map(|(topic, n)| TopicPartition { topic, partition: n as u32 })
}

fn bytes() -> impl Strategy<Value = [u8; 16]> {
    prop_oneof![Just([0; 16]), Just([255; 16]), any::<[u8; 16]>()]
}

fn key() -> impl Strategy<Value = RowKey> {
    let natural = id().prop_map(|id| NaturalId::new(id).unwrap());
    let server = prop_oneof!["[ab]{0,3}", "[\u{0}a\u{ff}]{0,3}"];
    prop_oneof![
        cell().prop_map(RowKey::Head),
        (cell(), agent()).prop_map(|(c, a)| RowKey::Entrant(c, a)),
        (cell(), server).prop_map(|(c, s)| RowKey::Server(c, s)),
        (cell(), bytes()).prop_map(|(c, b)| RowKey::User(c, UserHash(b))),
        (cell(), bytes()).prop_map(|(c, b)| RowKey::FirstSeen(c, Identity(b))),
        (source(), bytes()).prop_map(|(s, b)| RowKey::Refusal(s, ContentHash(b))),
        (cell(), number()).prop_map(|(c, n)| RowKey::Match(c, n)),
        (cell(), natural).prop_map(|(c, id)| RowKey::Submission(c, id)),
        (cell(), agent(), number()).prop_map(|(c, a, n)| RowKey::History(c, a, n)),
        (agent(), cell()).prop_map(|(a, c)| RowKey::AgentCell(a, c)),
        (source(), number()).prop_map(|(s, n)| RowKey::DeadLetter(s, n)),
        source().prop_map(RowKey::Progress),
        (cell(), prop::sample::select(&Part::ALL[..]), any::<u16>())
            .prop_map(|(c, part, place)| RowKey::Tally(c, TallyKey { part, place })),
    ]
}

fn check_row(row: &Row) {
    let (key, value) = (key_bytes(&row.key), value_bytes(&row.value));
    assert_eq!(row_of_bytes(&key, &value).as_ref(), Some(row));
    // Neither half a row nor more than one is a row.
    assert_eq!(row_of_bytes(&key, &value[..value.len() - 1]), None);
    assert_eq!(row_of_bytes(&key, &[value.as_slice(), &[0]].concat()), None);
}

#[test]
fn every_row_of_a_fold_comes_back_from_its_bytes() {
    use agon_schema::event::{Aggregation, Direction};
    use agon_schema::rating::Elo;
    let mut tables = std::collections::BTreeSet::new();
    for (key, definition, event) in [
        (
            environment("e"),
            Some(define("e", Elo::default())),
            (|n| environment_event("e", n)) as fn(u64) -> _,
        ),
        (
            benchmark("b"),
            Some(define_benchmark("b", "score", Direction::Higher, Aggregation::Best)),
            |n| benchmark_event("b", n),
        ),
        (CellKey::Stream(u32::MAX), None, stream_event),
    ] {
        let mut fold = Fold::new(key);
        definition.iter().for_each(|event| drop(fold.step(event)));
        (0..500).for_each(|seed| drop(fold.step(&event(seed))));
        let side =
            fold.side.iter().map(|(key, value)| Row { key: key.clone(), value: value.clone() });
        for row in side.chain(own_rows(&fold.cell)) {
            tables.insert(row.key.table());
            check_row(&row);
        }
    }
    let beside = [Table::Refusals, Table::DeadLetters, Table::Progress];
    let missing: Vec<Table> =
        Table::ALL.into_iter().filter(|table| !tables.contains(table)).collect();
    assert_eq!(missing, beside, "rows of no cell are made by others");
}

#[test]
fn rows_of_no_cell_come_back_from_their_bytes() {
    let source = TopicPartition { topic: Topic::Submissions, partition: 15 };
    for reason in Reason::ALL {
        let letter = DeadLetter {
            rejection: Rejection::new(reason, "x".repeat(400)),
            event_type: "agon.run.scored.v1".into(),
            event_id: String::new(),
            key: "\u{fffd}\0".into(),
        };
        check_row(&Row { key: RowKey::DeadLetter(source, 9), value: Value::DeadLetter(letter) });
    }
    let progress = Progress {
        applied: u64::MAX,
        record_hash: RecordHash([7; 16]),
        counts: Counts { counted: 1, duplicates: 2, rejected: 3 },
    };
    check_row(&Row { key: RowKey::Progress(source), value: Value::Progress(progress) });
    let refusal = RowKey::Refusal(source, ContentHash([0; 16]));
    check_row(&Row { key: refusal, value: Value::Since(0) });
    let first = FirstSeen { offset: 3, content: ContentHash([255; 16]) };
    let key = RowKey::FirstSeen(CellKey::Stream(0), Identity([0; 16]));
    check_row(&Row { key, value: Value::FirstSeen(first) });
}

#[test]
fn bytes_that_are_no_key_of_now_are_none() {
    let good = key_bytes(&RowKey::Entrant(environment("e"), AgentId::new("a").unwrap()));
    assert!(key_of_bytes(&good).is_some());
    for (name, at, byte) in [
        ("no such table", 0, 0),
        ("no such table", 0, 14),
        ("another table", 0, Table::Matches as u8),
        ("another generation", 4, 2),
        ("another fold version", 8, 1),
        ("no such kind of cell", 9, 4),
        ("no environment's id", 10, b'-'),
        ("no end of the id", 11, b'x'),
        ("no agent's id", 12, 1),
        ("not UTF-8", 12, 0xff),
    ] {
        let mut bytes = good.clone();
        bytes[at] = byte;
        assert_eq!(key_of_bytes(&bytes), None, "{name}");
    }
    for end in 0..good.len() {
        assert_eq!(key_of_bytes(&good[..end]), None, "cut to {end} bytes");
    }
    assert_eq!(key_of_bytes(&[good.as_slice(), b"x"].concat()), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn keys_come_back_and_sort_as_their_parts(one in key(), other in key()) {
        let (bytes_one, bytes_other) = (key_bytes(&one), key_bytes(&other));
        prop_assert_eq!(key_of_bytes(&bytes_one), Some(one.clone()));
        prop_assert_eq!(bytes_one.cmp(&bytes_other), one.cmp(&other), "{} and {}", one, other);
    }

    #[test]
    fn a_prefix_is_of_its_own_rows_alone(one in key(), other in key()) {
        for prefix in prefixes(&one) {
            let start = prefix_bytes(&prefix);
            prop_assert!(key_bytes(&one).starts_with(&start));
            let is_own = prefixes(&other).contains(&prefix);
            let starts = key_bytes(&other).starts_with(&start);
            prop_assert_eq!(starts, is_own, "{} {:?}", other, prefix);
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(
        key in prop::collection::vec(any::<u8>(), 0..40),
        value in prop::collection::vec(any::<u8>(), 0..80),
        table in 1..14u8,
    ) {
        let _ = row_of_bytes(&key, &value);
        let live = [&[table, 0, 0, 0, 1, 0, 0, 0, 2][..], &key].concat();
        if let Some(row) = row_of_bytes(&live, &value) {
            prop_assert_eq!(key_bytes(&row.key), live);
        }
    }
}

/// Every prefix that a key has.
fn prefixes(key: &RowKey) -> Vec<Prefix> {
    let table = key.table();
    let more = match key.clone() {
        RowKey::Head(cell)
        | RowKey::Entrant(cell, _)
        | RowKey::Server(cell, _)
        | RowKey::Tally(cell, _)
        | RowKey::User(cell, _)
        | RowKey::FirstSeen(cell, _)
        | RowKey::Match(cell, _)
        | RowKey::Submission(cell, _) => vec![Prefix::Cell(table, cell)],
        RowKey::History(cell, agent, _) => {
            vec![Prefix::Cell(table, cell.clone()), Prefix::History(cell, agent)]
        }
        RowKey::AgentCell(agent, _) => vec![Prefix::AgentCells(agent)],
        RowKey::Refusal(source, _) | RowKey::DeadLetter(source, _) | RowKey::Progress(source) => {
            vec![Prefix::Source(table, source)]
        }
    };
    [vec![Prefix::Table(table)], more].concat()
}
