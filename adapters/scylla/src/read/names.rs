//! Parts of a partition whose rows are cells: the index of all cells, and the cells of an agent.
//!
//! Environments and benchmarks stand in the order of their keys. Stream cells stand by the digits
//! of their number, so all of them, as many as the log has partitions, are read and sorted.

use agon_ports::Order;
use agon_projections::CellKey;
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::statement::prepared::PreparedStatement;

use super::bind::Bind;
use crate::cell_name::{CellName, STREAM};
use crate::error::RequestError;
use crate::link::Link;
use crate::session::prepare;
use crate::tables::{self, TableDef};

/// A row whose clustering columns name a cell.
pub(super) trait OfCell: for<'frame> DeserializeRow<'frame, 'frame> {
    /// The columns `cell_kind` and `cell_id`.
    fn name(&self) -> CellName;
}

impl OfCell for (i8, String) {
    fn name(&self) -> CellName {
        CellName { kind: self.0, id: self.1.clone() }
    }
}

impl OfCell for (i8, String, i64) {
    fn name(&self) -> CellName {
        CellName { kind: self.0, id: self.1.clone() }
    }
}

/// Reads such a partition.
pub(super) struct Names {
    rising: PreparedStatement,
    falling: PreparedStatement,
    streams: PreparedStatement,
}

impl Names {
    pub(super) async fn prepare(
        session: &Session,
        keyspace: &str,
        table: &TableDef,
        select: &str,
    ) -> Result<Names, RequestError> {
        let Some(equal) = table.clustering.strip_suffix(&[tables::KIND, tables::ID]) else {
            unreachable!("only tables whose rows end in a cell are read by cells");
        };
        let equal: String = equal.iter().map(|(name, _)| format!(" AND {name} = ?")).collect();
        let falls: Vec<_> =
            table.clustering.iter().map(|(name, _)| format!("{name} DESC")).collect();
        let (table, of, falls) = (table.name, table.in_partition(), falls.join(", "));
        let cql = |rest: &str| {
            let from = format!("SELECT {select} FROM {keyspace}.{table}");
            prepare(session, format!("{from} WHERE {of}{equal} AND {rest}"))
        };
        let falling = format!("(cell_kind, cell_id) < (?, ?) ORDER BY {falls} LIMIT ?");
        Ok(Names {
            rising: cql("(cell_kind, cell_id) > (?, ?) AND (cell_kind) < (3) LIMIT ?").await?,
            falling: cql(&falling).await?,
            streams: cql("cell_kind = 3").await?,
        })
    }

    /// The next rows after a cell, with their cells. `partition` has the values of the partition's
    /// columns and of those before the cell's.
    pub(super) async fn rows<R: OfCell>(
        &self,
        link: &Link,
        partition: Vec<Bind>,
        after: Option<&CellKey>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<(CellKey, R)>, RequestError> {
        let mut rows = Vec::new();
        match order {
            Order::Rising => {
                if !matches!(after, Some(CellKey::Stream(_))) {
                    let start = after.map_or((0, String::new()), columns);
                    rows = page(link, &self.rising, partition.clone(), start, limit).await?;
                }
                if rows.len() < limit {
                    rows.extend(self.streams(link, partition, after, order).await?);
                }
            }
            Order::Falling => {
                if matches!(after, None | Some(CellKey::Stream(_))) {
                    rows = self.streams(link, partition.clone(), after, order).await?;
                }
                if rows.len() < limit {
                    let before = after.filter(|cell| !matches!(cell, CellKey::Stream(_)));
                    let start = before.map_or((STREAM, String::new()), columns);
                    let left = limit - rows.len();
                    rows.extend(page(link, &self.falling, partition, start, left).await?);
                }
            }
        }
        rows.truncate(limit);
        Ok(rows)
    }

    async fn streams<R: OfCell>(
        &self,
        link: &Link,
        partition: Vec<Bind>,
        after: Option<&CellKey>,
        order: Order,
    ) -> Result<Vec<(CellKey, R)>, RequestError> {
        let rows = link.rows::<R>(&self.streams, partition).await?;
        let mut rows = with_cells(rows)?;
        rows.retain(|(cell, _)| match (order, after) {
            (_, None) => true,
            (Order::Rising, Some(after)) => cell > after,
            (Order::Falling, Some(before)) => cell < before,
        });
        rows.sort_by(|(one, _), (other, _)| match order {
            Order::Rising => one.cmp(other),
            Order::Falling => other.cmp(one),
        });
        Ok(rows)
    }
}

fn columns(cell: &CellKey) -> (i8, String) {
    let CellName { kind, id } = CellName::from(cell);
    (kind, id)
}

async fn page<R: OfCell>(
    link: &Link,
    prepared: &PreparedStatement,
    mut partition: Vec<Bind>,
    (kind, id): (i8, String),
    limit: usize,
) -> Result<Vec<(CellKey, R)>, RequestError> {
    let limit = i32::try_from(limit).unwrap_or(i32::MAX);
    partition.extend([Bind::Tiny(kind), Bind::Text(id), Bind::Int(limit)]);
    with_cells(link.rows::<R>(prepared, partition).await?)
}

fn with_cells<R: OfCell>(rows: Vec<R>) -> Result<Vec<(CellKey, R)>, RequestError> {
    let with_cell = |row: R| {
        let name = row.name();
        let cell = name.key().ok_or_else(|| {
            RequestError::damaged(format!("{:?} of kind {} is no cell", name.id, name.kind))
        })?;
        Ok((cell, row))
    };
    rows.into_iter().map(with_cell).collect()
}
