//! What the store says about the candidates of a call: one batched look-up.

use std::collections::{HashMap, HashSet};

use agon_ports::{PortError, ProjectionStore};
use agon_projections::row::{FirstSeen, HeadDetail, Value};
use agon_projections::{CellKey, Row, RowKey};
use agon_schema::{Event, NaturalId};

use super::candidate::{Candidate, Entry, submission_of};

/// Keys of one `get`.
const KEYS_MAX: usize = 4096;

/// What the store knows.
#[derive(Default)]
pub(crate) struct View {
    /// By the place in the call.
    pub first_seen: HashMap<usize, FirstSeen>,
    pub heads: HashMap<CellKey, HeadDetail>,
    pub submissions: HashSet<(CellKey, NaturalId)>,
}

/// What to ask for one candidate besides its identity.
pub(crate) struct Asked<'a> {
    pub candidate: &'a Candidate,
    pub entry: &'a Entry,
    /// Whether the definition of its cell is not known.
    pub needs_head: bool,
}

impl View {
    /// Looks everything up.
    pub async fn load(store: &dyn ProjectionStore, asked: &[Asked<'_>]) -> Result<View, PortError> {
        let mut view = View::default();
        let (keys, places) = keys(asked);
        let mut rows: Vec<Option<Row>> = Vec::with_capacity(keys.len());
        for keys in keys.chunks(KEYS_MAX) {
            rows.extend(store.get(keys.to_vec()).await?);
        }
        for (number, row) in rows.into_iter().enumerate() {
            let Some(row) = row else { continue };
            match (row.key, row.value) {
                (RowKey::FirstSeen(..), Value::FirstSeen(first)) => {
                    view.first_seen.insert(places[number], first);
                }
                // Equal marks have equal content.
                (RowKey::Refusal(_, content), Value::Since(offset)) => {
                    view.first_seen.insert(places[number], FirstSeen { offset, content });
                }
                (RowKey::Head(cell), Value::Head(head)) => {
                    view.heads.insert(cell, head.detail);
                }
                (RowKey::Submission(cell, id), Value::Submission(_)) => {
                    view.submissions.insert((cell, id));
                }
                _ => {}
            }
        }
        Ok(view)
    }
}

/// The keys, those of the identities first, each with the place it is asked for.
fn keys(asked: &[Asked<'_>]) -> (Vec<RowKey>, Vec<usize>) {
    let mut keys = Vec::with_capacity(asked.len());
    let mut places = Vec::with_capacity(asked.len());
    let mut more = HashSet::new();
    for Asked { candidate, entry, needs_head } in asked {
        places.push(candidate.index);
        let cell = || candidate.cell.clone();
        keys.push(match entry {
            Entry::Event(_) => RowKey::FirstSeen(cell(), candidate.key.identity),
            Entry::MalformedChange(_) => RowKey::Refusal(candidate.source, candidate.content),
        });
        let Entry::Event(event) = entry else { continue };
        if *needs_head && !matches!(event, Event::RecentChange(_)) {
            more.insert(RowKey::Head(cell()));
        }
        if let Some((id, _)) = submission_of(event) {
            more.insert(RowKey::Submission(cell(), id.clone()));
        }
    }
    keys.extend(more);
    (keys, places)
}
