//! What a flush writes, in the order in which it must be written.
//!
//! ```text
//! 1. side rows   every table but cells and progress; each write bears its own stamp
//! 2. cells       one batch a cell: head, `applied` and every row of it, one atomic mutation
//! 3. progress    vouches for all of it
//! ```
//! So `applied` vouches for the rows beside a cell, and progress for every `applied`.

use std::collections::BTreeMap;
use std::sync::Arc;

use agon_projections::row::Value;
use agon_projections::row_bytes::value_bytes;
use agon_projections::{CellFlush, Flush, Row, RowKey, Table};
use agon_schema::AgentId;
use thiserror::Error;

use super::write::{What, Write, agent_bucket, bucket_of, bucket_of_offset, history_bucket};
use crate::cell_name::CellName;
use crate::chunk::cut;
use crate::controls::{Control, is_broken};
use crate::stamp::{StampError, Stamps};

/// Statements of a cell's batch at most, as the protocol counts them.
const CELL_WRITES_MAX: usize = 65_535;
/// Bytes of a cell's batch at most: a server takes frames and mutations of 16 MiB, and one mutation
/// it must be.
const CELL_BYTES_MAX: usize = (16 << 20) - (64 << 10);

/// Why a flush cannot be written, now or ever.
#[derive(Debug, PartialEq, Error)]
pub(crate) enum PlanError {
    #[error(transparent)]
    Stamp(#[from] StampError),
    #[error(
        "{cell} changed {writes} rows with {bytes} bytes at once; a batch holds \
         {CELL_WRITES_MAX} and {CELL_BYTES_MAX}, and one batch it must be: flush more often"
    )]
    CellTooLarge { cell: String, writes: usize, bytes: usize },
    #[error("{0} has a value of another table")]
    OtherValue(String),
    #[error("{0} is no row of this part of a flush")]
    OtherPlace(String),
}

/// How large a batch of side rows grows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

/// The steps of a flush. Each inner list goes to one partition.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) side: Vec<Vec<Write>>,
    pub(crate) cells: Vec<Vec<Write>>,
    pub(crate) progress: Vec<Write>,
}

/// Plans a flush.
pub(crate) fn plan(flush: &Flush, stamps: Stamps, limits: Limits) -> Result<Plan, PlanError> {
    let mut plan = Plan::default();
    // What lies beside the rows of other cells.
    let mut groups = Groups::default();
    for cell in &flush.cells {
        let mut part = Part::new(cell, stamps, limits);
        part.read(&mut groups)?;
        let (side, own) = part.finish()?;
        plan.side.extend(side);
        plan.cells.push(own);
    }
    for row in &flush.rows {
        let (place, write) = of_no_cell(row, stamps)?;
        groups.push(place, write);
    }
    plan.side.extend(groups.batches(limits));
    let applied = flush.progress.applied;
    let value = value_bytes(&Value::Progress(flush.progress.clone()));
    let what = What::Progress { source: flush.source, applied: applied as i64, value };
    plan.progress.push(Write { what, stamp: stamps.latest(applied)? });
    Ok(plan)
}

/// A dead letter or a refusal.
fn of_no_cell(row: &Row, stamps: Stamps) -> Result<(Place, Write), PlanError> {
    match (&row.key, &row.value) {
        (RowKey::DeadLetter(source, offset), value @ Value::DeadLetter(_)) => {
            let value = value_bytes(value);
            let what = What::DeadLetter { source: *source, offset: *offset, value };
            let place = (Table::DeadLetters, bucket_of_offset(*offset));
            Ok((place, Write { what, stamp: stamps.latest(*offset)? }))
        }
        (RowKey::Refusal(source, mark), Value::Since(since)) => {
            let place = (Table::Refusals, i64::from(bucket_of(&mark.0)));
            let what = What::Refusal { source: *source, mark: mark.0, since: *since as i64 };
            Ok((place, Write { what, stamp: stamps.latest(*since)? }))
        }
        (RowKey::DeadLetter(..) | RowKey::Refusal(..), _) => {
            Err(PlanError::OtherValue(row.key.to_string()))
        }
        _ => Err(PlanError::OtherPlace(row.key.to_string())),
    }
}

