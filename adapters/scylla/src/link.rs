//! Requests, with a bound on how many are under way, and the prepared statements that write.

use std::sync::Arc;

use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::RequestError;
use crate::flush::{Kind, Write};
use crate::session::{self, prepare};
use crate::tables;

/// A session of which only so many requests are under way.
pub(crate) struct Link {
    session: Arc<Session>,
    permits: Semaphore,
    inserts: Inserts,
}

impl Link {
    /// Prepares the statements that write.
    pub(crate) async fn new(
        session: Arc<Session>,
        keyspace: &str,
        in_flight_max: usize,
    ) -> Result<Link, RequestError> {
        let inserts = Inserts::prepare(&session, keyspace).await?;
        Ok(Link { session, permits: Semaphore::new(in_flight_max.max(1)), inserts })
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    async fn permit(&self) -> SemaphorePermit<'_> {
        match self.permits.acquire().await {
            Ok(permit) => permit,
            Err(_) => unreachable!("nobody closes the semaphore"),
        }
    }

    /// All rows that a statement answers, in one page.
    pub(crate) async fn rows<R>(
        &self,
        prepared: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Vec<R>, RequestError>
    where
        R: for<'frame> DeserializeRow<'frame, 'frame>,
    {
        let _permit = self.permit().await;
        session::rows(&self.session, prepared, values).await
    }

    /// Sends the writes of one partition as one mutation.
    pub(crate) async fn send(&self, writes: Vec<Write>) -> Result<(), RequestError> {
        let _permit = self.permit().await;
        if let [write] = &writes[..] {
            self.session.execute_unpaged(self.inserts.of(write.kind()), write).await?;
            return Ok(());
        }
        let statements = writes.iter().map(|write| self.inserts.of(write.kind()).clone().into());
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements.collect());
        batch.set_is_idempotent(true);
        self.session.batch(&batch, writes).await?;
        Ok(())
    }
}

/// A statement for each kind of write.
struct Inserts {
    applied: PreparedStatement,
    head: PreparedStatement,
    own: PreparedStatement,
    cell_index: PreparedStatement,
    user: PreparedStatement,
    first_seen: PreparedStatement,
    matches: PreparedStatement,
    history: PreparedStatement,
    agent_cell: PreparedStatement,
    dead_letter: PreparedStatement,
    refusal: PreparedStatement,
    progress: PreparedStatement,
}

impl Inserts {
    async fn prepare(session: &Session, keyspace: &str) -> Result<Inserts, RequestError> {
        let insert = |table: &tables::TableDef| prepare(session, table.insert_cql(keyspace));
        let [applied, head] = [0, 1].map(|column| {
            let column = tables::CELLS.statics[column];
            prepare(session, tables::CELLS.insert_static_cql(keyspace, column))
        });
        Ok(Inserts {
            applied: applied.await?,
            head: head.await?,
            own: insert(&tables::CELLS).await?,
            cell_index: insert(&tables::CELL_INDEX).await?,
            user: insert(&tables::USERS).await?,
            first_seen: insert(&tables::FIRST_SEEN).await?,
            matches: insert(&tables::MATCHES).await?,
            history: insert(&tables::HISTORY).await?,
            agent_cell: insert(&tables::AGENT_CELLS).await?,
            dead_letter: insert(&tables::DEAD_LETTERS).await?,
            refusal: insert(&tables::REFUSALS).await?,
            progress: insert(&tables::PROGRESS).await?,
        })
    }

    fn of(&self, kind: Kind) -> &PreparedStatement {
        match kind {
            Kind::Applied => &self.applied,
            Kind::Head => &self.head,
            Kind::Own => &self.own,
            Kind::CellIndex => &self.cell_index,
            Kind::User => &self.user,
            Kind::FirstSeen => &self.first_seen,
            Kind::Matches => &self.matches,
            Kind::History => &self.history,
            Kind::AgentCell => &self.agent_cell,
            Kind::DeadLetter => &self.dead_letter,
            Kind::Refusal => &self.refusal,
            Kind::Progress => &self.progress,
        }
    }
}
