//! A log with a little of everything, and what a store holds at any progress and any cells ahead
//! of it: folded from the first record for each cell, with nothing kept in between.

use std::collections::{BTreeMap, BTreeSet};

use agon_memory::{LogSettings, MemoryLog, MemoryStore};
use agon_ports::{Append, EventLog, LogRecord};
use agon_projections::fold::{read, rejected_rows};
use agon_projections::row::{Counts, FirstSeen, Progress, SubmissionRow, UserHash, Value};
use agon_projections::row_bytes::{key_bytes, value_bytes};
use agon_projections::{Applied, Cell, CellKey, Known, Outcome, Rejection, Row, RowKey};
use agon_schema::event::{
    Aggregation, BenchmarkDefined, Direction, EnvironmentDefined, Event, MatchFinished, Metrics,
    Player, Players, RecentChange, RunScored, RunStatus, SubmissionReceived,
};
use agon_schema::ids::MetricName;
use agon_schema::rating::RatingSystem;
use agon_schema::{
    AgentId, BenchmarkId, EnvironmentId, EventTime, Identity, NaturalId, Position, Record,
    Timestamp, Topic, TopicPartition, encode,
};

/// The rows of a store.
pub type Rows = BTreeMap<RowKey, Value>;

pub const MATCHES: TopicPartition = TopicPartition { topic: Topic::Matches, partition: 0 };
pub const CHANGES: TopicPartition = TopicPartition { topic: Topic::RecentChange, partition: 0 };

fn at(micros: u64) -> EventTime {
    EventTime { at: Timestamp::from_micros(micros as i64).unwrap(), filled_in: false }
}

pub fn environment(id: &str) -> CellKey {
    CellKey::Environment(EnvironmentId::new(id).unwrap())
}

fn defined(id: &str) -> Event {
    let id = EnvironmentId::new(id).unwrap();
    Event::EnvironmentDefined(EnvironmentDefined {
        id,
        version: 1,
        rating: RatingSystem::default(),
    })
}

fn played(environment: &str, id: u64, winner: &str, loser: &str) -> Event {
    let player = |agent: &str, placement| Player {
        agent: AgentId::new(agent).unwrap(),
        placement,
        score: None,
        home: false,
    };
    Event::MatchFinished(MatchFinished {
        environment: EnvironmentId::new(environment).unwrap(),
        match_id: NaturalId::new(format!("m{id}")).unwrap(),
        players: Players::new(vec![player(winner, 1), player(loser, 2)]).unwrap(),
        occurred: at(id),
        context: None,
    })
}

fn submitted(id: u64, agent: &str, metric: Option<f64>) -> Event {
    Event::SubmissionReceived(SubmissionReceived {
        benchmark: BenchmarkId::new("bench").unwrap(),
        submission_id: NaturalId::new(format!("s{id}")).unwrap(),
        agent: AgentId::new(agent).unwrap(),
        metrics: Metrics::new(metric.map(|value| ("acc".to_owned(), value))).unwrap(),
        artifact: None,
        occurred: at(id),
    })
}

fn scored(submission: u64, run: u64) -> Event {
    Event::RunScored(RunScored {
        benchmark: BenchmarkId::new("bench").unwrap(),
        submission_id: NaturalId::new(format!("s{submission}")).unwrap(),
        run_id: NaturalId::new(format!("r{run}")).unwrap(),
        status: RunStatus::Completed,
        metrics: Metrics::new([("acc".to_owned(), run as f64 / 7.0)]).unwrap(),
        occurred: at(run),
    })
}

fn changed(id: u64, user: &str, server: &str) -> Event {
    Event::RecentChange(RecentChange {
        id: NaturalId::new(format!("c{id}")).unwrap(),
        occurred_at: at(id).at,
        user: Some(user.to_owned()),
        bot: Some(id.is_multiple_of(3)),
        server_name: Some(server.to_owned()),
        change_type: None,
        title: None,
        namespace: None,
        minor: None,
        length_old_bytes: None,
        length_new_bytes: None,
        wiki: None,
    })
}

/// A record that is no event; equal numbers have equal bytes.
fn noise(key: &str, number: u8) -> Record {
    let headers = vec![("ce_id".into(), vec![number].into())];
    Record { key: key.as_bytes().to_vec(), headers, value: vec![0xff, number], appended_at_ms: 0 }
}