/// A partition of a table, among those of one cell, of one source, or of all agents.
type Place = (Table, i64);

/// Writes by the partition that they go to.
#[derive(Default)]
struct Groups(BTreeMap<Place, Vec<Write>>);

impl Groups {
    fn push(&mut self, place: Place, write: Write) {
        self.0.entry(place).or_default().push(write);
    }

    /// One list a partition, or several where one would grow past the limits.
    fn batches(self, limits: Limits) -> Vec<Vec<Write>> {
        let mut batches = Vec::with_capacity(self.0.len());
        for writes in self.0.into_values() {
            cut_batches(writes, limits, &mut batches);
        }
        batches
    }
}

fn cut_batches(writes: Vec<Write>, limits: Limits, batches: &mut Vec<Vec<Write>>) {
    let mut batch: Vec<Write> = Vec::new();
    let mut bytes = 0;
    for write in writes {
        let size = write.size_bytes();
        if !batch.is_empty() && (batch.len() >= limits.rows || bytes + size > limits.bytes) {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += size;
        batch.push(write);
    }
    batches.extend((!batch.is_empty()).then_some(batch));
}

/// The writes of one cell, while they are collected.
struct Part<'a> {
    flush: &'a CellFlush,
    cell: Arc<CellName>,
    stamps: Stamps,
    limits: Limits,
    own: Vec<Write>,
    groups: Groups,
    matches: BTreeMap<u64, Vec<u8>>,
    history: BTreeMap<&'a AgentId, BTreeMap<u64, Vec<u8>>>,
}

