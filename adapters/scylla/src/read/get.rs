//! Rows by their keys: one read a partition, many at a time.

use std::collections::{BTreeSet, HashMap};

use agon_projections::row::Value;
use agon_projections::{Applied, CellKey, Row, RowKey, Table};
use agon_schema::{AgentId, TopicPartition};
use futures::future::try_join_all;

use super::bind::{Bind, of_agent};
use super::chunks::{Chunked, offset_of};
use super::marked::{Marked, mark_of};
use super::own::id_of;
use super::{IN_MAX, Reader, is_shown};
use crate::cell_name::CellName;
use crate::chunk::window_of;
use crate::error::RequestError;
use crate::flush::{bucket_of, bucket_of_offset};

/// Keys that one read answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Group {
    Head(CellKey),
    Own(Table, CellKey),
    Marked(Marked, i8),
    /// By the first offset of a window.
    Chunked(Chunked, u64),
    AgentCell(AgentId, CellKey),
    DeadLetters(TopicPartition, i64),
    Progress(TopicPartition),
}

fn group(key: &RowKey) -> Group {
    let bucket = || mark_of(key).map_or(0, |mark| bucket_of(&mark));
    let window = || offset_of(key).map_or(0, window_of);
    match key {
        RowKey::Head(cell) => Group::Head(cell.clone()),
        RowKey::Entrant(cell, _)
        | RowKey::Server(cell, _)
        | RowKey::Submission(cell, _)
        | RowKey::Tally(cell, _) => Group::Own(key.table(), cell.clone()),
        RowKey::User(cell, _) => Group::Marked(Marked::Users(cell.clone()), bucket()),
        RowKey::FirstSeen(cell, _) => Group::Marked(Marked::FirstSeen(cell.clone()), bucket()),
        RowKey::Refusal(source, _) => Group::Marked(Marked::Refusals(*source), bucket()),
        RowKey::Match(cell, _) => Group::Chunked(Chunked::Matches(cell.clone()), window()),
        RowKey::History(cell, agent, _) => {
            Group::Chunked(Chunked::History(cell.clone(), agent.clone()), window())
        }
        RowKey::AgentCell(agent, cell) => Group::AgentCell(agent.clone(), cell.clone()),
        RowKey::DeadLetter(source, offset) => {
            Group::DeadLetters(*source, bucket_of_offset(*offset))
        }
        RowKey::Progress(source) => Group::Progress(*source),
    }
}

impl Group {
    /// What vouches for its rows, where they are not written together with it.
    fn vouched_by(&self) -> Option<Result<CellKey, TopicPartition>> {
        match self {
            Group::Marked(Marked::Users(cell) | Marked::FirstSeen(cell), _)
            | Group::Chunked(Chunked::Matches(cell) | Chunked::History(cell, _), _)
            | Group::AgentCell(_, cell) => Some(Ok(cell.clone())),
            Group::Marked(Marked::Refusals(source), _) | Group::DeadLetters(source, _) => {
                Some(Err(*source))
            }
            Group::Head(_) | Group::Own(..) | Group::Progress(_) => None,
        }
    }
}

/// What vouches for rows, read before them.
struct Vouchers {
    cells: HashMap<CellKey, Applied>,
    sources: HashMap<TopicPartition, Applied>,
}

impl Reader {
    /// The rows of these keys, in the order asked.
    pub(crate) async fn get(&self, keys: Vec<RowKey>) -> Result<Vec<Option<Row>>, RequestError> {
        let mut groups: HashMap<Group, BTreeSet<&RowKey>> = HashMap::new();
        for key in &keys {
            groups.entry(group(key)).or_default().insert(key);
        }
        let vouchers = self.vouchers(groups.keys()).await?;
        let mut reads = Vec::new();
        for (group, keys) in groups {
            let keys: Vec<&RowKey> = keys.into_iter().collect();
            for keys in keys.chunks(IN_MAX) {
                reads.push(self.group(group.clone(), keys.to_vec(), &vouchers));
            }
        }
        let rows = try_join_all(reads).await?.into_iter().flatten();
        let found: HashMap<RowKey, Value> = rows.map(|row| (row.key, row.value)).collect();
        let row = |key: RowKey| {
            let value = found.get(&key)?.clone();
            Some(Row { key, value })
        };
        Ok(keys.into_iter().map(row).collect())
    }

