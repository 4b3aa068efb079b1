//! One call, in rounds: claim, look up, judge, queue, wait. An identity that someone else is just
//! handing in is looked at again in the next round, once that is done; so concurrent equal calls
//! give one record, and no call waits while it holds claims that another may wait for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agon_ports::Append;
use agon_ports::trace::{TRACEPARENT, TraceParent};
use agon_projections::row::FirstSeen;
use agon_projections::{Reason, Rejection};
use agon_schema::record::{RECORD_BYTES_MAX, header};
use agon_schema::{Event, Identity, Position};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::candidate::{Candidate, Entry};
use super::conflicts::judge_conflicts;
use super::error::IntakeError;
use super::judging::{judge_all, wait_for_view};
use super::shared::{Claims, Piece, Places, Reply, Shared};
use super::{OnConflict, Submitted};
use crate::batch;
use crate::judge::Sight;
use crate::recent::{Claim, Done, Key, Owner};

/// What a round decided about a candidate.
pub(crate) enum Decided {
    /// Nothing yet; the call holds its claim.
    Open,
    /// It goes into the log under the call's claim.
    Take,
    /// The log holds its identity with other content.
    Conflict { first: Position },
    /// It goes into the log to become a dead letter, under a claim of its refusal.
    Keep { first: Position, refusal: Key },
    /// Nothing is appended.
    Done(Submitted),
    /// Someone else is handing it in.
    Busy(Done),
    /// It stands at an earlier place of the same call, which is decided first.
    Earlier { index: usize, is_equal: bool },
}

/// A call and what became of its entries.
pub(crate) struct Call {
    pub shared: Arc<Shared>,
    pub entries: Arc<Vec<Entry>>,
    pub on_conflict: OnConflict,
    pub number: u64,
    /// What its records bear, if it is traced. It is no part of their content.
    context: Option<TraceParent>,
    places: Arc<Places>,
    outcomes: Vec<Option<Submitted>>,
}

/// What a round has queued and what it left for the next.
pub(crate) struct Round {
    /// Failures of the log before it.
    pub since: u64,
    queued: Vec<(Vec<Queued>, oneshot::Receiver<Reply>)>,
    busy: Vec<(usize, Done)>,
    earlier: Vec<(usize, usize, bool)>,
}

/// What goes into the log, the claim it goes under, and whom it conflicts with.
struct Taken {
    candidate: Candidate,
    claim: Key,
    first: Option<Position>,
}

struct Queued {
    index: usize,
    id: Identity,
    first: Option<Position>,
}

impl Call {
    pub fn new(
        shared: &Arc<Shared>,
        entries: Arc<Vec<Entry>>,
        on_conflict: OnConflict,
        context: Option<TraceParent>,
    ) -> Result<(Call, Vec<Candidate>), IntakeError> {
        let candidates = candidates(shared, &entries, 0..entries.len(), context);
        let bytes = candidates.iter().map(|candidate| candidate.record.size_bytes()).sum();
        let size = batch::Size { records: entries.len(), bytes };
        let places = shared.reserve(size)?;
        let outcomes = vec![None; entries.len()];
        let number = shared.state().call();
        let shared = Arc::clone(shared);
        let call = Call { shared, entries, on_conflict, number, context, places, outcomes };
        Ok((call, candidates))
    }

    /// Everything up to the queue. `since` is the number of failures that the call builds upon;
    /// without one it is today's.
    pub async fn begin(
        &mut self,
        candidates: Vec<Candidate>,
        since: Option<u64>,
    ) -> Result<Round, IntakeError> {
        let (mut claims, since, mut decided) = self.claim(&candidates, since)?;
        let unsure = judge_all(self, &candidates, &mut decided, &mut claims, Sight::Fresh).await;
        if !unsure.is_empty() {
            let wait = Duration::from_millis(self.shared.config.view_wait_ms_max);
            let sight = wait_for_view(&self.shared, &unsure, wait).await;
            judge_all(self, &candidates, &mut decided, &mut claims, sight).await;
        }
        judge_conflicts(self, &candidates, &mut decided, &mut claims).await;
        self.enqueue(candidates, decided, claims, since)
    }