fn record(event: &Event) -> Record {
    encode(event, "test", 0)
}

/// One round of everything; duplicates, conflicts and noise come in every round.
fn round(n: u64) -> Vec<(Topic, Record)> {
    let agents = ["ana", "bob", "cy", "dee"];
    let of = |shift: u64| agents[((n + shift) % 4) as usize];
    let matches = [
        record(&played("go", n, of(0), of(1))),
        record(&played("chess", n, of(1), of(3))),
        noise("go", (n % 2) as u8),
        record(&played("go", n, of(0), of(1))),
        record(&played("go", n, of(1), of(0))),
        record(&played("nowhere", n, of(0), of(1))),
        record(&played("go", 1_000 + n, of(2), of(3))),
    ];
    let submissions = [
        record(&submitted(n, of(0), n.is_multiple_of(2).then_some(0.5))),
        record(&scored(n, n)),
        record(&scored(n + 1, n)),
    ];
    let changes = [
        record(&changed(n, of(n), "en.example")),
        noise("x", 7),
        record(&changed(n, "someone else", "en.example")),
        record(&changed(1_000 + n, of(0), of(2))),
    ];
    let with = |topic| move |record| (topic, record);
    let changes = changes.into_iter().map(with(Topic::RecentChange));
    let submissions = submissions.into_iter().map(with(Topic::Submissions));
    matches.into_iter().map(with(Topic::Matches)).chain(submissions).chain(changes).collect()
}

/// A log of so many rounds, in one partition a topic.
pub struct World {
    pub log: MemoryLog,
    records: BTreeMap<TopicPartition, Vec<LogRecord>>,
}

/// How far a store is: its progress by topic, and cells that are ahead of it.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    pub progress: BTreeMap<TopicPartition, u64>,
    pub ahead: BTreeMap<CellKey, u64>,
}

impl Reach {
    fn of(&self, source: TopicPartition, cell: &CellKey) -> Applied {
        self.progress.get(&source).copied().max(self.ahead.get(cell).copied())
    }
}

impl World {
    pub async fn new(rounds: u64) -> World {
        let log = MemoryLog::new(LogSettings { partitions: 1, ..LogSettings::default() });
        let benchmark = Event::BenchmarkDefined(BenchmarkDefined {
            id: BenchmarkId::new("bench").unwrap(),
            version: 1,
            metric: MetricName::new("acc".to_owned()).unwrap(),
            direction: Direction::Higher,
            aggregation: Aggregation::Mean,
        });
        let mut all = vec![
            (Topic::Submissions, record(&benchmark)),
            (Topic::Matches, record(&defined("go"))),
            (Topic::Matches, record(&defined("chess"))),
        ];
        all.extend((0..rounds).flat_map(round));
        let mut records: BTreeMap<TopicPartition, Vec<LogRecord>> = BTreeMap::new();
        for (topic, record) in all {
            let target = TopicPartition { topic, partition: 0 };
            let of = records.entry(target).or_default();
            let position = Position { source: target, offset: of.len() as u64 };
            of.push(LogRecord { position, record: record.clone() });
            log.append(vec![Append { target, record }]).await.unwrap();
        }
        World { log, records }
    }

    /// Records of a partition.
    pub fn end(&self, source: TopicPartition) -> u64 {
        self.records[&source].len() as u64
    }

    /// The last position of every partition.
    pub fn whole(&self) -> Reach {
        let progress = self.records.keys().map(|source| (*source, self.end(*source) - 1));
        Reach { progress: progress.collect(), ahead: BTreeMap::new() }
    }

    /// What a store holds that is so far.
    pub fn rows(&self, reach: &Reach) -> Rows {
        let mut rows = Rows::new();
        for (source, records) in &self.records {
            let event = |record: &LogRecord| read(&record.record, *source, 1).ok();
            let mut cells: BTreeSet<CellKey> = records
                .iter()
                .filter_map(event)
                .map(|event| CellKey::of(&event, *source))
                .collect();
            if source.topic == Topic::RecentChange {
                cells.insert(CellKey::Stream(0));
            }
            let mut fates: BTreeMap<u64, Option<Rejection>> = BTreeMap::new();
            let mut duplicates = 0;
            for cell in cells {
                let limit = reach.of(*source, &cell);
                let of = records.iter().filter(|record| Some(record.position.offset) <= limit);
                let (own, bad, same) = fold_cell(*source, cell, of);
                rows.extend(own);
                fates.extend(bad);
                let is_below = |offset: &&u64| Some(*offset) <= reach.progress.get(source);
                duplicates += same.iter().filter(is_below).count() as u64;
            }
            let Some(progress) = reach.progress.get(source) else { continue };
            rows.extend(self.rest(*source, *progress, &fates, duplicates));
        }
        rows
    }

