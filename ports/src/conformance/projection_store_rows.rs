//! What the suite of [`ProjectionStore`] stores, and a model of what a store must then hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use agon_projections::row::{
    Counts, DeadLetter, FirstSeen, Head, HeadDetail, HistoryRow, Kept, MatchRow, Part, Progress,
    Rating, StreamTotals, SubmissionRow, Tally, TallyKey, UserHash, Value,
};
use agon_projections::row_bytes::{Prefix, key_bytes, value_bytes};
use agon_projections::sketch::Users;
use agon_projections::window::Bucket;
use agon_projections::{Applied, CellFlush, CellKey, Flush, Reason, Rejection, Row, RowKey, Table};
use agon_schema::event::{EnvironmentDefined, Metrics};
use agon_schema::rating::RatingSystem;
use agon_schema::record::RecordHash;
use agon_schema::{
    AgentId, BenchmarkId, ContentHash, EnvironmentId, EventTime, Identity, NaturalId, Timestamp,
    Topic, TopicPartition,
};

use crate::{ProjectionStore, scan_all};

pub(super) fn matches(partition: u32) -> TopicPartition {
    TopicPartition { topic: Topic::Matches, partition }
}

pub(super) fn environment(id: &str) -> CellKey {
    CellKey::Environment(EnvironmentId::new(id).expect("a slug"))
}

pub(super) fn benchmark(id: &str) -> CellKey {
    CellKey::Benchmark(BenchmarkId::new(id).expect("a slug"))
}

pub(super) fn agent(id: &str) -> AgentId {
    AgentId::new(id).expect("an id")
}

pub(super) fn submission(id: &str) -> NaturalId {
    NaturalId::new(id).expect("an id")
}

/// Keys of entrants `a0…` of a cell.
pub(super) fn entrants(cell: &CellKey, count: usize) -> Vec<RowKey> {
    (0..count).map(|n| RowKey::Entrant(cell.clone(), agent(&format!("a{n}")))).collect()
}

/// A key of every table. `n` tells the rows of a cell, and of a partition, apart; it is the offset
/// of those that stand by one, and lies in the span of the flush that writes them.
pub(super) fn keys(cell: &CellKey, id: &str, source: TopicPartition, n: u64) -> Vec<RowKey> {
    let marks = [n as u8; 16];
    vec![
        RowKey::Head(cell.clone()),
        RowKey::Entrant(cell.clone(), agent(id)),
        RowKey::Server(cell.clone(), id.to_owned()),
        RowKey::User(cell.clone(), UserHash(marks)),
        RowKey::FirstSeen(cell.clone(), Identity(marks)),
        RowKey::Refusal(source, ContentHash(marks)),
        RowKey::Match(cell.clone(), n),
        RowKey::Submission(cell.clone(), submission(id)),
        RowKey::History(cell.clone(), agent(id), n),
        RowKey::AgentCell(agent(id), cell.clone()),
        RowKey::DeadLetter(source, n),
        RowKey::Tally(cell.clone(), TallyKey { part: Part::Users, place: n as u16 }),
    ]
}

fn at(offset: u64) -> EventTime {
    let at = Timestamp::from_micros(offset as i64).expect("a time of this century");
    EventTime { at, filled_in: offset.is_multiple_of(2) }
}

fn head(cell: &CellKey, offset: u64) -> Head {
    let detail = match cell {
        CellKey::Environment(id) => HeadDetail::Environment(EnvironmentDefined {
            id: id.clone(),
            version: 1,
            rating: RatingSystem::default(),
        }),
        _ => HeadDetail::Stream(StreamTotals { messages: offset, ..StreamTotals::default() }),
    };
    Head { applied: offset, counted: offset, last: Some(at(offset)), detail }
}

fn rating(offset: u64) -> Rating {
    let rating_micros = -(offset as i64);
    Rating { rating_micros, games: 1, wins: 0, draws: 1, losses: 0, last: at(offset), ver: offset }
}

