//! A log in short: events get offsets, are folded by the real step, and become flushes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use agon_ports::Change;
use agon_projections::fold::rejected_rows;
use agon_projections::row::{Counts, Progress, SubmissionRow, UserHash, Value};
use agon_projections::{Applied, Cell, CellFlush, CellKey, Flush, Known, Outcome, Row, RowKey};
use agon_schema::event::{
    Aggregation, BenchmarkDefined, Direction, EnvironmentDefined, MatchFinished, Metrics, Player,
    Players, RecentChange, RunScored, RunStatus, SubmissionReceived,
};
use agon_schema::ids::MetricName;
use agon_schema::rating::RatingSystem;
use agon_schema::record::RecordHash;
use agon_schema::{
    AgentId, BenchmarkId, EnvironmentId, Event, EventTime, Identity, NaturalId, Position,
    TopicPartition, encode,
};

pub const PARTITIONS: u32 = 4;

/// Rows beside the cells' own, which later steps ask for.
#[derive(Default)]
struct Side(HashMap<RowKey, Value>);

struct KnownOf<'a>(&'a Side, CellKey);

impl Known for KnownOf<'_> {
    fn first_seen(&self, identity: Identity) -> Option<agon_projections::row::FirstSeen> {
        match self.0.0.get(&RowKey::FirstSeen(self.1.clone(), identity)) {
            Some(Value::FirstSeen(first)) => Some(*first),
            _ => None,
        }
    }

    fn submission(&self, id: &NaturalId) -> Option<SubmissionRow> {
        match self.0.0.get(&RowKey::Submission(self.1.clone(), id.clone())) {
            Some(Value::Submission(row)) => Some(row.clone()),
            _ => None,
        }
    }

    fn user(&self, user: UserHash) -> Option<u64> {
        match self.0.0.get(&RowKey::User(self.1.clone(), user)) {
            Some(Value::Since(offset)) => Some(*offset),
            _ => None,
        }
    }
}

#[derive(Default)]
struct Dirty {
    from: Applied,
    touched: BTreeSet<u32>,
    side: Vec<Row>,
}

/// Folds events and remembers what no flush has carried yet.
#[derive(Default)]
pub struct Folder {
    cells: BTreeMap<CellKey, Cell>,
    side: Side,
    ends: BTreeMap<TopicPartition, u64>,
    flushed: BTreeMap<TopicPartition, u64>,
    dirty: BTreeMap<TopicPartition, BTreeMap<CellKey, Dirty>>,
    rejected: BTreeMap<TopicPartition, Vec<Row>>,
}

impl Folder {
    /// Appends and folds one event.
    pub fn append(&mut self, event: &Event) -> Position {
        let source = TopicPartition::of_key(event.topic(), event.key().as_bytes(), PARTITIONS);
        let end = self.ends.entry(source).or_default();
        let offset = *end;
        *end += 1;
        let key = CellKey::of(event, source);
        let cell = self.cells.entry(key.clone()).or_insert_with(|| Cell::new(key.clone()));
        let from = cell.applied();
        let outcome = cell.step(offset, event, &KnownOf(&self.side, key.clone()));
        if let Outcome::Rejected(rejection) = &outcome {
            let rows = rejected_rows(&encode(event, "test", 0), source, offset, rejection);
            self.rejected.entry(source).or_default().extend(rows);
        }
        let cells = self.dirty.entry(source).or_default();
        if cell.applied() != from {
            let dirty = cells.entry(key).or_insert(Dirty { from, ..Dirty::default() });
            if let Outcome::Counted(effects) = outcome {
                for row in &effects.rows {
                    self.side.0.insert(row.key.clone(), row.value.clone());
                }
                dirty.touched.extend(effects.touched);
                dirty.side.extend(effects.rows);
            }
        }
        Position { source, offset }
    }

