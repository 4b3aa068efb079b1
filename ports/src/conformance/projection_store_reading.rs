//! The suite of [`ProjectionStore`], second part: reading by keys and by prefixes.

use agon_projections::row::UserHash;
use agon_projections::row_bytes::Prefix;
use agon_projections::{CellKey, Row, RowKey, Table};
use agon_schema::ids::{ID_BYTES_MAX, SLUG_BYTES_MAX};
use agon_schema::{Topic, TopicPartition};

use super::projection_store::ProjectionStoreFixture;
use super::projection_store_rows::{
    Model, agent, benchmark, entrants, environment, keys, lies_under, matches, submission,
};
use crate::{Order, ProjectionStore, Scan, scan_all};

/// Ids that start with each other, or sort other than they look.
const AGENTS: [&str; 8] = ["a", "a b", "aa", "ab", "b", "A", "é", "éa"];
const CELLS: [&str; 6] = ["go", "go-9", "go-91", "g", "go.", "GO"];

/// A page from the start or after a key.
async fn page(
    store: &dyn ProjectionStore,
    prefix: &Prefix,
    after: Option<RowKey>,
    order: Order,
    limit: usize,
) -> Vec<Row> {
    let scan = Scan { prefix: prefix.clone(), after, order, limit };
    store.scan(scan).await.expect("scan answers")
}

/// Writes rows whose keys start alike in every way that a prefix tells apart.
async fn write_similar_keys(store: &dyn ProjectionStore) -> Model {
    let mut model = Model::default();
    let sources = [0, 1, 256, 65_536].map(matches);
    let cells: Vec<CellKey> = CELLS
        .map(environment)
        .into_iter()
        .chain([benchmark("go"), benchmark("go-9")])
        .chain([0, 1, 256, 0x0101_0101].map(CellKey::Stream))
        .collect();
    for (number, cell) in (0..).zip(&cells) {
        let source = sources[number as usize % sources.len()];
        let first = model.applied(source).map_or(0, |applied| applied + 1);
        let mut written = Vec::new();
        for (n, id) in (first..).zip(AGENTS) {
            written.extend(keys(cell, id, source, n));
        }
        written.sort();
        written.dedup();
        let to = first + AGENTS.len() as u64 + number;
        model.flush(store, source, to, written).await;
    }
    model
}

/// Every prefix that the similar keys can be asked by.
fn prefixes() -> Vec<Prefix> {
    let mut prefixes: Vec<Prefix> = Table::ALL.into_iter().map(Prefix::Table).collect();
    let cells: Vec<CellKey> = CELLS
        .map(environment)
        .into_iter()
        .chain(["go", "go-9", "g"].map(benchmark))
        .chain([0, 1, 2, 256, 257].map(CellKey::Stream))
        .collect();
    let of_cells = [
        Table::Heads,
        Table::Entrants,
        Table::Servers,
        Table::Tallies,
        Table::Users,
        Table::FirstSeen,
        Table::Matches,
        Table::Submissions,
        Table::History,
    ];
    for cell in cells {
        prefixes.extend(of_cells.map(|table| Prefix::Cell(table, cell.clone())));
        prefixes.extend(AGENTS.map(|id| Prefix::History(cell.clone(), agent(id))));
    }
    prefixes.extend(AGENTS.map(|id| Prefix::AgentCells(agent(id))));
    prefixes.push(Prefix::AgentCells(agent("nobody")));
    for partition in [0, 1, 2, 256, 65_536, 16_777_216] {
        for topic in [Topic::Matches, Topic::Submissions] {
            let source = TopicPartition { topic, partition };
            prefixes.push(Prefix::Source(Table::DeadLetters, source));
            prefixes.push(Prefix::Source(Table::Refusals, source));
        }
    }
    prefixes
}

