//! Where an import goes: into the intake of this process, or nowhere.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use agon_schema::{Event, PositionToken};
use async_trait::async_trait;
use tokio::time::Instant;

use super::definitions::{Definitions, defined_by};
use super::report::ImportError;
use crate::intake::{Entry, Intake, IntakeError, OnConflict, Submitted, Ticket};

/// What became of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is new in the log.
    Appended,
    /// The log had it.
    Duplicate,
    /// It does not count, and why.
    Refused(String),
    /// It was read, and that is all.
    Unsent,
}

/// Takes what an import reads. Batches arrive in the order of the file and are kept in it.
#[async_trait]
pub trait Sink: Send {
    /// Hands in definitions that may exist already; answers for each.
    ///
    /// # Errors
    /// When it was not acknowledged for 60 s.
    async fn define(&mut self, events: Vec<Event>) -> Result<Vec<Fate>, ImportError>;

    /// Hands in a batch; answers for those batches that are done, from the first.
    ///
    /// # Errors
    /// As [`Sink::define`].
    async fn send(&mut self, entries: Arc<Vec<Entry>>) -> Result<Vec<Vec<Fate>>, ImportError>;

    /// Waits for all batches that are not done, from the first.
    ///
    /// # Errors
    /// As [`Sink::define`].
    async fn finish(&mut self) -> Result<Vec<Vec<Fate>>, ImportError>;
}

/// Reads everything, writes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct DryRun;

#[async_trait]
impl Sink for DryRun {
    async fn define(&mut self, events: Vec<Event>) -> Result<Vec<Fate>, ImportError> {
        Ok(vec![Fate::Unsent; events.len()])
    }

    async fn send(&mut self, entries: Arc<Vec<Entry>>) -> Result<Vec<Vec<Fate>>, ImportError> {
        Ok(vec![vec![Fate::Unsent; entries.len()]])
    }

    async fn finish(&mut self) -> Result<Vec<Vec<Fate>>, ImportError> {
        Ok(Vec::new())
    }
}

/// Batches that are admitted while the first waits for the log.
const IN_FLIGHT_MAX: usize = 3;
/// How long one batch is tried again: a log that is away for less costs nothing but the time.
pub(crate) const RETRY_TIME_MAX: Duration = Duration::from_secs(60);
/// Pause after the first failed attempt; doubles.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Hands in to the intake of this process.
pub struct IntakeSink {
    intake: Intake,
    /// What is asked where the intake has no view to know definitions by.
    definitions: Option<Definitions>,
    in_flight: VecDeque<InFlight>,
}

struct InFlight {
    entries: Arc<Vec<Entry>>,
    /// None when it was not admitted: then none behind it is either.
    ticket: Option<Ticket>,
}

impl IntakeSink {
    /// Hands in to this intake.
    pub fn new(intake: Intake) -> IntakeSink {
        IntakeSink { intake, definitions: None, in_flight: VecDeque::new() }
    }

    /// Hands in to this intake, which has no view: what the log defines is read from the log
    /// before anything is defined.
    pub fn searching(intake: Intake, definitions: Definitions) -> IntakeSink {
        IntakeSink { intake, definitions: Some(definitions), in_flight: VecDeque::new() }
    }

    /// Admits a batch behind those in flight. A refusal that may pass is met again when the batch
    /// is the first, so that the order stays.
    async fn admit(&mut self, entries: Arc<Vec<Entry>>) -> Result<(), ImportError> {
        let last = self.in_flight.back().map(|last| last.ticket.as_ref());
        let ticket = match last {
            Some(None) => None,
            Some(Some(_)) | None => {
                let after = last.flatten();
                let on_conflict = OnConflict::Append;
                match self.intake.admit(Arc::clone(&entries), on_conflict, after).await {
                    Ok(ticket) => Some(ticket),
                    Err(error) if error.may_pass() => None,
                    Err(error) => return Err(error.into()),
                }
            }
        };
        self.in_flight.push_back(InFlight { entries, ticket });
        Ok(())
    }