    /// Dead letters, refusals and counts.
    fn rest(
        &self,
        source: TopicPartition,
        applied: u64,
        fates: &BTreeMap<u64, Option<Rejection>>,
        duplicates: u64,
    ) -> Rows {
        let mut rows = Rows::new();
        let mut rejected = 0;
        for record in &self.records[&source][..=applied as usize] {
            let offset = record.position.offset;
            let unread = read(&record.record, source, 1).err();
            if let Some(rejection) = unread.or_else(|| fates.get(&offset).cloned().flatten()) {
                rejected += 1;
                let dead = rejected_rows(&record.record, source, offset, &rejection);
                rows.extend(dead.into_iter().map(|row| (row.key, row.value)));
            }
        }
        let counted = applied + 1 - rejected - duplicates;
        let record_hash = self.records[&source][applied as usize].record.hash();
        let progress =
            Progress { applied, record_hash, counts: Counts { counted, duplicates, rejected } };
        rows.insert(RowKey::Progress(source), Value::Progress(progress));
        rows
    }
}

/// What one cell leaves behind, which of its records were rejected, and which were duplicates.
fn fold_cell<'a>(
    source: TopicPartition,
    key: CellKey,
    records: impl Iterator<Item = &'a LogRecord>,
) -> (Rows, BTreeMap<u64, Option<Rejection>>, Vec<u64>) {
    let (mut rows, mut fates, mut duplicates) = (Rows::new(), BTreeMap::new(), Vec::new());
    let mut cell = Cell::new(key.clone());
    for record in records {
        let offset = record.position.offset;
        match read(&record.record, source, 1) {
            Ok(event) if CellKey::of(&event, source) == key => {
                match cell.step(offset, &event, &Stored(&rows, &key)) {
                    Outcome::Counted(effects) => {
                        rows.extend(effects.rows.into_iter().map(|row| (row.key, row.value)));
                    }
                    Outcome::Duplicate(_) => duplicates.push(offset),
                    Outcome::Rejected(rejection) => {
                        fates.insert(offset, Some(rejection));
                    }
                }
            }
            Ok(_) => {}
            Err(_) => cell.reject_unread(offset),
        }
    }
    let own = (0..cell.slots()).map(|slot| cell.row(slot)).chain(cell.head_row());
    rows.extend(own.map(|Row { key, value }| (key, value)));
    (rows, fates, duplicates)
}

struct Stored<'a>(&'a Rows, &'a CellKey);

impl Known for Stored<'_> {
    fn first_seen(&self, identity: Identity) -> Option<FirstSeen> {
        match self.0.get(&RowKey::FirstSeen(self.1.clone(), identity)) {
            Some(Value::FirstSeen(first)) => Some(*first),
            _ => None,
        }
    }

    fn submission(&self, id: &NaturalId) -> Option<SubmissionRow> {
        match self.0.get(&RowKey::Submission(self.1.clone(), id.clone())) {
            Some(Value::Submission(submission)) => Some(submission.clone()),
            _ => None,
        }
    }

    fn user(&self, user: UserHash) -> Option<u64> {
        match self.0.get(&RowKey::User(self.1.clone(), user)) {
            Some(Value::Since(offset)) => Some(*offset),
            _ => None,
        }
    }
}

/// Writes rows as damage would: without asking whether they fit.
pub fn overwrite(store: &MemoryStore, rows: &Rows) {
    for (key, value) in rows {
        store.overwrite_raw(key_bytes(key), value_bytes(value));
    }
}

/// A store with these rows.
pub fn store_of(rows: &Rows) -> MemoryStore {
    let store = MemoryStore::default();
    overwrite(&store, rows);
    store
}