/// The row of a key; its value says at which offset it was written.
pub(super) fn row(key: RowKey, offset: u64) -> Row {
    let id = submission("é");
    let value = match &key {
        RowKey::Head(cell) => Value::Head(head(cell, offset)),
        RowKey::Entrant(..) => Value::Rating(rating(offset)),
        RowKey::Server(..) => Value::Server(offset),
        RowKey::User(..) | RowKey::Refusal(..) | RowKey::AgentCell(..) => Value::Since(offset),
        RowKey::FirstSeen(..) => {
            Value::FirstSeen(FirstSeen { offset, content: ContentHash([0xfe; 16]) })
        }
        RowKey::Match(..) => Value::Match(MatchRow {
            match_id: id,
            players: vec![],
            occurred: at(offset),
            context: Some("{\"ply\":\"♟\"}".to_owned()),
        }),
        RowKey::Submission(..) => Value::Submission(SubmissionRow {
            agent: agent("é"),
            artifact: None,
            occurred: at(offset),
            runs_completed: 2,
            runs_failed: 0,
            metrics: Metrics::default(),
            ver: offset,
        }),
        RowKey::History(..) => Value::History(HistoryRow::Run {
            submission_id: id,
            value: offset as f64 / 3.0,
            score_after: f64::MAX,
            occurred: at(offset),
        }),
        RowKey::DeadLetter(..) => Value::DeadLetter(DeadLetter {
            rejection: Rejection::new(Reason::Malformed, offset),
            event_type: String::new(),
            event_id: "\u{0}\n\u{10ffff}".to_owned(),
            key: "k".repeat(128),
        }),
        RowKey::Progress(_) => Value::Progress(progress(offset)),
        RowKey::Tally(..) => Value::Tally(tally(offset)),
    };
    Row { key, value }
}

fn tally(ver: u64) -> Tally {
    let bucket = Bucket {
        number: -(ver as i64),
        servers: vec![(String::new(), ver), ("é\u{0}".to_owned(), u64::MAX)],
        users: Users::Many(vec![ver as u8; 2_048]),
        ..Bucket::default()
    };
    Tally { ver, kept: Kept::Bucket(bucket) }
}

fn progress(applied: u64) -> Progress {
    let record_hash = RecordHash([applied as u8; 16]);
    Progress { applied, record_hash, counts: Counts { counted: applied, ..Counts::default() } }
}

/// The cell of a key, if its table is one of cells.
fn cell_of(key: &RowKey) -> Option<&CellKey> {
    match key {
        RowKey::Head(cell)
        | RowKey::Entrant(cell, _)
        | RowKey::Server(cell, _)
        | RowKey::User(cell, _)
        | RowKey::FirstSeen(cell, _)
        | RowKey::Match(cell, _)
        | RowKey::Submission(cell, _)
        | RowKey::History(cell, ..)
        | RowKey::AgentCell(_, cell)
        | RowKey::Tally(cell, _) => Some(cell),
        RowKey::Refusal(..) | RowKey::DeadLetter(..) | RowKey::Progress(_) => None,
    }
}

/// Whether a key lies under a prefix, by what both mean and not by their bytes.
pub(super) fn lies_under(key: &RowKey, prefix: &Prefix) -> bool {
    match (prefix, key) {
        (Prefix::Table(table), _) => key.table() == *table,
        (Prefix::Cell(table, cell), _) => key.table() == *table && cell_of(key) == Some(cell),
        (Prefix::History(cell, agent), RowKey::History(key_cell, key_agent, _)) => {
            cell == key_cell && agent == key_agent
        }
        (Prefix::AgentCells(agent), RowKey::AgentCell(key_agent, _)) => agent == key_agent,
        (Prefix::Source(table, source), RowKey::Refusal(of, _) | RowKey::DeadLetter(of, _)) => {
            key.table() == *table && source == of
        }
        _ => false,
    }
}

/// Tables whose rows are a cell's own.
const OWN: [Table; 4] = [Table::Heads, Table::Entrants, Table::Servers, Table::Tallies];

/// A flush of the span `(from, to]` that writes these keys at `to`. Its cells were flushed last
/// when the partition was; [`Model::span`] knows better.
pub(super) fn flush(
    source: TopicPartition,
    from: Applied,
    to: u64,
    keys: impl IntoIterator<Item = RowKey>,
) -> Arc<Flush> {
    let mut cells: BTreeMap<CellKey, CellFlush> = BTreeMap::new();
    let mut rows = Vec::new();
    for key in keys {
        let row = row(key, to);
        let Some(cell) = cell_of(&row.key).cloned() else {
            rows.push(row);
            continue;
        };
        let part = cells.entry(cell.clone()).or_insert_with(|| CellFlush {
            key: cell,
            from,
            to,
            own: vec![],
            side: vec![],
        });
        let own = OWN.contains(&row.key.table());
        if own { part.own.push(row) } else { part.side.push(row) }
    }
    let cells = cells.into_values().collect();
    Arc::new(Flush { source, from, progress: progress(to), cells, rows })
}

