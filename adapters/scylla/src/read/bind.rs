//! Values that a read is given, and reads that go on after a place in a partition.

use agon_ports::Order;
use agon_projections::CellKey;
use agon_schema::{AgentId, TopicPartition};
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::serialize::SerializationError;
use scylla::serialize::value::SerializeValue;
use scylla::serialize::writers::{CellWriter, WrittenCellProof};
use scylla::statement::prepared::PreparedStatement;

use crate::cell_name::CellName;
use crate::error::RequestError;
use crate::flush::{FOLDED_BY, LIVE, agent_bucket, columns_of};
use crate::link::Link;
use crate::session::prepare;
use crate::tables::TableDef;

/// One value.
#[derive(Clone, Debug)]
pub(super) enum Bind {
    Tiny(i8),
    Int(i32),
    Big(i64),
    Text(String),
    Blob(Vec<u8>),
    Blobs(Vec<Vec<u8>>),
    Bigs(Vec<i64>),
}

impl SerializeValue for Bind {
    fn serialize<'b>(
        &self,
        column: &scylla::cluster::metadata::ColumnType<'_>,
        out: CellWriter<'b>,
    ) -> Result<WrittenCellProof<'b>, SerializationError> {
        match self {
            Bind::Tiny(value) => value.serialize(column, out),
            Bind::Int(value) => value.serialize(column, out),
            Bind::Big(value) => value.serialize(column, out),
            Bind::Text(value) => value.serialize(column, out),
            Bind::Blob(value) => value.serialize(column, out),
            Bind::Blobs(value) => value.serialize(column, out),
            Bind::Bigs(value) => value.serialize(column, out),
        }
    }
}

/// The first columns of a partition of one cell.
pub(super) fn of_cell(cell: &CellKey) -> Vec<Bind> {
    let CellName { kind, id } = CellName::from(cell);
    vec![Bind::Tiny(kind), Bind::Text(id), Bind::Int(LIVE), Bind::Int(FOLDED_BY)]
}

/// The partition of the cells that an agent is in, and the agent.
pub(super) fn of_agent(agent: &AgentId) -> Vec<Bind> {
    let bucket = Bind::Tiny(agent_bucket(agent));
    vec![bucket, Bind::Int(LIVE), Bind::Int(FOLDED_BY), Bind::Text(agent.as_str().to_owned())]
}

/// The first columns of a partition of one source.
pub(super) fn of_source(source: TopicPartition) -> Vec<Bind> {
    let (topic, partition) = columns_of(source);
    vec![Bind::Tiny(topic), Bind::Int(partition), Bind::Int(LIVE), Bind::Int(FOLDED_BY)]
}

/// A place to start after, the way to go, and how many rows to take.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) after: Option<Bind>,
    pub(super) order: Order,
    pub(super) limit: usize,
}

/// Reads a partition in pages by one clustering column.
pub(super) struct Paged {
    rising: PreparedStatement,
    rising_after: PreparedStatement,
    falling: PreparedStatement,
    falling_before: PreparedStatement,
}

impl Paged {
    /// Of the columns `select`, in the order of the last clustering column. Those before it must be
    /// equal to values that stand after those of the partition.
    pub(super) async fn prepare(
        session: &Session,
        keyspace: &str,
        table: &TableDef,
        select: &str,
    ) -> Result<Paged, RequestError> {
        let Some(((by, _), equal)) = table.clustering.split_last() else {
            unreachable!("only tables with clustering columns are read in pages");
        };
        let equal: String = equal.iter().map(|(name, _)| format!(" AND {name} = ?")).collect();
        let falls: Vec<_> =
            table.clustering.iter().map(|(name, _)| format!("{name} DESC")).collect();
        let (table, of, falls) = (table.name, table.in_partition(), falls.join(", "));
        let cql = |bound: &str, order: &str| {
            prepare(
                session,
                format!(
                    "SELECT {select} FROM {keyspace}.{table} WHERE {of}{equal}{bound}{order} \
                     LIMIT ?"
                ),
            )
        };
        let (after, before) = (format!(" AND {by} > ?"), format!(" AND {by} < ?"));
        let falls = format!(" ORDER BY {falls}");
        Ok(Paged {
            rising: cql("", "").await?,
            rising_after: cql(&after, "").await?,
            falling: cql("", &falls).await?,
            falling_before: cql(&before, &falls).await?,
        })
    }

    /// The next rows of a partition.
    pub(super) async fn rows<R>(
        &self,
        link: &Link,
        mut partition: Vec<Bind>,
        from: Start,
    ) -> Result<Vec<R>, RequestError>
    where
        R: for<'frame> DeserializeRow<'frame, 'frame>,
    {
        let prepared = match (from.order, &from.after) {
            (Order::Rising, None) => &self.rising,
            (Order::Rising, Some(_)) => &self.rising_after,
            (Order::Falling, None) => &self.falling,
            (Order::Falling, Some(_)) => &self.falling_before,
        };
        partition.extend(from.after);
        partition.push(Bind::Int(i32::try_from(from.limit).unwrap_or(i32::MAX)));
        link.rows(prepared, partition).await
    }
}