    async fn vouchers(
        &self,
        groups: impl Iterator<Item = &Group>,
    ) -> Result<Vouchers, RequestError> {
        let (mut cells, mut sources) = (BTreeSet::new(), BTreeSet::new());
        for voucher in groups.filter_map(Group::vouched_by) {
            match voucher {
                Ok(cell) => drop(cells.insert(cell)),
                Err(source) => drop(sources.insert(source)),
            }
        }
        let progress = sources.into_iter().map(|source| async move {
            let progress = self.progress(source).await?;
            Ok::<_, RequestError>((source, progress.map(|progress| progress.applied)))
        });
        let sources = try_join_all(progress).await?.into_iter().collect();
        Ok(Vouchers { cells: self.applied_of(cells).await?, sources })
    }

    /// `applied` of many cells.
    pub(super) async fn applied_of(
        &self,
        cells: impl IntoIterator<Item = CellKey>,
    ) -> Result<HashMap<CellKey, Applied>, RequestError> {
        let applied = cells.into_iter().map(|cell| async move {
            let applied = self.applied(&cell).await?;
            Ok::<_, RequestError>((cell, applied))
        });
        Ok(try_join_all(applied).await?.into_iter().collect())
    }

    async fn group(
        &self,
        group: Group,
        keys: Vec<&RowKey>,
        vouchers: &Vouchers,
    ) -> Result<Vec<Row>, RequestError> {
        let through = match group.vouched_by() {
            Some(Ok(cell)) => vouchers.cells.get(&cell).copied().flatten(),
            Some(Err(source)) => vouchers.sources.get(&source).copied().flatten(),
            None => Some(u64::MAX),
        };
        let Some(through) = through else { return Ok(vec![]) };
        match group {
            Group::Head(cell) => Ok(self.head(&cell).await?.into_iter().collect()),
            Group::Own(table, cell) => {
                let ids = keys.into_iter().map(id_of).collect();
                self.own_in(table, &cell, ids).await
            }
            Group::Marked(of, _) => {
                let marks: Vec<[u8; 16]> = keys.into_iter().filter_map(mark_of).collect();
                self.marked_in(&of, &marks, through).await
            }
            Group::Chunked(of, _) => {
                let offsets = keys.into_iter().filter_map(offset_of);
                let offsets: Vec<u64> = offsets.filter(|offset| *offset <= through).collect();
                self.chunked_in(&of, &offsets).await
            }
            Group::AgentCell(agent, cell) => self.agent_cell(agent, cell, through).await,
            Group::DeadLetters(source, _) => {
                let offsets = keys.into_iter().filter_map(|key| match key {
                    RowKey::DeadLetter(_, offset) => Some(*offset),
                    _ => None,
                });
                self.dead_letters_in(source, &offsets.collect::<Vec<_>>(), through).await
            }
            Group::Progress(source) => {
                let progress = self.progress(source).await?;
                let row = progress.map(|progress| Row {
                    key: RowKey::Progress(source),
                    value: Value::Progress(progress),
                });
                Ok(row.into_iter().collect())
            }
        }
    }

    async fn agent_cell(
        &self,
        agent: AgentId,
        cell: CellKey,
        through: u64,
    ) -> Result<Vec<Row>, RequestError> {
        let CellName { kind, id } = CellName::from(&cell);
        let mut values = of_agent(&agent);
        values.extend([Bind::Tiny(kind), Bind::Text(id)]);
        let found = self.link.rows::<(i64,)>(&self.reads.agent_cell, values).await?;
        let shown = found.into_iter().map(|(since,)| since as u64);
        let key = RowKey::AgentCell(agent, cell);
        let row = |since| Row { key: key.clone(), value: Value::Since(since) };
        Ok(shown.filter(|since| is_shown(Some(through), *since)).map(row).collect())
    }
}