impl<'a> Part<'a> {
    fn new(flush: &'a CellFlush, stamps: Stamps, limits: Limits) -> Part<'a> {
        Part {
            flush,
            cell: Arc::new(CellName::from(&flush.key)),
            stamps,
            limits,
            own: Vec::with_capacity(flush.own.len() + 1),
            groups: Groups::default(),
            matches: BTreeMap::new(),
            history: BTreeMap::new(),
        }
    }

    fn read(&mut self, shared: &mut Groups) -> Result<(), PlanError> {
        let (cell, to) = (Arc::clone(&self.cell), self.flush.to);
        let stamp = self.stamps.latest(to)?;
        if self.flush.from.is_none() {
            let what = What::CellIndex { cell: Arc::clone(&cell) };
            // The index is one partition, which no other table of rows stands for.
            shared.push((Table::Heads, 0), Write { what, stamp });
        }
        let what = What::Applied { cell, applied: to as i64 };
        self.own.push(Write { what, stamp });
        for row in self.flush.own.iter().chain(&self.flush.side) {
            self.row(row, shared)?;
        }
        Ok(())
    }

    fn row(&mut self, row: &'a Row, shared: &mut Groups) -> Result<(), PlanError> {
        match (&row.key, &row.value) {
            (RowKey::Head(_), value @ Value::Head(head)) => {
                let what = What::Head { cell: Arc::clone(&self.cell), head: value_bytes(value) };
                self.own.push(Write { what, stamp: self.stamps.latest(head.applied)? });
            }
            (RowKey::Entrant(_, agent), value @ Value::Rating(rating)) => {
                self.own(Table::Entrants, agent.as_str(), value, rating.ver)?;
            }
            (RowKey::Entrant(_, agent), value @ Value::Score(score)) => {
                self.own(Table::Entrants, agent.as_str(), value, score.ver)?;
            }
            (RowKey::Server(_, name), value @ Value::Server(_)) => {
                self.own(Table::Servers, name, value, self.flush.to)?;
            }
            (RowKey::Tally(_, key), value @ Value::Tally(tally)) => {
                self.own(Table::Tallies, key.bytes(), value, tally.ver)?;
            }
            (RowKey::Submission(_, id), value @ Value::Submission(submission)) => {
                self.own(Table::Submissions, id.as_str(), value, submission.ver)?;
            }
            (RowKey::Match(_, offset), value @ Value::Match(_)) => {
                self.matches.insert(*offset, value_bytes(value));
            }
            (RowKey::History(_, agent, offset), value @ Value::History(_)) => {
                self.history.entry(agent).or_default().insert(*offset, value_bytes(value));
            }
            (RowKey::User(_, user), Value::Since(since)) => {
                let cell = Arc::clone(&self.cell);
                let what = What::User { cell, user: user.0, since: *since as i64 };
                let stamp = self.stamps.earliest(*since)?;
                let place = (Table::Users, i64::from(bucket_of(&user.0)));
                self.groups.push(place, Write { what, stamp });
            }
            (RowKey::FirstSeen(_, identity), Value::FirstSeen(first)) => {
                if is_broken(Control::NoFirstSeen) {
                    return Ok(());
                }
                let what = What::FirstSeen {
                    cell: Arc::clone(&self.cell),
                    identity: identity.0,
                    offset: first.offset as i64,
                    content: first.content.0,
                };
                let stamp = self.stamps.earliest(first.offset)?;
                let place = (Table::FirstSeen, i64::from(bucket_of(&identity.0)));
                self.groups.push(place, Write { what, stamp });
            }
            (RowKey::AgentCell(agent, _), Value::Since(since)) => {
                let (cell, agent) = (Arc::clone(&self.cell), agent.clone());
                let place = (Table::AgentCells, i64::from(agent_bucket(&agent)));
                let what = What::AgentCell { cell, agent, since: *since as i64 };
                shared.push(place, Write { what, stamp: self.stamps.latest(*since)? });
            }
            (RowKey::DeadLetter(..) | RowKey::Refusal(..) | RowKey::Progress(_), _) => {
                return Err(PlanError::OtherPlace(row.key.to_string()));
            }
            _ => return Err(PlanError::OtherValue(row.key.to_string())),
        }
        Ok(())
    }

    fn own(
        &mut self,
        table: Table,
        id: impl AsRef<[u8]>,
        value: &Value,
        ver: u64,
    ) -> Result<(), PlanError> {
        let what = What::Own {
            cell: Arc::clone(&self.cell),
            tbl: table as i8,
            id: id.as_ref().to_vec(),
            value: value_bytes(value),
            ver: ver as i64,
        };
        self.own.push(Write { what, stamp: self.stamps.latest(ver)? });
        Ok(())
    }

    /// The writes beside the cell, by partition, and the cell's own.
    fn finish(mut self) -> Result<(Vec<Vec<Write>>, Vec<Write>), PlanError> {
        let bytes = self.own.iter().map(Write::size_bytes).sum();
        if self.own.len() > CELL_WRITES_MAX || bytes > CELL_BYTES_MAX {
            let (cell, writes) = (self.flush.key.to_string(), self.own.len());
            return Err(PlanError::CellTooLarge { cell, writes, bytes });
        }
        for chunk in cut(std::mem::take(&mut self.matches), self.limits.bytes) {
            let place = (Table::Matches, bucket_of_offset(chunk.first));
            let stamp = self.stamps.latest(chunk.last)?;
            let what = What::Matches { cell: Arc::clone(&self.cell), chunk };
            self.groups.push(place, Write { what, stamp });
        }
        for (agent, rows) in self.history {
            let place = (Table::History, i64::from(history_bucket(agent)));
            for chunk in cut(rows, self.limits.bytes) {
                let stamp = self.stamps.latest(chunk.last)?;
                let (cell, agent) = (Arc::clone(&self.cell), agent.clone());
                self.groups
                    .push(place, Write { what: What::History { cell, agent, chunk }, stamp });
            }
        }
        Ok((self.groups.batches(self.limits), self.own))
    }
}