    fn claim(
        &self,
        candidates: &[Candidate],
        since: Option<u64>,
    ) -> Result<(Claims, u64, Vec<Decided>), IntakeError> {
        let shared = Arc::clone(&self.shared);
        let mut claims = Claims { shared, call: self.number, keys: Vec::new() };
        let mut state = self.shared.state();
        let since = since.unwrap_or(state.failures);
        if since != state.failures {
            return Err(failed_before());
        }
        let mut decided = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let size_bytes = candidate.record.size_bytes();
            if size_bytes > RECORD_BYTES_MAX {
                decided.push(Decided::Done(too_large(candidate.id, size_bytes)));
                continue;
            }
            let owner = Owner { call: self.number, index: candidate.index };
            let claim = state.recent.claim(candidate.key, candidate.content, owner);
            decided.push(match claim {
                Claim::Yours => {
                    claims.keys.push(candidate.key);
                    Decided::Open
                }
                Claim::Known { content, position } => {
                    let first = FirstSeen { offset: position.offset, content };
                    seen_before(candidate, first)
                }
                Claim::Earlier { index, is_equal } => Decided::Earlier { index, is_equal },
                Claim::Busy(done) => Decided::Busy(done),
            });
        }
        drop(state);
        Ok((claims, since, decided))
    }

    fn enqueue(
        &mut self,
        candidates: Vec<Candidate>,
        decided: Vec<Decided>,
        claims: Claims,
        since: u64,
    ) -> Result<Round, IntakeError> {
        let mut round = Round { since, queued: Vec::new(), busy: Vec::new(), earlier: Vec::new() };
        let mut taken = Vec::new();
        for (candidate, decided) in candidates.into_iter().zip(decided) {
            let index = candidate.index;
            match decided {
                Decided::Take => taken.push(Taken { claim: candidate.key, candidate, first: None }),
                Decided::Keep { first, refusal } => {
                    taken.push(Taken { claim: refusal, candidate, first: Some(first) });
                }
                Decided::Done(outcome) => self.outcomes[index] = Some(outcome),
                Decided::Busy(done) => round.busy.push((index, done)),
                Decided::Earlier { index: other, is_equal } => {
                    round.earlier.push((index, other, is_equal));
                }
                Decided::Open | Decided::Conflict { .. } => {
                    unreachable!("the last look decides about everything that is open")
                }
            }
        }
        let bytes: Vec<usize> =
            taken.iter().map(|taken| taken.candidate.record.size_bytes()).collect();
        let cuts = batch::pieces(&bytes, &self.shared.config.batch());
        let mut taken = taken.into_iter();
        let mut state = self.shared.state();
        if state.failures != since {
            return Err(failed_before());
        }
        for cut in cuts {
            let piece_bytes = bytes[cut.clone()].iter().sum();
            let (piece, queued, reply) = self.piece(taken.by_ref().take(cut.len()), piece_bytes);
            for key in &piece.claims {
                state.recent.queued(*key);
            }
            state.queue.push_back(piece);
            round.queued.push((queued, reply));
        }
        drop(state);
        // What is queued belongs to the appender now; the rest is given up.
        drop(claims);
        self.shared.work.notify_one();
        Ok(round)
    }

    fn piece(
        &self,
        taken: impl Iterator<Item = Taken>,
        bytes: usize,
    ) -> (Piece, Vec<Queued>, oneshot::Receiver<Reply>) {
        let (reply, answered) = oneshot::channel();
        let mut queued = Vec::new();
        let mut piece = Piece {
            appends: Vec::new(),
            claims: Vec::new(),
            definitions: Vec::new(),
            bytes,
            queued_at: Instant::now(),
            reply,
            _places: Arc::clone(&self.places),
        };
        for Taken { candidate, claim, first } in taken {
            queued.push(Queued { index: candidate.index, id: candidate.id, first });
            piece.claims.push(claim);
            if is_definition(&self.entries[candidate.index]) && first.is_none() {
                piece.definitions.push(claim);
            }
            piece.appends.push(Append { target: candidate.source, record: candidate.record });
        }
        (piece, queued, answered)
    }

    /// Waits for the log; answers what the next round looks at again. After the first round, when
    /// all that the call says first is in place, equal items share a refusal.
    pub async fn end(&mut self, round: Round, is_first: bool) -> Result<Vec<usize>, IntakeError> {
        let mut failure = None;
        for (queued, reply) in round.queued {
            match reply.await.unwrap_or(Err(IntakeError::Closed)) {
                Ok(positions) => {
                    for (queued, position) in queued.into_iter().zip(positions) {
                        let Queued { index, id, first } = queued;
                        self.outcomes[index] = Some(match first {
                            None => Submitted::Appended { id, position },
                            Some(first) => Submitted::Conflict { id, first, kept: Some(position) },
                        });
                    }
                }
                Err(error) => failure = Some(error),
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        let mut again = BTreeMap::new();
        for (index, other, is_equal) in round.earlier {
            match &self.outcomes[other] {
                Some(outcome @ Submitted::Refused { .. }) if is_equal && !is_first => {
                    self.outcomes[index] = Some(outcome.clone());
                }
                _ => {
                    again.insert(index, None);
                }
            }
        }
        again.extend(round.busy.into_iter().map(|(index, done)| (index, Some(done))));
        for done in again.values_mut().filter_map(Option::take) {
            done.wait().await;
        }
        Ok(again.into_keys().collect())
    }

    /// The candidates of some places, for another round.
    pub fn candidates(&self, indexes: Vec<usize>) -> Vec<Candidate> {
        candidates(&self.shared, &self.entries, indexes, self.context)
    }

    /// Refuses what is left when the rounds are over.
    pub fn give_up(&mut self, left: &[usize]) {
        for candidate in self.candidates(left.to_vec()) {
            let detail = "too much is said under this id at once; send it once, alone";
            let rejection = Rejection::new(Reason::ConflictingDuplicate, detail);
            let refused = Submitted::Refused { id: candidate.id, rejection };
            self.outcomes[candidate.index] = Some(refused);
        }
    }

    /// What became of every entry, once no round is left.
    pub fn outcomes(self) -> Vec<Submitted> {
        self.outcomes.into_iter().flatten().collect()
    }
}

/// What an identity that stands in the log says of a candidate.
pub(crate) fn seen_before(candidate: &Candidate, first: FirstSeen) -> Decided {
    let position = Position { source: candidate.source, offset: first.offset };
    match first.content == candidate.content {
        true => Decided::Done(Submitted::Duplicate { id: candidate.id, position }),
        false => Decided::Conflict { first: position },
    }
}

fn is_definition(entry: &Entry) -> bool {
    matches!(entry, Entry::Event(Event::EnvironmentDefined(_) | Event::BenchmarkDefined(_)))
}

fn candidates(
    shared: &Shared,
    entries: &[Entry],
    indexes: impl IntoIterator<Item = usize>,
    context: Option<TraceParent>,
) -> Vec<Candidate> {
    let (source, partitions) = (shared.config.source.as_str(), shared.log.partitions());
    let candidate = |index| {
        let mut candidate = Candidate::new(index, &entries[index], source, partitions);
        if let Some(context) = context {
            candidate.record.headers.push(header(TRACEPARENT, context.as_str().as_bytes()));
        }
        candidate
    };
    indexes.into_iter().map(candidate).collect()
}

fn too_large(id: Identity, size_bytes: usize) -> Submitted {
    let detail = format!("the record has {size_bytes} bytes; at most {RECORD_BYTES_MAX} are kept");
    Submitted::Refused { id, rejection: Rejection::new(Reason::InvalidField, detail) }
}

fn failed_before() -> IntakeError {
    IntakeError::LogAway {
        attempted: "append events".to_owned(),
        reason: "an append that these may build upon failed; try again".to_owned(),
    }
}
