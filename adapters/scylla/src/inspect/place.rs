//! Partitions of tables: what names one, and where it stands among the keys.

use agon_projections::row_bytes::{Prefix, prefix_bytes};
use agon_projections::{CellKey, FOLD_VERSION, GENERATION, RowKey, Table};
use agon_schema::topic::partition_of;
use agon_schema::{AgentId, TopicPartition};
use scylla::value::CqlValue;

use crate::cell_name::CellName;
use crate::tables::{self, TableDef};

/// One partition, or what one agent has of it. A bucket is the first four bits of a hash, the part
/// of an offset above its low 18 bits, or the agent's: its murmur2 over 32 (history) or 64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Cell(CellKey),
    HashBucket(CellKey, i8),
    OffsetBucket(CellKey, i64),
    Player(CellKey, AgentId),
    Agent(AgentId),
    Source(TopicPartition),
    SourceHashBucket(TopicPartition, i8),
    SourceOffsetBucket(TopicPartition, i64),
}

/// Where a partition stands: the bytes that its keys start with, then its bucket.
pub(super) type Rank = (Vec<u8>, i64);

/// Which table of the keyspace holds the rows.
pub(super) fn definition(table: Table) -> &'static TableDef {
    match table {
        Table::Heads | Table::Entrants | Table::Servers | Table::Submissions | Table::Tallies => {
            &tables::CELLS
        }
        Table::Users => &tables::USERS,
        Table::FirstSeen => &tables::FIRST_SEEN,
        Table::Refusals => &tables::REFUSALS,
        Table::Matches => &tables::MATCHES,
        Table::History => &tables::HISTORY,
        Table::AgentCells => &tables::AGENT_CELLS,
        Table::DeadLetters => &tables::DEAD_LETTERS,
        Table::Progress => &tables::PROGRESS,
    }
}

fn hash_bucket(bytes: &[u8; 16]) -> i8 {
    (bytes[0] / 16) as i8
}

fn offset_bucket(offset: u64) -> i64 {
    (offset / (1 << 18)) as i64
}

/// The bucket of an agent among so many, and its name.
fn of_agent(agent: &AgentId, buckets: u32) -> (CqlValue, CqlValue) {
    let agent = agent.as_str();
    let bucket = partition_of(agent.as_bytes(), buckets) as i8;
    (CqlValue::TinyInt(bucket), CqlValue::Text(agent.to_owned()))
}

impl Place {
    /// Where the row of a key lies.
    pub(super) fn of(key: &RowKey) -> Place {
        match key {
            RowKey::Head(cell)
            | RowKey::Entrant(cell, _)
            | RowKey::Server(cell, _)
            | RowKey::Tally(cell, _)
            | RowKey::Submission(cell, _) => Place::Cell(cell.clone()),
            RowKey::User(cell, user) => Place::HashBucket(cell.clone(), hash_bucket(&user.0)),
            RowKey::FirstSeen(cell, id) => Place::HashBucket(cell.clone(), hash_bucket(&id.0)),
            RowKey::Match(cell, offset) => {
                Place::OffsetBucket(cell.clone(), offset_bucket(*offset))
            }
            RowKey::History(cell, agent, _) => Place::Player(cell.clone(), agent.clone()),
            RowKey::AgentCell(agent, _) => Place::Agent(agent.clone()),
            RowKey::Refusal(source, mark) => Place::SourceHashBucket(*source, hash_bucket(&mark.0)),
            RowKey::DeadLetter(source, offset) => {
                Place::SourceOffsetBucket(*source, offset_bucket(*offset))
            }
            RowKey::Progress(source) => Place::Source(*source),
        }
    }

    /// What goes on after the equality of the partition's columns.
    pub(super) fn within(&self) -> &'static str {
        match self {
            Place::Player(..) | Place::Agent(_) => " AND agent = ?",
            _ => "",
        }
    }

    /// The values of the partition's columns, in the order of the definition, and those of
    /// [`within`](Place::within).
    pub(super) fn values(&self) -> Vec<CqlValue> {
        let by = [CqlValue::Int(GENERATION as i32), CqlValue::Int(FOLD_VERSION as i32)];
        let of_cell = |cell: &CellKey, more: Option<CqlValue>| {
            let CellName { kind, id } = CellName::from(cell);
            [CqlValue::TinyInt(kind), CqlValue::Text(id)].into_iter().chain(by.clone()).chain(more)
        };
        let of_source = |source: &TopicPartition, more: Option<CqlValue>| {
            let topic = CqlValue::TinyInt(source.topic.code() as i8);
            let partition = CqlValue::Int(source.partition as i32);
            [topic, partition].into_iter().chain(by.clone()).chain(more)
        };
        match self {
            Place::Cell(cell) => of_cell(cell, None).collect(),
            Place::HashBucket(cell, bucket) => {
                of_cell(cell, Some(CqlValue::TinyInt(*bucket))).collect()
            }
            Place::OffsetBucket(cell, bucket) => {
                of_cell(cell, Some(CqlValue::BigInt(*bucket))).collect()
            }
            Place::Player(cell, agent) => {
                let (bucket, agent) = of_agent(agent, 32);
                of_cell(cell, Some(bucket)).chain([agent]).collect()
            }
            Place::Agent(agent) => {
                let (bucket, agent) = of_agent(agent, 64);
                [bucket].into_iter().chain(by).chain([agent]).collect()
            }
            Place::Source(source) => of_source(source, None).collect(),
            Place::SourceHashBucket(source, bucket) => {
                of_source(source, Some(CqlValue::TinyInt(*bucket))).collect()
            }
            Place::SourceOffsetBucket(source, bucket) => {
                of_source(source, Some(CqlValue::BigInt(*bucket))).collect()
            }
        }
    }

    /// Where it stands among the partitions of a table.
    pub(super) fn rank(&self, table: Table) -> Rank {
        let prefix = match self {
            Place::Cell(cell) | Place::HashBucket(cell, _) | Place::OffsetBucket(cell, _) => {
                Prefix::Cell(table, cell.clone())
            }
            Place::Player(cell, agent) => Prefix::History(cell.clone(), agent.clone()),
            Place::Agent(agent) => Prefix::AgentCells(agent.clone()),
            Place::Source(source)
            | Place::SourceHashBucket(source, _)
            | Place::SourceOffsetBucket(source, _) => Prefix::Source(table, *source),
        };
        let bucket = match self {
            Place::HashBucket(_, bucket) | Place::SourceHashBucket(_, bucket) => i64::from(*bucket),
            Place::OffsetBucket(_, bucket) | Place::SourceOffsetBucket(_, bucket) => *bucket,
            _ => 0,
        };
        (prefix_bytes(&prefix), bucket)
    }
}