/// Rows stand where their keys were asked, `None` where there is none, a key twice is twice there.
pub async fn get_answers_in_the_order_asked(mut fixture: impl ProjectionStoreFixture) {
    let mut store = fixture.open().await;
    let mut model = Model::default();
    let cell = environment("go");
    model.flush(&*store, matches(0), 9, entrants(&cell, 40)).await;
    let mut asked = entrants(&cell, 60);
    asked.reverse();
    asked.insert(3, asked[50].clone());
    asked.push(RowKey::Head(cell.clone()));
    asked.push(RowKey::Entrant(benchmark("go"), agent("a1")));
    asked.push(RowKey::Progress(matches(0)));
    for _ in 0..2 {
        let rows = store.get(asked.clone()).await.expect("get answers");
        let expected: Vec<_> =
            asked.iter().map(|key| model.rows().find(|row| row.key == *key).cloned()).collect();
        assert!(rows == expected, "many keys");
        for (key, row) in asked.iter().zip(&expected) {
            let rows = store.get(vec![key.clone()]).await.expect("get answers");
            assert_eq!(rows.first(), Some(row), "{key}");
        }
        assert_eq!(store.get(vec![]).await.expect("get answers"), []);
        store = fixture.reopen(store).await;
    }
}

/// No row of `go-9` is one of `go`, none of agent `ab` one of `a`, none of partition 256 of 1.
pub async fn a_prefix_has_its_rows_and_no_others(mut fixture: impl ProjectionStoreFixture) {
    let mut store = fixture.open().await;
    let model = write_similar_keys(&*store).await;
    model.check(&*store).await;
    store = fixture.reopen(store).await;
    let mut found = 0;
    for prefix in prefixes() {
        let rows = scan_all(&*store, prefix.clone()).await.expect("scan answers");
        assert!(rows.iter().all(|row| lies_under(&row.key, &prefix)), "{prefix:?} has others");
        assert!(rows == model.under(&prefix), "{prefix:?} misses rows");
        found += usize::from(!rows.is_empty());
    }
    assert!(found > 100, "only {found} prefixes have rows");
}

/// Falling is rising turned round.
pub async fn scans_rise_and_fall(mut fixture: impl ProjectionStoreFixture) {
    let store = fixture.open().await;
    let model = write_similar_keys(&*store).await;
    for prefix in prefixes() {
        let mut expected = model.under(&prefix);
        let limit = expected.len() + 1;
        let rising = page(&*store, &prefix, None, Order::Rising, limit).await;
        assert!(rising == expected, "{prefix:?} rising");
        expected.reverse();
        let falling = page(&*store, &prefix, None, Order::Falling, limit).await;
        assert!(falling == expected, "{prefix:?} falling");
    }
}

/// Pages of any size have each row once, both ways, and end with an empty or short one.
pub async fn pages_join_to_the_whole(mut fixture: impl ProjectionStoreFixture) {
    let store = fixture.open().await;
    let model = write_similar_keys(&*store).await;
    let prefixes = [
        Prefix::Table(Table::Entrants),
        Prefix::Cell(Table::Matches, environment("go")),
        Prefix::History(environment("go"), agent("a")),
        Prefix::AgentCells(agent("a")),
        Prefix::Source(Table::DeadLetters, matches(1)),
    ];
    for prefix in prefixes {
        for order in [Order::Rising, Order::Falling] {
            let mut expected = model.under(&prefix);
            if order == Order::Falling {
                expected.reverse();
            }
            for limit in [1, 2, 3, 7, expected.len().max(1)] {
                let mut rows: Vec<Row> = Vec::new();
                loop {
                    let after = rows.last().map(|row| row.key.clone());
                    let more = page(&*store, &prefix, after, order, limit).await;
                    assert!(more.len() <= limit, "{} rows of {limit}", more.len());
                    if more.is_empty() {
                        break;
                    }
                    rows.extend(more);
                    assert!(rows.len() <= expected.len(), "{prefix:?} {order:?} by {limit}");
                }
                assert!(rows == expected, "{prefix:?} {order:?} by {limit}");
            }
        }
    }
}

/// What a cursor names may never have been there; a page starts after its place all the same.
pub async fn a_page_may_start_after_a_key_without_a_row(mut fixture: impl ProjectionStoreFixture) {
    let store = fixture.open().await;
    let mut model = Model::default();
    let cell = environment("go");
    let offsets: [u64; 5] = [10, 20, 30, 40, 50];
    let written = offsets.map(|offset| RowKey::Match(cell.clone(), offset));
    model.flush(&*store, matches(0), 60, written).await;
    let prefix = Prefix::Cell(Table::Matches, cell.clone());
    for after in [0, 10, 11, 29, 30, 50, 51] {
        for order in [Order::Rising, Order::Falling] {
            let key = Some(RowKey::Match(cell.clone(), after));
            let rows = page(&*store, &prefix, key, order, 10).await;
            let mut expected = model.under(&prefix);
            match order {
                Order::Rising => expected.retain(|row| row.match_offset() > after),
                Order::Falling => {
                    expected.retain(|row| row.match_offset() < after);
                    expected.reverse();
                }
            }
            assert!(rows == expected, "after {after} {order:?}");
        }
    }
}

