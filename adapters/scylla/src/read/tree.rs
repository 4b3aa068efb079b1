//! Pages of rows under a prefix: a prefix of several partitions is read one after the other, in the
//! order of the keys, from the one that the page before ended in.

use std::collections::BTreeSet;

use agon_ports::Order;
use agon_projections::row_bytes::{Prefix, key_bytes, prefix_bytes};
use agon_projections::{CellKey, Row, RowKey, Table};
use agon_schema::AgentId;
use futures::future::{BoxFuture, FutureExt, try_join_all};

use super::bind::{Bind, Start, of_cell};
use super::chunks::Chunked;
use super::marked::Marked;
use super::{Page, Reader};
use crate::error::RequestError;
use crate::flush::{FOLDED_BY, LIVE};

/// Partitions that are listed at once.
const CHILDREN: usize = 64;

/// Where a page starts within a prefix.
enum Entry {
    /// Every key of the prefix lies before the start.
    Nowhere,
    AtTheStart,
    /// After a key that starts with the prefix.
    AfterKey,
}

fn entry(prefix: &Prefix, page: Page<'_>) -> Entry {
    let Some(after) = page.after else { return Entry::AtTheStart };
    let (prefix, after) = (prefix_bytes(prefix), key_bytes(after));
    if after.starts_with(&prefix) {
        return Entry::AfterKey;
    }
    match (after < prefix, page.order) {
        (true, Order::Rising) | (false, Order::Falling) => Entry::AtTheStart,
        _ => Entry::Nowhere,
    }
}

/// The part of a prefix that a key lies in, where the prefix has parts.
fn child_of(prefix: &Prefix, key: &RowKey) -> Option<Prefix> {
    match (prefix, key) {
        (Prefix::Table(Table::AgentCells), RowKey::AgentCell(agent, _)) => {
            Some(Prefix::AgentCells(agent.clone()))
        }
        (Prefix::Table(table), RowKey::DeadLetter(source, _) | RowKey::Refusal(source, _)) => {
            Some(Prefix::Source(*table, *source))
        }
        (Prefix::Cell(Table::History, _), RowKey::History(cell, agent, _)) => {
            Some(Prefix::History(cell.clone(), agent.clone()))
        }
        (
            Prefix::Table(table),
            RowKey::Head(cell)
            | RowKey::Entrant(cell, _)
            | RowKey::Server(cell, _)
            | RowKey::Tally(cell, _)
            | RowKey::User(cell, _)
            | RowKey::FirstSeen(cell, _)
            | RowKey::Match(cell, _)
            | RowKey::Submission(cell, _)
            | RowKey::History(cell, ..),
        ) => Some(Prefix::Cell(*table, cell.clone())),
        _ => None,
    }
}