    /// One flush for each partition that was folded since the last time.
    pub fn flushes(&mut self) -> Vec<Arc<Flush>> {
        let mut flushes = Vec::new();
        for (source, cells) in std::mem::take(&mut self.dirty) {
            let applied = self.ends[&source] - 1;
            let from = self.flushed.insert(source, applied);
            let cells = cells.into_iter().map(|(key, dirty)| {
                let cell = &self.cells[&key];
                let mut own: Vec<Row> = cell.head_row().into_iter().collect();
                own.extend(dirty.touched.iter().map(|slot| cell.row(*slot)));
                let to = cell.applied().unwrap();
                CellFlush { key, from: dirty.from, to, own, side: dirty.side }
            });
            let (record_hash, counts) = (RecordHash([0; 16]), Counts::default());
            let progress = Progress { applied, record_hash, counts };
            let cells = cells.collect();
            let rows = self.rejected.remove(&source).unwrap_or_default();
            flushes.push(Arc::new(Flush { source, from, progress, cells, rows }));
        }
        flushes
    }
}

/// What the feed says of a flush: its moves, then the progress.
pub fn news(flush: &Flush, appended_at_ms: i64) -> Vec<Change> {
    let moved = |cell: &CellFlush| Change::Moved {
        cell: cell.key.clone(),
        from: cell.from,
        to: cell.to,
        rows: Arc::new(cell.own.clone()),
    };
    let (source, applied) = (flush.source, flush.progress.applied);
    let mut news: Vec<Change> = flush.cells.iter().map(moved).collect();
    news.push(Change::Progress { source, applied, appended_at_ms });
    news
}

fn at(second: u32) -> EventTime {
    let micros = 1_700_000_000_000_000 + i64::from(second) * 1_000_000;
    EventTime { at: agon_schema::Timestamp::from_micros(micros).unwrap(), filled_in: false }
}

pub fn environment(id: &str) -> Event {
    let id = EnvironmentId::new(id).unwrap();
    Event::EnvironmentDefined(EnvironmentDefined {
        id,
        version: 1,
        rating: RatingSystem::default(),
    })
}

/// Players in the order of their places; a name that starts with `=` shares the place before.
pub fn game(environment: &str, id: &str, second: u32, players: &[&str]) -> Event {
    let mut placement = 0;
    let players = players.iter().map(|name| {
        placement += u32::from(!name.starts_with('='));
        let agent = AgentId::new(name.trim_start_matches('=')).unwrap();
        Player { agent, placement, score: None, home: false }
    });
    Event::MatchFinished(MatchFinished {
        environment: EnvironmentId::new(environment).unwrap(),
        match_id: NaturalId::new(id).unwrap(),
        players: Players::new(players.collect()).unwrap(),
        occurred: at(second),
        context: None,
    })
}

pub fn benchmark(id: &str, direction: Direction, aggregation: Aggregation) -> Event {
    Event::BenchmarkDefined(BenchmarkDefined {
        id: BenchmarkId::new(id).unwrap(),
        version: 1,
        metric: MetricName::new("accuracy").unwrap(),
        direction,
        aggregation,
    })
}

fn metrics(accuracy: Option<f64>) -> Metrics {
    Metrics::new(accuracy.map(|value| ("accuracy".to_owned(), value))).unwrap()
}

pub fn submission(benchmark: &str, id: &str, agent: &str, accuracy: Option<f64>) -> Event {
    Event::SubmissionReceived(SubmissionReceived {
        benchmark: BenchmarkId::new(benchmark).unwrap(),
        submission_id: NaturalId::new(id).unwrap(),
        agent: AgentId::new(agent).unwrap(),
        metrics: metrics(accuracy),
        artifact: None,
        occurred: at(0),
    })
}

/// A completed run, or a failed one without a value.
pub fn run(benchmark: &str, submission: &str, id: &str, accuracy: Option<f64>) -> Event {
    Event::RunScored(RunScored {
        benchmark: BenchmarkId::new(benchmark).unwrap(),
        submission_id: NaturalId::new(submission).unwrap(),
        run_id: NaturalId::new(id).unwrap(),
        status: if accuracy.is_some() { RunStatus::Completed } else { RunStatus::Failed },
        metrics: metrics(accuracy),
        occurred: at(60),
    })
}

pub fn change(id: &str, user: Option<&str>, bot: Option<bool>, server: Option<&str>) -> Event {
    Event::RecentChange(RecentChange {
        id: NaturalId::new(id).unwrap(),
        occurred_at: at(id.len() as u32).at,
        user: user.map(str::to_owned),
        bot,
        server_name: server.map(str::to_owned),
        change_type: None,
        title: None,
        namespace: None,
        minor: None,
        length_old_bytes: None,
        length_new_bytes: None,
        wiki: None,
    })
}