/// The offset in the key of a match.
trait MatchOffset {
    fn match_offset(&self) -> u64;
}

impl MatchOffset for Row {
    fn match_offset(&self) -> u64 {
        match self.key {
            RowKey::Match(_, offset) => offset,
            _ => unreachable!("the case writes matches alone"),
        }
    }
}

/// 256 comes after 255 and before 1,000, not by its digits or its last byte.
pub async fn offsets_are_ordered_as_numbers(mut fixture: impl ProjectionStoreFixture) {
    let store = fixture.open().await;
    let mut model = Model::default();
    let cell = environment("go");
    let offsets = [0, 1, 9, 10, 255, 256, 1_000, 65_535, 65_536, 1 << 20, (1 << 22) - 1];
    let written = offsets.iter().rev().map(|offset| RowKey::Match(cell.clone(), *offset));
    model.flush(&*store, matches(0), 1 << 22, written).await;
    let prefix = Prefix::Cell(Table::Matches, cell);
    let rows = scan_all(&*store, prefix.clone()).await.expect("scan answers");
    assert_eq!(rows.iter().map(MatchOffset::match_offset).collect::<Vec<_>>(), offsets);
    let falling = page(&*store, &prefix, None, Order::Falling, 3).await;
    let last: Vec<_> = falling.iter().map(MatchOffset::match_offset).collect();
    assert_eq!(last, [(1 << 22) - 1, 1 << 20, 65_536]);

    // A store may take its time to rise through so many offsets without a row.
    let (far, last) = (environment("far"), (1 << 40) - 1);
    let written = [1 << 32, last].map(|offset| RowKey::Match(far.clone(), offset));
    model.flush(&*store, matches(1), last, written.clone()).await;
    let rows = store.get(written.to_vec()).await.expect("get answers");
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    assert!(rows == model.under(&Prefix::Cell(Table::Matches, far.clone())), "by their keys");
    let prefix = Prefix::Cell(Table::Matches, far);
    let falling = page(&*store, &prefix, None, Order::Falling, 1).await;
    assert_eq!(falling.iter().map(MatchOffset::match_offset).collect::<Vec<_>>(), [last]);
}

/// Ids of the longest form, in other scripts and beside each other, come back as they were.
pub async fn the_longest_ids_survive(mut fixture: impl ProjectionStoreFixture) {
    let mut store = fixture.open().await;
    let mut model = Model::default();
    let ids = [
        "é".repeat(ID_BYTES_MAX / 2),
        "対".repeat(ID_BYTES_MAX / 3),
        "\u{10ffff}".repeat(ID_BYTES_MAX / 4),
        "/".repeat(ID_BYTES_MAX),
        "'\";\\%_".to_owned(),
    ];
    let cells = [environment(&"z".repeat(SLUG_BYTES_MAX)), benchmark(&"9.-".repeat(21))];
    for id in &ids {
        for cell in &cells {
            let to = model.applied(matches(0)).unwrap_or_default() + 1;
            let mut written = keys(cell, id, matches(0), to);
            written.push(RowKey::Submission(cell.clone(), submission(&ids[0])));
            written.push(RowKey::Server(cell.clone(), format!("{id}{id}")));
            written.extend([0, 0xff].map(|byte| RowKey::User(cell.clone(), UserHash([byte; 16]))));
            written.sort();
            written.dedup();
            model.flush(&*store, matches(0), to, written).await;
        }
    }
    for _ in 0..2 {
        model.check(&*store).await;
        for id in &ids {
            let prefix = Prefix::AgentCells(agent(id));
            let rows = scan_all(&*store, prefix.clone()).await.expect("scan answers");
            assert!(rows.len() == cells.len() && rows == model.under(&prefix), "{id:?}");
        }
        store = fixture.reopen(store).await;
    }
}
