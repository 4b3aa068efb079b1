//! The partitions of a table, in the order of their keys, and what of them is shown.

use std::collections::HashMap;

use agon_projections::{CellKey, FOLD_VERSION, GENERATION, Table};
use agon_schema::{AgentId, Topic, TopicPartition};

use super::ask::Asker;
use super::place::{Place, Rank};
use super::rows::Visible;
use crate::cell_name::CellName;
use crate::error::RequestError;
use crate::tables;

/// A table while it is listed, page after page.
pub(super) struct Listing {
    pub(super) table: Table,
    pub(super) places: Vec<(Rank, Place)>,
    pub(super) visible: Visible,
}

/// Whether these columns are those of the live generation under this fold.
pub(super) fn is_live(generation: i32, fold_version: i32) -> bool {
    (generation, fold_version) == (GENERATION as i32, FOLD_VERSION as i32)
}

/// The cell of these columns.
pub(super) fn cell(kind: i8, id: String) -> Option<CellKey> {
    CellName { kind, id }.key()
}

/// The source of these columns.
pub(super) fn source(topic: i8, partition: i32) -> Option<TopicPartition> {
    let topic = Topic::from_code(topic as u8)?;
    Some(TopicPartition { topic, partition: partition as u32 })
}

impl Listing {
    /// Reads the names of all partitions, and how far they are true.
    pub(super) async fn read(asker: &Asker, table: Table) -> Result<Listing, RequestError> {
        let mut places = places(asker, table).await?;
        let mut places: Vec<_> = places.drain(..).map(|place| (place.rank(table), place)).collect();
        places.sort_by(|one, other| one.0.cmp(&other.0));
        let mut visible = Visible::default();
        match table {
            Table::Users
            | Table::FirstSeen
            | Table::Matches
            | Table::History
            | Table::AgentCells => visible.cells = applied(asker).await?,
            Table::DeadLetters => visible.sources = progress(asker).await?,
            _ => {}
        }
        Ok(Listing { table, places, visible })
    }
}

/// Reads the names of all partitions, and of the agents in them, and keeps the live ones that have
/// a name.
async fn places(asker: &Asker, table: Table) -> Result<Vec<Place>, RequestError> {
    let mut places = Vec::new();
    let by = "generation, fold_version";
    let of_cell = format!("DISTINCT cell_kind, cell_id, {by}");
    let of_source = format!("DISTINCT topic, partition, {by}");
    let definition = super::place::definition(table);
    match table {
        Table::Heads | Table::Entrants | Table::Servers | Table::Submissions | Table::Tallies => {
            let act = |(kind, id, g, f): (i8, String, i32, i32)| {
                places.extend(cell(kind, id).filter(|_| is_live(g, f)).map(Place::Cell));
            };
            asker.whole(&of_cell, definition, act).await?;
        }
        Table::Users | Table::FirstSeen => {
            let act = |(kind, id, g, f, bucket): (i8, String, i32, i32, i8)| {
                let cell = cell(kind, id).filter(|_| is_live(g, f));
                places.extend(cell.map(|cell| Place::HashBucket(cell, bucket)));
            };
            asker.whole(&format!("{of_cell}, bucket"), definition, act).await?;
        }
        Table::Matches => {
            let act = |(kind, id, g, f, bucket): (i8, String, i32, i32, i64)| {
                let cell = cell(kind, id).filter(|_| is_live(g, f));
                places.extend(cell.map(|cell| Place::OffsetBucket(cell, bucket)));
            };
            asker.whole(&format!("{of_cell}, bucket"), definition, act).await?;
        }
        Table::History | Table::AgentCells => places = agents(asker, table).await?,
        Table::Refusals => {
            let act = |(topic, partition, g, f, bucket): (i8, i32, i32, i32, i8)| {
                let source = source(topic, partition).filter(|_| is_live(g, f));
                places.extend(source.map(|source| Place::SourceHashBucket(source, bucket)));
            };
            asker.whole(&format!("{of_source}, bucket"), definition, act).await?;
        }
        Table::DeadLetters => {
            let act = |(topic, partition, g, f, bucket): (i8, i32, i32, i32, i64)| {
                let source = source(topic, partition).filter(|_| is_live(g, f));
                places.extend(source.map(|source| Place::SourceOffsetBucket(source, bucket)));
            };
            asker.whole(&format!("{of_source}, bucket"), definition, act).await?;
        }
        Table::Progress => {
            let act = |(topic, partition, g, f): (i8, i32, i32, i32)| {
                places
                    .extend(source(topic, partition).filter(|_| is_live(g, f)).map(Place::Source));
            };
            asker.whole(&of_source, definition, act).await?;
        }
    }
    Ok(places)
}

/// Reads the agents of a table whose partitions hold many, and keeps those that have a name. What
/// belongs to an agent follows one another.
async fn agents(asker: &Asker, table: Table) -> Result<Vec<Place>, RequestError> {
    let mut places: Vec<Place> = Vec::new();
    let mut add = |place: Option<Place>| {
        places.extend(place.filter(|place| places.last() != Some(place)));
    };
    let definition = super::place::definition(table);
    if table == Table::History {
        let act = |(kind, id, g, f, agent): (i8, String, i32, i32, String)| {
            let cell = cell(kind, id).filter(|_| is_live(g, f));
            let named = cell.zip(AgentId::new(agent).ok());
            add(named.map(|(cell, agent)| Place::Player(cell, agent)));
        };
        let select = "cell_kind, cell_id, generation, fold_version, agent";
        asker.whole(select, definition, act).await?;
    } else {
        let act = |(agent, g, f): (String, i32, i32)| {
            add(AgentId::new(agent).ok().filter(|_| is_live(g, f)).map(Place::Agent));
        };
        asker.whole("agent, generation, fold_version", definition, act).await?;
    }
    Ok(places)
}

/// How far each cell is true.
async fn applied(asker: &Asker) -> Result<HashMap<CellKey, u64>, RequestError> {
    let mut applied = HashMap::new();
    let select = "DISTINCT cell_kind, cell_id, generation, fold_version, applied";
    let act = |(kind, id, g, f, through): (i8, String, i32, i32, Option<i64>)| {
        let cell = cell(kind, id).filter(|_| is_live(g, f));
        applied.extend(cell.zip(through.map(|through| through as u64)));
    };
    asker.whole(select, &tables::CELLS, act).await?;
    Ok(applied)
}

/// How far each partition is folded.
async fn progress(asker: &Asker) -> Result<HashMap<TopicPartition, u64>, RequestError> {
    let mut progress = HashMap::new();
    let select = "topic, partition, generation, fold_version, applied";
    let act = |(topic, partition, g, f, through): (i8, i32, i32, i32, Option<i64>)| {
        let source = source(topic, partition).filter(|_| is_live(g, f));
        progress.extend(source.zip(through.map(|through| through as u64)));
    };
    asker.whole(select, &tables::PROGRESS, act).await?;
    Ok(progress)
}
