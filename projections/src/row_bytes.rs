//! The canonical bytes of rows: what a key-value store keeps and what `verify` hashes.
//!
//! A key is `table, generation, fold version, parts…`; ids end with a zero byte, which none can
//! hold, and numbers are big-endian, so keys sort as their parts do.

use agon_schema::record::RecordHash;
use agon_schema::{
    AgentId, BenchmarkId, ContentHash, EnvironmentId, EventTime, Identity, NaturalId, Timestamp,
    Topic, TopicPartition,
};

use crate::cell::{CellKey, FOLD_VERSION, GENERATION};
use crate::row::{HistoryRow, Row, RowKey, Table, TallyKey, UserHash, Value};

/// Keys that start alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// A whole table.
    Table(Table),
    /// The rows of a cell in a table whose keys start with the cell.
    Cell(Table, CellKey),
    /// An agent's history in a cell.
    History(CellKey, AgentId),
    /// The boards of an agent.
    AgentCells(AgentId),
    /// The rows of a partition in a table whose keys start with the partition.
    Source(Table, TopicPartition),
}

fn table_bytes(table: Table) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    bytes.push(table as u8);
    bytes.extend_from_slice(&GENERATION.to_be_bytes());
    bytes.extend_from_slice(&FOLD_VERSION.to_be_bytes());
    bytes
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
}

fn push_cell(bytes: &mut Vec<u8>, cell: &CellKey) {
    match cell {
        CellKey::Environment(id) => {
            bytes.push(1);
            push_text(bytes, id.as_str());
        }
        CellKey::Benchmark(id) => {
            bytes.push(2);
            push_text(bytes, id.as_str());
        }
        CellKey::Stream(partition) => {
            bytes.push(3);
            bytes.extend_from_slice(&partition.to_be_bytes());
        }
    }
}

fn push_source(bytes: &mut Vec<u8>, source: TopicPartition) {
    bytes.push(source.topic.code());
    bytes.extend_from_slice(&source.partition.to_be_bytes());
}

/// The bytes that keys under this prefix start with.
pub fn prefix_bytes(prefix: &Prefix) -> Vec<u8> {
    match prefix {
        Prefix::Table(table) => table_bytes(*table),
        Prefix::Cell(table, cell) => {
            let mut bytes = table_bytes(*table);
            push_cell(&mut bytes, cell);
            bytes
        }
        Prefix::History(cell, agent) => {
            let mut bytes = table_bytes(Table::History);
            push_cell(&mut bytes, cell);
            push_text(&mut bytes, agent.as_str());
            bytes
        }
        Prefix::AgentCells(agent) => {
            let mut bytes = table_bytes(Table::AgentCells);
            push_text(&mut bytes, agent.as_str());
            bytes
        }
        Prefix::Source(table, source) => {
            let mut bytes = table_bytes(*table);
            push_source(&mut bytes, *source);
            bytes
        }
    }
}

/// The bytes of a key.
pub fn key_bytes(key: &RowKey) -> Vec<u8> {
    let mut bytes = table_bytes(key.table());
    match key {
        RowKey::Head(cell) => push_cell(&mut bytes, cell),
        RowKey::Entrant(cell, agent) => {
            push_cell(&mut bytes, cell);
            push_text(&mut bytes, agent.as_str());
        }
        RowKey::Server(cell, name) => {
            push_cell(&mut bytes, cell);
            bytes.extend_from_slice(name.as_bytes());
        }
        RowKey::User(cell, user) => {
            push_cell(&mut bytes, cell);
            bytes.extend_from_slice(&user.0);
        }
        RowKey::FirstSeen(cell, identity) => {
            push_cell(&mut bytes, cell);
            bytes.extend_from_slice(&identity.0);
        }
        RowKey::Refusal(source, mark) => {
            push_source(&mut bytes, *source);
            bytes.extend_from_slice(&mark.0);
        }
        RowKey::Match(cell, offset) => {
            push_cell(&mut bytes, cell);
            bytes.extend_from_slice(&offset.to_be_bytes());
        }
        RowKey::Submission(cell, id) => {
            push_cell(&mut bytes, cell);
            push_text(&mut bytes, id.as_str());
        }
        RowKey::History(cell, agent, offset) => {
            push_cell(&mut bytes, cell);
            push_text(&mut bytes, agent.as_str());
            bytes.extend_from_slice(&offset.to_be_bytes());
        }
        RowKey::AgentCell(agent, cell) => {
            push_text(&mut bytes, agent.as_str());
            push_cell(&mut bytes, cell);
        }
        RowKey::DeadLetter(source, offset) => {
            push_source(&mut bytes, *source);
            bytes.extend_from_slice(&offset.to_be_bytes());
        }
        RowKey::Progress(source) => push_source(&mut bytes, *source),
        RowKey::Tally(cell, key) => {
            push_cell(&mut bytes, cell);
            bytes.extend_from_slice(&key.bytes());
        }
    }
    bytes
}

