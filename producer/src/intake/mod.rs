//! The intake: many callers in, one ordered stream of appends out, an answer only after the log's.
//!
//! A call goes through in rounds (`call`): each item claims its identity among the `recent` ones,
//! is looked up in the store (`view`), judged (`judging`), and stands in the queue of `shared`
//! until the `appender` has appended it. `progress` follows how far the store is. Without a view,
//! or while the store is away, what the intake does not know itself is left to the fold.

mod appender;
mod call;
mod candidate;
mod config;
mod conflicts;
mod error;
mod judging;
mod metrics;
mod progress;
mod shared;
mod traced;
mod view;

use std::sync::Arc;
use std::time::Duration;

use agon_ports::{Clock, EventLog};
use agon_projections::Rejection;
use agon_schema::{Event, Identity, LogId, Position};
use prometheus::Registry;
use tokio::task::JoinHandle;
use tracing::{Instrument, Span};

use call::{Call, Round};
pub use candidate::Entry;
pub use config::IntakeConfig;
pub use error::IntakeError;
use metrics::IntakeMetrics;
use shared::Shared;
use view::Lookup;
pub use view::View;

/// Rounds of one call. Each waits for others to be done with the same identities, so more than a
/// few mean that many callers fight over one.
const ROUNDS_MAX: usize = 16;

/// What to do with an event whose identity the log holds with other content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// Nothing is appended.
    Refuse,
    /// It is appended, so that it becomes a dead letter that has a name; once.
    Append,
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is in the log.
    Appended {
        /// Its `ce_id`.
        id: Identity,
        /// Where.
        position: Position,
    },
    /// The log holds the same already; nothing was appended.
    Duplicate {
        /// Its `ce_id`.
        id: Identity,
        /// Where the first one stands.
        position: Position,
    },
    /// The log holds its identity with other content; it does not count.
    Conflict {
        /// Its `ce_id`.
        id: Identity,
        /// Where the one stands that counts.
        first: Position,
        /// Where it was kept as a dead letter just now, if it was.
        kept: Option<Position>,
    },
    /// It would be a dead letter; nothing was appended.
    Refused {
        /// Its `ce_id`.
        id: Identity,
        /// Why.
        rejection: Rejection,
    },
}

impl Submitted {
    /// The `ce_id`.
    pub fn id(&self) -> Identity {
        match self {
            Submitted::Appended { id, .. }
            | Submitted::Duplicate { id, .. }
            | Submitted::Conflict { id, .. }
            | Submitted::Refused { id, .. } => *id,
        }
    }
}

/// A handle to the intake. When the last one is dropped, the intake drains and ends.
#[derive(Clone)]
pub struct Intake(Arc<Handle>);

struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Intake {
    /// Starts the intake; the task ends once the intake is closed and drained.
    ///
    /// # Errors
    /// When the registry has metrics of these names.
    pub fn start(
        config: IntakeConfig,
        log: Arc<dyn EventLog>,
        view: View,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<(Intake, JoinHandle<()>), prometheus::Error> {
        let metrics = IntakeMetrics::register(registry, config.queue_records_max)?;
        let (store, feed) = match view {
            View::None => (None, None),
            View::Store { store, feed } => (Some(store), Some(feed)),
        };
        let lookup = Lookup::new(store, Duration::from_millis(config.view_look_ms_max));
        let shared = Shared::new(config, log, lookup, clock, metrics);
        let follower = feed.map(|feed| tokio::spawn(progress::follow(Arc::clone(&shared), feed)));
        let appender = appender::run(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            appender.await;
            if let Some(follower) = follower {
                follower.abort();
            }
        });
        Ok((Intake(Arc::new(Handle(shared))), task))
    }

    /// Takes events in their order and answers for each once the log has what is new.
    ///
    /// # Errors
    /// When the call as a whole was not acknowledged; see [`IntakeError`].
    pub async fn submit(
        &self,
        events: Vec<Event>,
        on_conflict: OnConflict,
    ) -> Result<Vec<Submitted>, IntakeError> {
        let entries = Arc::new(events.into_iter().map(Entry::Event).collect());
        self.admit(entries, on_conflict, None).await?.wait().await
    }

    /// Takes entries up to the queue: what is admitted later stands behind them in every
    /// partition. Given the ticket of the call before, it refuses when an append failed since, so
    /// that a caller with several calls in flight can keep their order through failures.
    ///
    /// # Errors
    /// As [`Intake::submit`].
    pub async fn admit(
        &self,
        entries: Arc<Vec<Entry>>,
        on_conflict: OnConflict,
        after: Option<&Ticket>,
    ) -> Result<Ticket, IntakeError> {
        let count = entries.len();
        let span = traced::begin(count);
        let admitted = async {
            let context = traced::context(&span);
            let (mut call, candidates) = Call::new(&self.0.0, entries, on_conflict, context)?;
            let round = call.begin(candidates, after.map(|ticket| ticket.round.since)).await?;
            Ok(Ticket { call, round, span: span.clone() })
        };
        let admitted: Result<Ticket, IntakeError> = admitted.instrument(span.clone()).await;
        admitted.inspect_err(|error| {
            self.0.0.metrics.refused(error.code(), count);
            traced::ended(&span, Err(error));
        })
    }

    /// Refuses what comes from now on, and waits until everything accepted before is answered.
    pub async fn close(&self) {
        self.0.0.close();
        self.0.0.idle().await;
    }

    /// Which log it appends to.
    pub fn log_id(&self) -> LogId {
        self.0.0.log.id()
    }

    /// Whether the last look at the store failed. Writes go on meanwhile; what they name is left
    /// to the fold.
    pub fn is_store_away(&self) -> bool {
        self.0.0.lookup.is_away()
    }

    /// The clock by which times are filled in.
    pub fn clock(&self) -> &dyn Clock {
        self.0.0.clock.as_ref()
    }
}

/// A call that stands in the queue.
pub struct Ticket {
    call: Call,
    round: Round,
    span: Span,
}

impl Ticket {
    /// Waits for the log's answer.
    ///
    /// # Errors
    /// As [`Intake::submit`].
    pub async fn wait(self) -> Result<Vec<Submitted>, IntakeError> {
        let shared = Arc::clone(&self.call.shared);
        let count = self.call.entries.len();
        let span = self.span.clone();
        let outcomes = self.rounds().instrument(span.clone()).await;
        traced::ended(&span, outcomes.as_deref());
        match &outcomes {
            Err(error) => shared.metrics.refused(error.code(), count),
            Ok(outcomes) => {
                for outcome in outcomes {
                    match outcome {
                        Submitted::Refused { rejection, .. } => {
                            shared.metrics.refused(rejection.reason.code(), 1);
                        }
                        Submitted::Conflict { kept: None, .. } => {
                            shared.metrics.refused("conflicting_duplicate", 1);
                        }
                        _ => {}
                    }
                }
            }
        }
        outcomes
    }

    async fn rounds(self) -> Result<Vec<Submitted>, IntakeError> {
        let Ticket { mut call, mut round, .. } = self;
        for number in 1.. {
            let again = call.end(round, number == 1).await?;
            if again.is_empty() {
                break;
            }
            if number == ROUNDS_MAX {
                call.give_up(&again);
                break;
            }
            let candidates = call.candidates(again);
            round = call.begin(candidates, None).await?;
        }
        Ok(call.outcomes())
    }
}
