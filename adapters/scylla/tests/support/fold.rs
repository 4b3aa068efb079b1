//! A log of two environments in one partition, folded by the real folds and cut into flushes in any
//! way, and the rows that must be read when it is folded so far.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use agon_ports::{ProjectionStore, scan_all};
use agon_projections::fold::{Marks, rejected_rows};
use agon_projections::row::{Counts, FirstSeen, Head, Progress, SubmissionRow, UserHash, Value};
use agon_projections::row_bytes::{Prefix, key_bytes};
use agon_projections::{
    Applied, Cell, CellFlush, CellKey, Flush, Known, Outcome, Row, RowKey, Table,
};
use agon_schema::event::{EnvironmentDefined, MatchFinished, Player, Players};
use agon_schema::rating::RatingSystem;
use agon_schema::record::RecordHash;
use agon_schema::{
    AgentId, EnvironmentId, Event, EventTime, Identity, NaturalId, Record, Timestamp, Topic,
    TopicPartition,
};

pub const SOURCE: TopicPartition = TopicPartition { topic: Topic::Matches, partition: 0 };
/// The environments; the last one is never defined.
const ENVIRONMENTS: [&str; 3] = ["go", "chess", "nowhere"];
/// Tables whose keys start with a cell.
pub const OF_CELLS: [Table; 5] =
    [Table::Heads, Table::Entrants, Table::FirstSeen, Table::Matches, Table::History];

/// The event at an offset: definitions, then matches, some told twice, some nowhere.
fn event(offset: u64) -> Event {
    if offset < 2 {
        return Event::EnvironmentDefined(EnvironmentDefined {
            id: EnvironmentId::new(ENVIRONMENTS[offset as usize]).unwrap(),
            version: 1,
            rating: RatingSystem::default(),
        });
    }
    // Every seventh says what the fifth one before it said.
    let told = if offset > 9 && offset.is_multiple_of(7) { offset - 5 } else { offset };
    let environment = match told % 8 {
        0..=4 => ENVIRONMENTS[0],
        5 | 6 => ENVIRONMENTS[1],
        _ => ENVIRONMENTS[2],
    };
    let player = |n: u64, placement| Player {
        agent: AgentId::new(format!("agent-{n}")).unwrap(),
        placement,
        score: None,
        home: false,
    };
    let (one, other) = (told * told % 11, 11 + told % 13);
    let players = vec![player(one, 1), player(other, 1 + (told % 3 > 0) as u32)];
    Event::MatchFinished(MatchFinished {
        environment: EnvironmentId::new(environment).unwrap(),
        match_id: NaturalId::new(format!("m{told}")).unwrap(),
        players: Players::new(players).unwrap(),
        occurred: EventTime { at: Timestamp::from_micros(told as i64).unwrap(), filled_in: false },
        context: None,
    })
}

#[derive(Default)]
struct Seen(HashMap<Identity, FirstSeen>);

impl Known for Seen {
    fn first_seen(&self, identity: Identity) -> Option<FirstSeen> {
        self.0.get(&identity).copied()
    }

    fn submission(&self, _: &NaturalId) -> Option<SubmissionRow> {
        None
    }

    fn user(&self, _: UserHash) -> Option<u64> {
        None
    }
}

/// The fold, and what it changed since it was last asked.
#[derive(Default)]
struct Fold {
    cells: BTreeMap<CellKey, Cell>,
    seen: Seen,
    counts: Counts,
    touched: BTreeMap<CellKey, BTreeSet<u32>>,
    side: BTreeMap<CellKey, Vec<Row>>,
    dead: Vec<Row>,
}

impl Fold {
    fn step(&mut self, offset: u64) {
        let event = event(offset);
        let (key, marks) = (CellKey::of(&event, SOURCE), Marks::of(&event));
        let cell = self.cells.entry(key.clone()).or_insert_with(|| Cell::new(key.clone()));
        match cell.step(offset, &event, &self.seen) {
            Outcome::Counted(effects) => {
                self.counts.counted += 1;
                let first = FirstSeen { offset, content: marks.content };
                self.seen.0.insert(marks.identity, first);
                self.touched.entry(key.clone()).or_default().extend(effects.touched);
                self.side.entry(key).or_default().extend(effects.rows);
            }
            Outcome::Duplicate(_) => self.counts.duplicates += 1,
            Outcome::Rejected(rejection) => {
                self.counts.rejected += 1;
                // Bytes of their own, so that no refusal is told twice.
                let value = offset.to_be_bytes().to_vec();
                let record = Record { key: vec![], value, headers: vec![], appended_at_ms: 0 };
                self.dead.extend(rejected_rows(&record, SOURCE, offset, &rejection));
            }
        }
    }