/// The bytes of a value.
pub fn value_bytes(value: &Value) -> Vec<u8> {
    // Most values have room in it, so that it seldom grows.
    match postcard::to_extend(value, Vec::with_capacity(VALUE_BYTES)) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("a value is plain data and has bytes: {error}"),
    }
}

/// About as many bytes as a value has.
const VALUE_BYTES: usize = 96;

/// The row of these bytes; `None` when they are none: damaged, or written by another version.
pub fn row_of_bytes(key: &[u8], value: &[u8]) -> Option<Row> {
    let key = key_of_bytes(key)?;
    let (value, rest) = postcard::take_from_bytes::<Value>(value).ok()?;
    rest.is_empty().then_some(Row { key, value })
}

/// Reads a key from the front to the back.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(part)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn text(&mut self) -> Option<String> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = String::from_utf8(self.take(end)?.to_vec()).ok()?;
        self.take(1)?;
        Some(text)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn cell(&mut self) -> Option<CellKey> {
        match self.array::<1>()?[0] {
            1 => Some(CellKey::Environment(EnvironmentId::new(self.text()?).ok()?)),
            2 => Some(CellKey::Benchmark(BenchmarkId::new(self.text()?).ok()?)),
            3 => Some(CellKey::Stream(u32::from_be_bytes(self.array()?))),
            _ => None,
        }
    }

    fn agent(&mut self) -> Option<AgentId> {
        AgentId::new(self.text()?).ok()
    }

    fn source(&mut self) -> Option<TopicPartition> {
        let topic = Topic::from_code(self.array::<1>()?[0])?;
        Some(TopicPartition { topic, partition: u32::from_be_bytes(self.array()?) })
    }

    fn rest(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.0);
        String::from_utf8(rest.to_vec()).ok()
    }
}

/// The key of these bytes, if they are one of this generation and fold version.
pub fn key_of_bytes(bytes: &[u8]) -> Option<RowKey> {
    let mut parts = Parts(bytes);
    let code = parts.array::<1>()?[0];
    let table = Table::ALL.into_iter().find(|table| *table as u8 == code)?;
    let live = parts.array().map(u32::from_be_bytes)? == GENERATION
        && parts.array().map(u32::from_be_bytes)? == FOLD_VERSION;
    if !live {
        return None;
    }
    let key = match table {
        Table::Heads => RowKey::Head(parts.cell()?),
        Table::Entrants => RowKey::Entrant(parts.cell()?, parts.agent()?),
        Table::Servers => RowKey::Server(parts.cell()?, parts.rest()?),
        Table::Users => RowKey::User(parts.cell()?, UserHash(parts.array()?)),
        Table::FirstSeen => RowKey::FirstSeen(parts.cell()?, Identity(parts.array()?)),
        Table::Refusals => RowKey::Refusal(parts.source()?, ContentHash(parts.array()?)),
        Table::Matches => RowKey::Match(parts.cell()?, parts.u64()?),
        Table::Submissions => {
            RowKey::Submission(parts.cell()?, NaturalId::new(parts.text()?).ok()?)
        }
        Table::History => RowKey::History(parts.cell()?, parts.agent()?, parts.u64()?),
        Table::AgentCells => RowKey::AgentCell(parts.agent()?, parts.cell()?),
        Table::DeadLetters => RowKey::DeadLetter(parts.source()?, parts.u64()?),
        Table::Progress => RowKey::Progress(parts.source()?),
        Table::Tallies => RowKey::Tally(parts.cell()?, TallyKey::of_bytes(parts.array()?)?),
    };
    parts.0.is_empty().then_some(key)
}

/// The value as it is hashed: times that the intake filled in say when something was appended, not
/// what was folded, and count as none.
pub fn folded_bytes(value: &Value) -> Vec<u8> {
    let mut value = value.clone();
    let neutral = |time: &mut EventTime| {
        if time.filled_in {
            time.at = EPOCH;
        }
    };
    match &mut value {
        Value::Head(head) => {
            if let Some(last) = &mut head.last {
                neutral(last);
            }
        }
        Value::Rating(rating) => neutral(&mut rating.last),
        Value::Score(score) => neutral(&mut score.last),
        Value::Match(row) => neutral(&mut row.occurred),
        Value::Submission(row) => neutral(&mut row.occurred),
        Value::History(HistoryRow::Match { occurred, .. } | HistoryRow::Run { occurred, .. }) => {
            neutral(occurred)
        }
        // A record's hash covers its ce_time, which the intake may have filled in.
        Value::Progress(progress) => progress.record_hash = RecordHash([0; 16]),
        // The times of a stream are its own: nobody fills them in.
        Value::Tally(_) => {}
        Value::Server(_) | Value::Since(_) | Value::FirstSeen(_) | Value::DeadLetter(_) => {}
    }
    value_bytes(&value)
}

const EPOCH: Timestamp = match Timestamp::from_micros(0) {
    Ok(epoch) => epoch,
    Err(_) => unreachable!(),
};
