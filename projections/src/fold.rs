//! The one step that every record goes through, live and in `verify` alike.

use agon_schema::{
    AgentId, ContentHash, Event, Identity, NaturalId, Record, TopicPartition, decode,
};

use crate::benchmark::BenchmarkCell;
use crate::cell::CellKey;
use crate::environment::EnvironmentCell;
use crate::rejection::{Reason, Rejection};
use crate::row::{DeadLetter, FirstSeen, Row, RowKey, SubmissionRow, UserHash, Value};
use crate::stream::StreamCell;

/// What was stored or folded before, as far as one event needs it. Whoever folds answers from
/// memory, the set that waits for its flush, or the store; the answer is the same. A store may hold
/// more than was folded into the cell, left by someone who stored the rows beside it and no more:
/// so what the answers say of offsets from the event's own on counts as not known.
pub trait Known {
    /// The first time that this identity took effect in the cell.
    fn first_seen(&self, identity: Identity) -> Option<FirstSeen>;
    /// A submission to the cell's benchmark.
    fn submission(&self, id: &NaturalId) -> Option<SubmissionRow>;
    /// The offset at which the partition counted this user.
    fn user(&self, user: UserHash) -> Option<u64>;
}

/// By what an event and its user are known: hashes, made once and used by look-ups and the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Whether it was counted before.
    pub identity: Identity,
    /// Whether it said the same then.
    pub content: ContentHash,
    /// Who changed something, for a recent change that says so.
    pub user: Option<UserHash>,
}

impl Marks {
    /// The marks of an event.
    pub fn of(event: &Event) -> Marks {
        let user = match event {
            Event::RecentChange(change) => change.user.as_deref().map(crate::stream::hash),
            _ => None,
        };
        Marks { identity: event.identity(), content: ContentHash::of(event), user }
    }
}

/// What a step wants to know beforehand; the keys of rows that [`Known`] will be asked for.
pub fn wanted(cell: &CellKey, event: &Event, marks: &Marks) -> [Option<RowKey>; 2] {
    let first_seen = RowKey::FirstSeen(cell.clone(), marks.identity);
    let more = match event {
        Event::RunScored(run) => Some(RowKey::Submission(cell.clone(), run.submission_id.clone())),
        _ => marks.user.map(|user| RowKey::User(cell.clone(), user)),
    };
    [Some(first_seen), more]
}

/// What a counted event did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Slots of the cell whose rows changed.
    pub touched: Vec<u32>,
    /// Rows beside the cell's own, at the event's offset.
    pub rows: Vec<Row>,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It took effect.
    Counted(Effects),
    /// It says what the event at this offset said; nothing changed.
    Duplicate(u64),
    /// It does not count.
    Rejected(Rejection),
}

/// The state of one cell.
#[derive(Clone, Debug)]
pub enum Cell {
    /// Ratings.
    Environment(EnvironmentCell),
    /// Scores.
    Benchmark(BenchmarkCell),
    /// Stream statistics.
    Stream(StreamCell),
}

impl Cell {
    /// A cell that nothing happened to.
    pub fn new(key: CellKey) -> Cell {
        match key {
            CellKey::Environment(id) => Cell::Environment(EnvironmentCell::new(id)),
            CellKey::Benchmark(id) => Cell::Benchmark(BenchmarkCell::new(id)),
            CellKey::Stream(partition) => Cell::Stream(StreamCell::new(partition)),
        }
    }

    /// The cell that its own rows (head, entrants, servers, tallies) describe, in any order. Rows
    /// that do not belong to it are passed over.
    pub fn from_rows(key: CellKey, rows: impl IntoIterator<Item = Row>) -> Cell {
        let mut cell = Cell::new(key);
        for row in rows {
            match &mut cell {
                Cell::Environment(cell) => cell.load(row),
                Cell::Benchmark(cell) => cell.load(row),
                Cell::Stream(cell) => cell.load(row),
            }
        }
        cell
    }

    /// The offset of the last event that changed it; `None` when nothing has.
    pub fn applied(&self) -> Option<u64> {
        match self {
            Cell::Environment(cell) => cell.head().map(|head| head.applied),
            Cell::Benchmark(cell) => cell.head().map(|head| head.applied),
            Cell::Stream(cell) => cell.head().map(|head| head.applied),
        }
    }

    /// Its head, once something happened to it.
    pub fn head_row(&self) -> Option<Row> {
        let (key, head) = match self {
            Cell::Environment(cell) => (cell.key(), cell.head()),
            Cell::Benchmark(cell) => (cell.key(), cell.head()),
            Cell::Stream(cell) => (cell.key(), cell.head()),
        };
        head.map(|head| Row { key: RowKey::Head(key), value: Value::Head(head.clone()) })
    }

    /// The row of a slot that [`Effects::touched`] named.
    pub fn row(&self, slot: u32) -> Row {
        match self {
            Cell::Environment(cell) => cell.row(slot),
            Cell::Benchmark(cell) => cell.row(slot),
            Cell::Stream(cell) => cell.row(slot),
        }
    }

    /// Slots in use: 0 to this, exclusive.
    pub fn slots(&self) -> u32 {
        match self {
            Cell::Environment(cell) => cell.slots(),
            Cell::Benchmark(cell) => cell.slots(),
            Cell::Stream(cell) => cell.slots(),
        }
    }

