//! Finds what no flush wrote. Every column bears the stamp that the offset of its fact demands; a
//! write by hand, or by a program that lets a clock decide, bears another one, and would win over
//! every later fact.
//!
//! ```text
//! latest(o)   = 2 * (log_epoch * 2^40 + o) + 1     cells, chunks, dead letters, refusals, progress
//! earliest(o) = 2^50 - latest(o)                   first_seen, users
//! ```
//! What vouches for other columns and is no value itself is compared too: the `applied` of a cell
//! and of a partition, and the index by which cells are found.

use std::collections::HashSet;

use agon_projections::row::{TallyKey, Value};
use agon_projections::row_bytes::{key_bytes, row_of_bytes};
use agon_projections::{CellKey, RowKey, Table};
use agon_schema::{AgentId, ContentHash, Identity, NaturalId};

use super::ask::{Asker, all};
use super::place::Place;
use super::places::{cell, is_live, source};
use crate::error::RequestError;
use crate::tables;
use agon_projections::row::UserHash;

/// The stamps that offsets demand, and what was found to bear others.
struct Audit {
    log_epoch: u32,
    limit: usize,
    found: Vec<String>,
}

/// A column: its name, the stamp it bears, and the one it should.
type Stamped = (&'static str, Option<i64>, Option<i64>);

impl Audit {
    fn latest(&self, offset: Option<i64>) -> Option<i64> {
        let epoch = i64::from(self.log_epoch) << 40;
        offset.and_then(|offset| offset.checked_add(epoch)?.checked_mul(2)?.checked_add(1))
    }

    fn earliest(&self, offset: Option<i64>) -> Option<i64> {
        self.latest(offset).map(|latest| (1 << 50) - latest)
    }

    fn name(&mut self, row: &str, seen: String) {
        if self.found.len() < self.limit {
            self.found.push(format!("{row}: {seen}"));
        }
    }

    /// Names a row of which a column bears another stamp than it should, or none. Whether there was
    /// nothing to name.
    fn check(&mut self, row: impl FnOnce() -> String, columns: &[Stamped]) -> bool {
        let foreign = |(_, borne, due): &&Stamped| borne.is_none() || borne != due;
        let Some((column, borne, due)) = columns.iter().find(foreign) else { return true };
        let shown = |stamp: &Option<i64>| stamp.map_or("none".to_owned(), |s| s.to_string());
        let seen =
            format!("{column} is stamped {}, its offset demands {}", shown(borne), shown(due));
        self.name(&row(), seen);
        false
    }
}

/// Rows that no flush wrote, at most so many.
pub(super) async fn foreign(
    asker: &Asker,
    log_epoch: u32,
    limit: usize,
) -> Result<Vec<String>, RequestError> {
    let mut audit = Audit { log_epoch, limit, found: Vec::new() };
    heads(asker, &mut audit).await?;
    own_rows(asker, &mut audit).await?;
    firsts(asker, &mut audit).await?;
    chunks(asker, &mut audit).await?;
    agent_cells(asker, &mut audit).await?;
    of_sources(asker, &mut audit).await?;
    progress(asker, &mut audit).await?;
    Ok(audit.found)
}

/// The static columns of every cell, and whether it is in the index.
async fn heads(asker: &Asker, audit: &mut Audit) -> Result<(), RequestError> {
    let mut indexed = HashSet::new();
    let select = "generation, fold_version, cell_kind, cell_id";
    let act = |(g, f, kind, id): (i32, i32, i8, String)| {
        indexed.extend(cell(kind, id).filter(|_| is_live(g, f)));
    };
    asker.whole(select, &tables::CELL_INDEX, act).await?;
    let mut cells = Vec::new();
    let select = "DISTINCT cell_kind, cell_id, generation, fold_version";
    let act = |(kind, id, g, f): (i8, String, i32, i32)| {
        cells.extend(cell(kind, id).filter(|_| is_live(g, f)));
    };
    asker.whole(select, &tables::CELLS, act).await?;
    let statics = all(cells.iter().map(async |cell| {
        type Statics = (Option<i64>, Option<i64>, Option<Vec<u8>>, Option<i64>);
        let select = "applied, WRITETIME(applied), head, WRITETIME(head)";
        let values = Place::Cell(cell.clone()).values();
        asker.partition::<Statics>(select, &tables::CELLS, " LIMIT 1", values).await
    }));
    for (cell, rows) in cells.iter().zip(statics.await?) {
        let key = RowKey::Head(cell.clone());
        if !indexed.contains(cell) {
            audit.name(&key.to_string(), "cell_index does not have it".to_owned());
        }
        let Some((applied, applied_at, head, head_at)) = rows.into_iter().next() else { continue };
        let due = audit.latest(applied);
        let columns = [("applied", applied_at, due), ("head", head_at, due)];
        let is_ours = audit.check(|| key.to_string(), &columns);
        let head = head.and_then(|head| row_of_bytes(&key_bytes(&key), &head));
        if let Some(Value::Head(head)) = head.map(|row| row.value)
            && is_ours
            && applied != i64::try_from(head.applied).ok()
        {
            let seen = format!("applied is {applied:?}, and its head says {}", head.applied);
            audit.name(&key.to_string(), seen);
        }
    }
    Ok(())
}

async fn own_rows(asker: &Asker, audit: &mut Audit) -> Result<(), RequestError> {
    type Own =
        (i8, String, i32, i32, Option<i8>, Option<Vec<u8>>, Option<i64>, Option<i64>, Option<i64>);
    let select = "cell_kind, cell_id, generation, fold_version, tbl, id, ver, WRITETIME(value), \
                  WRITETIME(ver)";
    let act = |(kind, id, g, f, tbl, row, ver, value_at, ver_at): Own| {
        let Some(cell) = cell(kind, id).filter(|_| is_live(g, f)) else { return };
        // A cell may have a head alone.
        let Some((tbl, row)) = tbl.zip(row) else { return };
        let due = audit.latest(ver);
        let name = || own_name(cell, tbl, &row);
        audit.check(name, &[("value", value_at, due), ("ver", ver_at, due)]);
    };
    asker.whole(select, &tables::CELLS, act).await
}

fn own_name(cell: CellKey, tbl: i8, id: &[u8]) -> String {
    let text = String::from_utf8_lossy(id).into_owned();
    let key = match tbl {
        2 => AgentId::new(text).ok().map(|agent| RowKey::Entrant(cell.clone(), agent)),
        3 => Some(RowKey::Server(cell.clone(), text)),
        8 => NaturalId::new(text).ok().map(|id| RowKey::Submission(cell.clone(), id)),
        13 => id
            .try_into()
            .ok()
            .and_then(TallyKey::of_bytes)
            .map(|key| RowKey::Tally(cell.clone(), key)),
        _ => None,
    };
    key.map_or_else(|| format!("{cell}, table {tbl}, {id:02x?}"), |key| key.to_string())
}

/// Users and first-seen rows, whose earliest stamp counts.
async fn firsts(asker: &Asker, audit: &mut Audit) -> Result<(), RequestError> {
    type User = (i8, String, i32, i32, Vec<u8>, Option<i64>, Option<i64>);
    let of = "cell_kind, cell_id, generation, fold_version";
    let act = |(kind, id, g, f, user, since, at): User| {
        let Some(cell) = cell(kind, id).filter(|_| is_live(g, f)) else { return };
        let due = audit.earliest(since);
        let name = || RowKey::User(cell, UserHash(short(&user))).to_string();
        audit.check(name, &[("since", at, due)]);
    };
    let select = format!("{of}, user, since, WRITETIME(since)");
    asker.whole(&select, &tables::USERS, act).await?;
    type First = (i8, String, i32, i32, Vec<u8>, Option<i64>, Option<i64>, Option<i64>);
    let act = |(kind, id, g, f, identity, offset, offset_at, content_at): First| {
        let Some(cell) = cell(kind, id).filter(|_| is_live(g, f)) else { return };
        let due = audit.earliest(offset);
        let name = || RowKey::FirstSeen(cell, Identity(short(&identity))).to_string();
        audit.check(name, &[("offset", offset_at, due), ("content", content_at, due)]);
    };
    let select = format!("{of}, identity, offset, WRITETIME(offset), WRITETIME(content)");
    asker.whole(&select, &tables::FIRST_SEEN, act).await
}

/// The first 16 bytes: all that a mark of ours has.
fn short(bytes: &[u8]) -> [u8; 16] {
    bytes.first_chunk().copied().unwrap_or_default()
}

async fn chunks(asker: &Asker, audit: &mut Audit) -> Result<(), RequestError> {
    let of = "cell_kind, cell_id, generation, fold_version";
    let times = "first, last, WRITETIME(last), WRITETIME(chunk)";
    type Match = (i8, String, i32, i32, i64, Option<i64>, Option<i64>, Option<i64>);
    let act = |(kind, id, g, f, first, last, last_at, chunk_at): Match| {
        let Some(cell) = cell(kind, id).filter(|_| is_live(g, f)) else { return };
        let due = audit.latest(last);
        let name = || format!("{} and on", RowKey::Match(cell, first as u64));
        audit.check(name, &[("last", last_at, due), ("chunk", chunk_at, due)]);
    };
    asker.whole(&format!("{of}, {times}"), &tables::MATCHES, act).await?;
    type Played = (i8, String, i32, i32, String, i64, Option<i64>, Option<i64>, Option<i64>);
    let act = |(kind, id, g, f, agent, first, last, last_at, chunk_at): Played| {
        let Some(cell) = cell(kind, id).filter(|_| is_live(g, f)) else { return };
        let due = audit.latest(last);
        let name = || {
            let table = Table::History.name();
            format!("{table}: {cell}, agent {agent:?}, offset {first} and on")
        };
        audit.check(name, &[("last", last_at, due), ("chunk", chunk_at, due)]);
    };
    asker.whole(&format!("{of}, agent, {times}"), &tables::HISTORY, act).await
}

async fn agent_cells(asker: &Asker, audit: &mut Audit) -> Result<(), RequestError> {
    type Row = (String, i32, i32, i8, String, Option<i64>, Option<i64>);
    let select = "agent, generation, fold_version, cell_kind, cell_id, since, WRITETIME(since)";
    let act = |(agent, g, f, kind, id, since, at): Row| {
        let Some(cell) = cell(kind, id).filter(|_| is_live(g, f)) else { return };
        let due = audit.latest(since);
        let name = || format!("{}: agent {agent:?}, {cell}", Table::AgentCells.name());
        audit.check(name, &[("since", at, due)]);
    };
    asker.whole(select, &tables::AGENT_CELLS, act).await
}

/// Dead letters and refusals.
async fn of_sources(asker: &Asker, audit: &mut Audit) -> Result<(), RequestError> {
    let of = "topic, partition, generation, fold_version";
    type Letter = (i8, i32, i32, i32, i64, Option<i64>);
    let act = |(topic, partition, g, f, offset, at): Letter| {
        let Some(source) = source(topic, partition).filter(|_| is_live(g, f)) else { return };
        let due = audit.latest(Some(offset));
        let name = || RowKey::DeadLetter(source, offset as u64).to_string();
        audit.check(name, &[("value", at, due)]);
    };
    asker.whole(&format!("{of}, offset, WRITETIME(value)"), &tables::DEAD_LETTERS, act).await?;
    type Refusal = (i8, i32, i32, i32, Vec<u8>, Option<i64>, Option<i64>);
    let act = |(topic, partition, g, f, mark, since, at): Refusal| {
        let Some(source) = source(topic, partition).filter(|_| is_live(g, f)) else { return };
        let due = audit.latest(since);
        let name = || RowKey::Refusal(source, ContentHash(short(&mark))).to_string();
        audit.check(name, &[("since", at, due)]);
    };
    asker.whole(&format!("{of}, mark, since, WRITETIME(since)"), &tables::REFUSALS, act).await
}

async fn progress(asker: &Asker, audit: &mut Audit) -> Result<(), RequestError> {
    type Row = (i8, i32, i32, i32, Option<i64>, Option<Vec<u8>>, Option<i64>, Option<i64>);
    let select = "topic, partition, generation, fold_version, applied, value, \
                  WRITETIME(applied), WRITETIME(value)";
    let act = |(topic, partition, g, f, applied, value, applied_at, value_at): Row| {
        let Some(source) = source(topic, partition).filter(|_| is_live(g, f)) else { return };
        let key = RowKey::Progress(source);
        let due = audit.latest(applied);
        let columns = [("applied", applied_at, due), ("value", value_at, due)];
        let is_ours = audit.check(|| key.to_string(), &columns);
        let value = value.and_then(|value| row_of_bytes(&key_bytes(&key), &value));
        if let Some(Value::Progress(progress)) = value.map(|row| row.value)
            && is_ours
            && applied != i64::try_from(progress.applied).ok()
        {
            let seen = format!("applied is {applied:?}, and its value says {}", progress.applied);
            audit.name(&key.to_string(), seen);
        }
    };
    asker.whole(select, &tables::PROGRESS, act).await
}