/// The offset in a key that stands by one.
fn offset_of(key: &RowKey) -> Option<u64> {
    match key {
        RowKey::Match(_, offset) | RowKey::History(_, _, offset) => Some(*offset),
        RowKey::DeadLetter(_, offset) => Some(*offset),
        _ => None,
    }
}

/// Whether a fold writes the row of this key once and for all.
fn is_written_once(key: &RowKey) -> bool {
    matches!(key, RowKey::User(..) | RowKey::FirstSeen(..) | RowKey::AgentCell(..))
}

/// What a store must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Model {
    rows: BTreeMap<Vec<u8>, Row>,
    applied: BTreeMap<TopicPartition, u64>,
    cells: BTreeMap<CellKey, u64>,
}

impl Model {
    /// How far a partition is stored.
    pub(super) fn applied(&self, source: TopicPartition) -> Applied {
        self.applied.get(&source).copied()
    }

    /// A flush as a fold makes it: it says when its cells were flushed last and leaves out what
    /// was written for good.
    pub(super) fn span(
        &self,
        source: TopicPartition,
        from: Applied,
        to: u64,
        keys: impl IntoIterator<Item = RowKey>,
    ) -> Arc<Flush> {
        let is_new = |key: &RowKey| {
            !is_written_once(key) || !self.rows.contains_key(key_bytes(key).as_slice())
        };
        let mut made = (*flush(source, from, to, keys.into_iter().filter(is_new))).clone();
        for cell in &mut made.cells {
            cell.from = self.cells.get(&cell.key).copied();
        }
        Arc::new(made)
    }

    /// Notes a flush that was accepted.
    pub(super) fn note(&mut self, flush: &Flush) {
        let to = flush.progress.applied;
        let progress = row(RowKey::Progress(flush.source), to);
        for row in flush.rows().chain([&progress]) {
            let is_inside = |offset: u64| Some(offset) > flush.from && offset <= to;
            assert!(offset_of(&row.key).is_none_or(is_inside), "{} is of no such flush", row.key);
            self.rows.insert(key_bytes(&row.key), row.clone());
        }
        self.applied.insert(flush.source, to);
        self.cells.extend(flush.cells.iter().map(|cell| (cell.key.clone(), cell.to)));
    }

    /// Writes the next span of a partition, which must be accepted.
    pub(super) async fn flush(
        &mut self,
        store: &dyn ProjectionStore,
        source: TopicPartition,
        to: u64,
        keys: impl IntoIterator<Item = RowKey>,
    ) {
        let flush = self.span(source, self.applied(source), to, keys);
        store.flush(Arc::clone(&flush)).await.expect("the next span is accepted");
        self.note(&flush);
    }

    /// Takes over what another model of other partitions holds.
    pub(super) fn join(&mut self, other: Model) {
        self.rows.extend(other.rows);
        self.applied.extend(other.applied);
        self.cells.extend(other.cells);
    }

    /// The rows under a prefix, rising.
    pub(super) fn under(&self, prefix: &Prefix) -> Vec<Row> {
        self.rows.values().filter(|row| lies_under(&row.key, prefix)).cloned().collect()
    }

    /// All rows, rising.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    /// The bytes of all keys and values that start with a table's prefix, rising.
    pub(super) fn bytes(&self, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
        let rows = self.under(&Prefix::Table(table));
        rows.iter().map(|row| (key_bytes(&row.key), value_bytes(&row.value))).collect()
    }

    /// Whether the store holds this and nothing else, by scans and by keys.
    pub(super) async fn check(&self, store: &dyn ProjectionStore) {
        for table in Table::ALL {
            let prefix = Prefix::Table(table);
            let stored = scan_all(store, prefix.clone()).await.expect("scan answers");
            assert!(stored == self.under(&prefix), "{} are other rows", table.name());
        }
        let keys: Vec<_> = self.rows.values().map(|row| row.key.clone()).collect();
        let stored = store.get(keys).await.expect("get answers");
        assert!(stored.iter().flatten().eq(self.rows.values()), "get answers other rows");
    }
}

/// Chance by a seed (SplitMix64), so that a failing run is the same again.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// From 0 to `end`, exclusive.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % end
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}
