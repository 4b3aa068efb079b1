//! What is folded, as far as the intake can see it: one batched look-up for the candidates of a
//! call, and a store that may be away without holding writes up.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agon_ports::{ChangeSubscriber, ProjectionStore};
use agon_projections::row::{FirstSeen, HeadDetail, Value};
use agon_projections::{CellKey, Row, RowKey};
use agon_schema::{Event, NaturalId};
use tokio::time::Instant;

use super::candidate::{Candidate, Entry, submission_of};

/// Keys of one `get`.
const KEYS_MAX: usize = 4096;
/// How long nobody looks at a store that failed.
const PAUSE: Duration = Duration::from_millis(500);

/// What the intake sees of what is folded. It never decides what counts, so an intake with a view
/// and one without come to the same boards; with a view a caller is told at once what the fold
/// would find later.
pub enum View {
    /// Nothing: what the intake did not take itself it does not judge.
    None,
    /// The store, and the feed that says how far it is.
    Store {
        /// Where to look. While it is away, writes go on as without a view.
        store: Arc<dyn ProjectionStore>,
        /// Subscribed to before the intake starts, so that nothing is missed.
        feed: Box<dyn ChangeSubscriber>,
    },
}

/// Looks at a store that may be away. After a failure one call looks again from time to time, and
/// the others go on without.
pub(crate) struct Lookup {
    store: Option<Arc<dyn ProjectionStore>>,
    /// How long one look may take.
    time_max: Duration,
    /// Until when nobody looks, if the last look failed.
    away_until: Mutex<Option<Instant>>,
}

impl Lookup {
    pub fn new(store: Option<Arc<dyn ProjectionStore>>, time_max: Duration) -> Lookup {
        Lookup { store, time_max, away_until: Mutex::new(None) }
    }

    fn away_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.away_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the last look failed.
    pub fn is_away(&self) -> bool {
        self.away_until().is_some()
    }

    /// Whether to look now. Who is let through while the store is away keeps the others out for
    /// as long as the look may take.
    fn may_look(&self) -> bool {
        let mut away_until = self.away_until();
        match *away_until {
            None => true,
            Some(until) if Instant::now() < until => false,
            Some(_) => {
                *away_until = Some(Instant::now() + self.time_max + PAUSE);
                true
            }
        }
    }

    /// The rows of these keys, in their order; nothing when there is no store or it is away.
    pub async fn get(&self, keys: Vec<RowKey>) -> Option<Vec<Option<Row>>> {
        let store = self.store.as_ref().filter(|_| self.may_look())?;
        let count = keys.len();
        let failure = match tokio::time::timeout(self.time_max, store.get(keys)).await {
            Ok(Ok(rows)) => {
                *self.away_until() = None;
                return Some(rows);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("look up {count} rows: no answer in {:?}", self.time_max),
        };
        *self.away_until() = Some(Instant::now() + PAUSE);
        tracing::warn!(error = failure, "the store cannot be read; events are left to the fold");
        None
    }
}

/// What the store knows.
#[derive(Default)]
pub(crate) struct Seen {
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

impl Seen {
    /// Looks everything up; nothing when the store cannot be read.
    pub async fn load(lookup: &Lookup, asked: &[Asked<'_>]) -> Option<Seen> {
        let mut seen = Seen::default();
        let (keys, places) = keys(asked);
        let mut rows: Vec<Option<Row>> = Vec::with_capacity(keys.len());
        for keys in keys.chunks(KEYS_MAX) {
            rows.extend(lookup.get(keys.to_vec()).await?);
        }
        for (number, row) in rows.into_iter().enumerate() {
            let Some(row) = row else { continue };
            match (row.key, row.value) {
                (RowKey::FirstSeen(..), Value::FirstSeen(first)) => {
                    seen.first_seen.insert(places[number], first);
                }
                // Equal marks have equal content.
                (RowKey::Refusal(_, content), Value::Since(offset)) => {
                    seen.first_seen.insert(places[number], FirstSeen { offset, content });
                }
                (RowKey::Head(cell), Value::Head(head)) => {
                    seen.heads.insert(cell, head.detail);
                }
                (RowKey::Submission(cell, id), Value::Submission(_)) => {
                    seen.submissions.insert((cell, id));
                }
                _ => {}
            }
        }
        Some(seen)
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