impl Reader {
    /// A page of rows.
    pub(crate) async fn scan(
        &self,
        prefix: &Prefix,
        after: Option<&RowKey>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Row>, RequestError> {
        self.under(prefix, Page { after, order, limit }).await
    }

    fn under<'a>(
        &'a self,
        prefix: &'a Prefix,
        page: Page<'a>,
    ) -> BoxFuture<'a, Result<Vec<Row>, RequestError>> {
        async move {
            let page = match entry(prefix, page) {
                Entry::Nowhere => return Ok(vec![]),
                Entry::AtTheStart => Page { after: None, ..page },
                Entry::AfterKey => page,
            };
            match prefix {
                Prefix::Table(Table::Progress) => self.scan_progress(page).await,
                Prefix::Table(Table::Heads) => self.scan_heads(page).await,
                Prefix::Table(_) | Prefix::Cell(Table::History, _) => {
                    self.parts(prefix, page).await
                }
                Prefix::Cell(table, cell) => self.scan_cell(*table, cell, page).await,
                Prefix::History(cell, agent) => {
                    let of = Chunked::History(cell.clone(), agent.clone());
                    self.scan_chunked(&of, cell, page).await
                }
                Prefix::AgentCells(agent) => self.agent_cells(agent, page).await,
                Prefix::Source(table, source) => {
                    let Some(progress) = self.progress(*source).await? else { return Ok(vec![]) };
                    match table {
                        Table::DeadLetters => {
                            self.dead_letters(*source, progress.applied, page).await
                        }
                        Table::Refusals => {
                            self.marked(&Marked::Refusals(*source), progress.applied, page).await
                        }
                        Table::Progress => self.scan_progress_of(*source, page).await,
                        _ => Err(RequestError::damaged(no_such(prefix))),
                    }
                }
            }
        }
        .boxed()
    }

    async fn scan_cell(
        &self,
        table: Table,
        cell: &CellKey,
        page: Page<'_>,
    ) -> Result<Vec<Row>, RequestError> {
        let of = match table {
            Table::Heads => {
                // A page after the head has nothing.
                let is_wanted = page.after.is_none() && page.limit > 0;
                let head = if is_wanted { self.head(cell).await? } else { None };
                return Ok(head.into_iter().collect());
            }
            Table::Entrants | Table::Servers | Table::Submissions | Table::Tallies => {
                return self.own(table, cell, page).await;
            }
            Table::Matches => {
                return self.scan_chunked(&Chunked::Matches(cell.clone()), cell, page).await;
            }
            Table::Users => Marked::Users(cell.clone()),
            Table::FirstSeen => Marked::FirstSeen(cell.clone()),
            _ => return Err(RequestError::damaged(no_such(&Prefix::Cell(table, cell.clone())))),
        };
        match self.applied(cell).await? {
            Some(applied) => self.marked(&of, applied, page).await,
            None => Ok(vec![]),
        }
    }

    async fn scan_chunked(
        &self,
        of: &Chunked,
        cell: &CellKey,
        page: Page<'_>,
    ) -> Result<Vec<Row>, RequestError> {
        match self.applied(cell).await? {
            Some(applied) => self.chunked(of, applied, page).await,
            None => Ok(vec![]),
        }
    }

    async fn scan_progress(&self, page: Page<'_>) -> Result<Vec<Row>, RequestError> {
        let mut rows = self.all_progress().await?;
        if page.order == Order::Falling {
            rows.reverse();
        }
        rows.retain(|row| page.after.is_none_or(|after| follows(&row.key, after, page.order)));
        rows.truncate(page.limit);
        Ok(rows)
    }

    async fn scan_progress_of(
        &self,
        source: agon_schema::TopicPartition,
        page: Page<'_>,
    ) -> Result<Vec<Row>, RequestError> {
        let mut rows = self.scan_progress(page).await?;
        rows.retain(|row| row.key == RowKey::Progress(source));
        Ok(rows)
    }

    /// Heads, many at a time.
    async fn scan_heads(&self, page: Page<'_>) -> Result<Vec<Row>, RequestError> {
        let mut after = match page.after {
            Some(RowKey::Head(cell)) => Some(cell.clone()),
            _ => None,
        };
        let mut rows = Vec::new();
        while rows.len() < page.limit {
            let wanted = (page.limit - rows.len()).min(CHILDREN);
            let cells = self.cells(after.as_ref(), page.order, wanted).await?;
            let heads = try_join_all(cells.iter().map(|cell| self.head(cell))).await?;
            rows.extend(heads.into_iter().flatten());
            if cells.len() < wanted {
                break;
            }
            after = cells.into_iter().next_back();
        }
        Ok(rows)
    }

    /// The rows of one part of the prefix after the other.
    async fn parts(&self, prefix: &Prefix, page: Page<'_>) -> Result<Vec<Row>, RequestError> {
        let mut at = page.after.and_then(|key| child_of(prefix, key));
        let mut rows = match &at {
            Some(part) => self.under(part, page).await?,
            None => Vec::new(),
        };
        while rows.len() < page.limit {
            let parts = self.parts_after(prefix, at.as_ref(), page.order).await?;
            // Parts of one agent are small, and there are many.
            let are_small = matches!(prefix, Prefix::Table(Table::AgentCells) | Prefix::Cell(..));
            for parts in parts.chunks(if are_small { CHILDREN } else { 1 }) {
                let limit = page.limit - rows.len();
                if limit == 0 {
                    break;
                }
                let page = Page { after: None, limit, ..page };
                let found = try_join_all(parts.iter().map(|part| self.under(part, page))).await?;
                rows.extend(found.into_iter().flatten().take(limit));
            }
            let Some(last) = parts.into_iter().next_back() else { break };
            at = Some(last);
        }
        Ok(rows)
    }

    /// The next parts of a prefix; none when there are no more.
    async fn parts_after(
        &self,
        prefix: &Prefix,
        at: Option<&Prefix>,
        order: Order,
    ) -> Result<Vec<Prefix>, RequestError> {
        match prefix {
            Prefix::Table(table @ (Table::DeadLetters | Table::Refusals)) => {
                let after = match at {
                    Some(Prefix::Source(_, source)) => Some(RowKey::Progress(*source)),
                    _ => None,
                };
                let page = Page { after: after.as_ref(), order, limit: CHILDREN };
                let sources = self.scan_progress(page).await?.into_iter();
                let part = |row: Row| match row.key {
                    RowKey::Progress(source) => Some(Prefix::Source(*table, source)),
                    _ => None,
                };
                Ok(sources.filter_map(part).collect())
            }
            Prefix::Table(Table::AgentCells) => {
                let after = match at {
                    Some(Prefix::AgentCells(agent)) => Some(agent),
                    _ => None,
                };
                let agents = self.agents(after, order).await?;
                Ok(agents.into_iter().map(Prefix::AgentCells).collect())
            }
            Prefix::Table(table) => {
                let after = match at {
                    Some(Prefix::Cell(_, cell)) => Some(cell),
                    _ => None,
                };
                let cells = self.cells(after, order, CHILDREN).await?;
                Ok(cells.into_iter().map(|cell| Prefix::Cell(*table, cell)).collect())
            }
            Prefix::Cell(_, cell) => {
                let after = match at {
                    Some(Prefix::History(_, agent)) => Some(agent),
                    _ => None,
                };
                let agents = self.agents_of(cell, after, order).await?;
                let part = |agent| Prefix::History(cell.clone(), agent);
                Ok(agents.into_iter().map(part).collect())
            }
            _ => Ok(vec![]),
        }
    }

    async fn cells(
        &self,
        after: Option<&CellKey>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<CellKey>, RequestError> {
        let partition = vec![Bind::Int(LIVE), Bind::Int(FOLDED_BY)];
        let cells = self.reads.cells.rows(&self.link, partition, after, order, limit);
        let cells: Vec<(CellKey, (i8, String))> = cells.await?;
        Ok(cells.into_iter().map(|(cell, _)| cell).collect())
    }

    /// The next agents of a cell: whoever has a history in it stands in it.
    async fn agents_of(
        &self,
        cell: &CellKey,
        after: Option<&AgentId>,
        order: Order,
    ) -> Result<Vec<AgentId>, RequestError> {
        let mut values = of_cell(cell);
        values.push(Bind::Tiny(Table::Entrants as i8));
        let after = after.map(|agent| Bind::Blob(agent.as_str().as_bytes().to_vec()));
        let start = Start { after, order, limit: CHILDREN };
        let ids = self.reads.own_ids.rows::<(Vec<u8>,)>(&self.link, values, start).await?;
        let agent = |(id,): (Vec<u8>,)| {
            let agent = String::from_utf8(id).ok().and_then(|id| AgentId::new(id).ok());
            agent.ok_or_else(|| RequestError::damaged(format!("an entrant of {cell} has no id")))
        };
        ids.into_iter().map(agent).collect()
    }

    /// The next agents of all cells: whoever is in a cell stands in it. For checks alone, since
    /// every cell is asked.
    async fn agents(
        &self,
        after: Option<&AgentId>,
        order: Order,
    ) -> Result<Vec<AgentId>, RequestError> {
        let mut agents: BTreeSet<AgentId> = BTreeSet::new();
        let mut at: Option<CellKey> = None;
        loop {
            let cells = self.cells(at.as_ref(), Order::Rising, CHILDREN).await?;
            let found = cells.iter().map(|cell| self.agents_of(cell, after, order));
            for found in try_join_all(found).await? {
                agents.extend(found);
                while agents.len() > CHILDREN {
                    match order {
                        Order::Rising => agents.pop_last(),
                        Order::Falling => agents.pop_first(),
                    };
                }
            }
            at = cells.into_iter().next_back();
            if at.is_none() {
                break;
            }
        }
        let agents = agents.into_iter();
        Ok(match order {
            Order::Rising => agents.collect(),
            Order::Falling => agents.rev().collect(),
        })
    }
}

fn follows(key: &RowKey, after: &RowKey, order: Order) -> bool {
    match order {
        Order::Rising => key > after,
        Order::Falling => key < after,
    }
}

fn no_such(prefix: &Prefix) -> String {
    format!("no key starts with {prefix:?}")
}