    /// Whether an event may ask for the row of this key. A stream that counts users by a sketch
    /// asks for none of them any more.
    pub fn asks_for(&self, key: &RowKey) -> bool {
        match (self, key) {
            (Cell::Stream(cell), RowKey::User(..)) => cell.is_exact(),
            _ => true,
        }
    }

    /// Folds one event at its offset. Pure and total: the same cell, event and knowledge give the
    /// same outcome everywhere. The caller passes no event at or below [`Cell::applied`].
    pub fn step(&mut self, offset: u64, event: &Event, known: &dyn Known) -> Outcome {
        self.step_marked(offset, event, &Marks::of(event), known)
    }

    /// As [`Cell::step`], for a caller that has the event's marks already.
    pub fn step_marked(
        &mut self,
        offset: u64,
        event: &Event,
        marks: &Marks,
        known: &dyn Known,
    ) -> Outcome {
        let Marks { identity, content, user } = *marks;
        if let Some(first) = known.first_seen(identity).filter(|first| first.offset < offset) {
            if first.content == content {
                return Outcome::Duplicate(first.offset);
            }
            let detail = format!("offset {} says otherwise under the same identity", first.offset);
            return self.rejected(offset, Rejection::new(Reason::ConflictingDuplicate, detail));
        }
        let judged = match (&mut *self, event) {
            (Cell::Environment(cell), Event::EnvironmentDefined(event)) => {
                cell.define(offset, event)
            }
            (Cell::Environment(cell), Event::MatchFinished(event)) => cell.finish(offset, event),
            (Cell::Benchmark(cell), Event::BenchmarkDefined(event)) => cell.define(offset, event),
            (Cell::Benchmark(cell), Event::SubmissionReceived(event)) => {
                cell.receive(offset, event)
            }
            (Cell::Benchmark(cell), Event::RunScored(event)) => cell.score(offset, event, known),
            (Cell::Stream(cell), Event::RecentChange(event)) => {
                Ok(cell.observe(offset, event, user, known))
            }
            // CellKey::of sends each event to a cell of its kind.
            _ => Err(Rejection::new(Reason::WrongPartition, "the event belongs to another cell")),
        };
        match judged {
            Ok(mut effects) => {
                let value = Value::FirstSeen(FirstSeen { offset, content });
                effects.rows.push(Row { key: RowKey::FirstSeen(self.key(), identity), value });
                Outcome::Counted(effects)
            }
            Err(rejection) => self.rejected(offset, rejection),
        }
    }

    /// Counts a record that could not even be read, where the cell counts such.
    pub fn reject_unread(&mut self, offset: u64) {
        if let Cell::Stream(cell) = self {
            cell.reject(offset);
        }
    }

    fn rejected(&mut self, offset: u64, rejection: Rejection) -> Outcome {
        self.reject_unread(offset);
        Outcome::Rejected(rejection)
    }

    /// Which cell it is.
    pub fn key(&self) -> CellKey {
        match self {
            Cell::Environment(cell) => cell.key(),
            Cell::Benchmark(cell) => cell.key(),
            Cell::Stream(cell) => cell.key(),
        }
    }
}

/// The event of a record that stands in this partition, or why it does not count.
///
/// # Errors
/// What the codec refuses, and a record that stands where its key does not belong.
pub fn read(record: &Record, source: TopicPartition, partitions: u32) -> Result<Event, Rejection> {
    let event = decode(record)?;
    let home = TopicPartition::of_key(event.topic(), event.key().as_bytes(), partitions);
    if home == source {
        return Ok(event);
    }
    let detail = format!("key {:?} belongs to {home}, not to {source}", event.key());
    Err(Rejection::new(Reason::WrongPartition, detail))
}

/// What a rejected record leaves behind: its dead letter, and for a final reason the mark by which
/// the intake knows it again.
pub fn rejected_rows(
    record: &Record,
    source: TopicPartition,
    offset: u64,
    rejection: &Rejection,
) -> Vec<Row> {
    let text = |bytes: Option<&[u8]>, max: usize| -> String {
        bytes.map_or_else(String::new, |b| String::from_utf8_lossy(b).chars().take(max).collect())
    };
    let letter = DeadLetter {
        rejection: rejection.clone(),
        event_type: text(record.header("ce_type"), 100),
        event_id: text(record.header("ce_id"), 100),
        key: text(Some(&record.key), 128),
    };
    let key = RowKey::DeadLetter(source, offset);
    let mut rows = vec![Row { key, value: Value::DeadLetter(letter) }];
    if rejection.reason.is_final() {
        let key = RowKey::Refusal(source, refusal_mark(record));
        rows.push(Row { key, value: Value::Since(offset) });
    }
    rows
}

/// By what a finally rejected record is known again: its bytes under its identity.
pub fn refusal_mark(record: &Record) -> ContentHash {
    let mut bytes = record.header("ce_id").unwrap_or_default().to_vec();
    bytes.push(0);
    bytes.extend_from_slice(&record.value);
    ContentHash::of_bytes(&bytes)
}

/// The row that says on which board an agent stands, written when it first does.
pub(crate) fn agent_cell(agent: &AgentId, cell: CellKey, offset: u64) -> Row {
    Row { key: RowKey::AgentCell(agent.clone(), cell), value: Value::Since(offset) }
}