    /// Waits for the first batch in flight.
    async fn first(&mut self) -> Result<Option<Vec<Fate>>, ImportError> {
        let Some(InFlight { entries, ticket }) = self.in_flight.pop_front() else {
            return Ok(None);
        };
        let answer = match ticket {
            Some(ticket) => Some(ticket.wait().await),
            None => None,
        };
        let submitted = match answer {
            Some(Ok(submitted)) => submitted,
            Some(Err(error)) if !error.may_pass() => return Err(error.into()),
            Some(Err(_)) | None => self.insist(entries, OnConflict::Append).await?,
        };
        Ok(Some(submitted.iter().map(|submitted| self.fate(submitted)).collect()))
    }

    /// Hands in a batch as often as it takes, for a minute. Those behind it were refused when it
    /// failed, and come after it.
    async fn insist(
        &self,
        entries: Arc<Vec<Entry>>,
        on_conflict: OnConflict,
    ) -> Result<Vec<Submitted>, IntakeError> {
        let started = Instant::now();
        let mut pause = PAUSE;
        loop {
            let error = match self.attempt(Arc::clone(&entries), on_conflict).await {
                Err(error) if error.may_pass() => error,
                answer => return answer,
            };
            if started.elapsed() >= RETRY_TIME_MAX {
                return Err(gave_up(error));
            }
            tracing::debug!(%error, pause_ms = pause.as_millis() as u64, "will try again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn attempt(
        &self,
        entries: Arc<Vec<Entry>>,
        on_conflict: OnConflict,
    ) -> Result<Vec<Submitted>, IntakeError> {
        self.intake.admit(entries, on_conflict, None).await?.wait().await
    }

    fn fate(&self, submitted: &Submitted) -> Fate {
        match submitted {
            Submitted::Appended { .. } => Fate::Appended,
            Submitted::Duplicate { .. } => Fate::Duplicate,
            Submitted::Conflict { first, kept, .. } => {
                let first = PositionToken::of(self.intake.log_id(), [*first]);
                let kept = match kept {
                    Some(_) => "kept as a dead letter",
                    None => "it is a dead letter already",
                };
                Fate::Refused(format!(
                    "conflicting_duplicate: position {first} holds other content of this id; {kept}"
                ))
            }
            Submitted::Refused { rejection, .. } => {
                Fate::Refused(format!("{}: {}", rejection.reason.code(), rejection.detail))
            }
        }
    }
}

/// The last error, with how long it was met.
fn gave_up(error: IntakeError) -> IntakeError {
    let tried = |reason| format!("{reason}; tried for {} s", RETRY_TIME_MAX.as_secs());
    match error {
        IntakeError::LogAway { attempted, reason } => {
            IntakeError::LogAway { attempted, reason: tried(reason) }
        }
        other => other,
    }
}

#[async_trait]
impl Sink for IntakeSink {
    async fn define(&mut self, events: Vec<Event>) -> Result<Vec<Fate>, ImportError> {
        let known = match &mut self.definitions {
            None => BTreeSet::new(),
            Some(definitions) => {
                definitions.find(&events.iter().filter_map(defined_by).collect()).await?
            }
        };
        let is_known: Vec<bool> = events
            .iter()
            .map(|event| defined_by(event).is_some_and(|cell| known.contains(&cell)))
            .collect();
        let new = events.into_iter().zip(&is_known).filter(|(_, is_known)| !**is_known);
        let entries: Vec<Entry> = new.map(|(event, _)| Entry::Event(event)).collect();
        let mut submitted = Vec::new();
        if !entries.is_empty() {
            submitted = self.insist(Arc::new(entries), OnConflict::Refuse).await?;
        }
        let mut fates = submitted.iter().map(|submitted| self.fate(submitted));
        let fate = |is_known| if is_known { Some(Fate::Duplicate) } else { fates.next() };
        Ok(is_known.into_iter().filter_map(fate).collect())
    }

    async fn send(&mut self, entries: Arc<Vec<Entry>>) -> Result<Vec<Vec<Fate>>, ImportError> {
        let mut done = Vec::new();
        while self.in_flight.len() >= IN_FLIGHT_MAX {
            done.extend(self.first().await?);
        }
        self.admit(entries).await?;
        Ok(done)
    }

    async fn finish(&mut self) -> Result<Vec<Vec<Fate>>, ImportError> {
        let mut done = Vec::new();
        while let Some(fates) = self.first().await? {
            done.push(fates);
        }
        Ok(done)
    }
}