    fn progress(&self, applied: u64) -> Progress {
        let record_hash = RecordHash([applied as u8; 16]);
        Progress { applied, record_hash, counts: self.counts }
    }
}

/// The flush of the span `(from, to]`.
pub fn flush(from: Applied, to: u64) -> Arc<Flush> {
    let mut fold = Fold::default();
    (0..from.map_or(0, |from| from + 1)).for_each(|offset| fold.step(offset));
    let before: BTreeMap<CellKey, Applied> =
        fold.cells.iter().map(|(key, cell)| (key.clone(), cell.applied())).collect();
    (fold.touched, fold.side, fold.dead) = Default::default();
    (from.map_or(0, |from| from + 1)..=to).for_each(|offset| fold.step(offset));
    let progress = fold.progress(to);
    let mut cells = Vec::new();
    for (key, side) in fold.side {
        let cell = &fold.cells[&key];
        let touched = fold.touched.remove(&key).unwrap_or_default();
        let own = cell.head_row().into_iter().chain(touched.into_iter().map(|slot| cell.row(slot)));
        cells.push(CellFlush {
            from: before.get(&key).copied().flatten(),
            to: cell.applied().unwrap(),
            own: own.collect(),
            side,
            key,
        });
    }
    Arc::new(Flush { source: SOURCE, from, progress, cells, rows: fold.dead })
}

/// Every row when the log is folded so far.
pub fn rows(through: u64) -> BTreeMap<Vec<u8>, Row> {
    let flush = flush(None, through);
    let value = Value::Progress(flush.progress.clone());
    let progress = Row { key: RowKey::Progress(SOURCE), value };
    let rows = flush.rows().chain([&progress]);
    rows.map(|row| (key_bytes(&row.key), row.clone())).collect()
}

/// Whether each cell is the fold up to its own `applied` with every row beside it, and the rows of
/// no cell those up to the progress. Answers the progress.
pub async fn check(store: &dyn ProjectionStore) -> Applied {
    let stored = store.get(vec![RowKey::Progress(SOURCE)]).await.unwrap().remove(0);
    let applied = stored.as_ref().map(|row| match &row.value {
        Value::Progress(progress) => progress.applied,
        other => panic!("{other:?} is no progress"),
    });
    let vouched = applied.map_or_else(BTreeMap::new, rows);
    assert_eq!(stored.as_ref(), vouched.get(&key_bytes(&RowKey::Progress(SOURCE))));
    for table in [Table::DeadLetters, Table::Refusals] {
        let found = scan_all(store, Prefix::Source(table, SOURCE)).await.unwrap();
        let expected = vouched.values().filter(|row| row.key.table() == table);
        assert!(found.iter().eq(expected), "{} at {applied:?}", table.name());
    }
    for name in ENVIRONMENTS {
        let cell = CellKey::Environment(EnvironmentId::new(name).unwrap());
        let head = store.get(vec![RowKey::Head(cell.clone())]).await.unwrap().remove(0);
        let at = head.map(|row| match row.value {
            Value::Head(Head { applied, .. }) => applied,
            other => panic!("{other:?} is no head"),
        });
        let last = vouched.get(&key_bytes(&RowKey::Head(cell.clone())));
        let least = last.map(|row| match &row.value {
            Value::Head(head) => head.applied,
            other => panic!("{other:?} is no head"),
        });
        assert!(at >= least, "{cell} stands at {at:?}, and progress vouches for {least:?}");
        let expected = at.map_or_else(BTreeMap::new, rows);
        for table in OF_CELLS {
            let prefix = Prefix::Cell(table, cell.clone());
            let found = scan_all(store, prefix.clone()).await.unwrap();
            let under = agon_projections::row_bytes::prefix_bytes(&prefix);
            let expected = expected.iter().filter(|(key, _)| key.starts_with(&under));
            let expected: Vec<&Row> = expected.map(|(_, row)| row).collect();
            assert!(found.iter().eq(expected.iter().copied()), "{} of {cell}", table.name());
            let keys = expected.iter().map(|row| row.key.clone()).collect();
            let got = store.get(keys).await.unwrap();
            assert!(got.iter().flatten().eq(expected), "{} of {cell} by keys", table.name());
        }
    }
    applied
}

/// Whether the store holds the fold up to here and nothing else.
pub async fn check_whole(store: &dyn ProjectionStore, through: u64) {
    assert_eq!(check(store).await, Some(through));
    let expected = rows(through);
    for table in Table::ALL {
        let found = scan_all(store, Prefix::Table(table)).await.unwrap();
        let expected = expected.values().filter(|row| row.key.table() == table);
        assert!(found.iter().eq(expected), "{} are other rows", table.name());
    }
}

/// Chance by a seed (SplitMix64).
pub struct Chance(pub u64);

impl Chance {
    /// From 0 to `end`, exclusive.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % end
    }
}
