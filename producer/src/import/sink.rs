//! Where an import goes: into the intake of this process, or nowhere.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use agon_schema::{Event, PositionToken};
use async_trait::async_trait;

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
    /// When it was not acknowledged after several attempts.
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
/// Attempts for one batch.
const ATTEMPTS_MAX: u32 = 8;
/// Pause after the first failed attempt; doubles.
const PAUSE: Duration = Duration::from_millis(50);

/// Hands in to the intake of this process.
pub struct IntakeSink {
    intake: Intake,
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
        IntakeSink { intake, in_flight: VecDeque::new() }
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

    /// Hands in a batch as often as it takes, within reason. Those behind it were refused when it
    /// failed, and come after it.
    async fn insist(
        &self,
        entries: Arc<Vec<Entry>>,
        on_conflict: OnConflict,
    ) -> Result<Vec<Submitted>, IntakeError> {
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS_MAX {
            match self.attempt(Arc::clone(&entries), on_conflict).await {
                Err(error) if error.may_pass() => {
                    tracing::debug!(%error, pause_ms = pause.as_millis() as u64, "will try again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                answer => return answer,
            }
        }
        self.attempt(entries, on_conflict).await
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

#[async_trait]
impl Sink for IntakeSink {
    async fn define(&mut self, events: Vec<Event>) -> Result<Vec<Fate>, ImportError> {
        let entries = Arc::new(events.into_iter().map(Entry::Event).collect());
        let submitted = self.insist(entries, OnConflict::Refuse).await?;
        Ok(submitted.iter().map(|submitted| self.fate(submitted)).collect())
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
