//! Asking the server: statements prepared once each, with a limit on how many are under way.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use scylla::client::pager::NextRowError;
use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;
use tokio::sync::{Mutex, Semaphore};

use crate::error::RequestError;
use crate::session;
use crate::tables::TableDef;

/// Requests under way at once.
pub(super) const IN_FLIGHT_MAX: usize = 32;
/// Pauses between attempts: a check that asks a million questions is not to end at one that was
/// not heard.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1)];
/// Rows a page when a whole table is read.
const PAGE_ROWS: i32 = 4_096;

/// A session that reads.
pub(super) struct Asker {
    session: Arc<Session>,
    keyspace: String,
    /// By their text; the texts are those of this folder. Held while one is prepared: the server
    /// forgets a statement for a moment while it prepares the same text again.
    prepared: Mutex<HashMap<String, PreparedStatement>>,
    permits: Semaphore,
}

impl Asker {
    pub(super) fn new(session: Arc<Session>, keyspace: &str) -> Asker {
        let (prepared, permits) = (Mutex::default(), Semaphore::new(IN_FLIGHT_MAX));
        Asker { session, keyspace: keyspace.to_owned(), prepared, permits }
    }

    async fn prepared(&self, cql: String) -> Result<PreparedStatement, RequestError> {
        let mut known = self.prepared.lock().await;
        if let Some(prepared) = known.get(&cql) {
            return Ok(prepared.clone());
        }
        let mut prepared = session::prepare(&self.session, cql.clone()).await?;
        prepared.set_page_size(PAGE_ROWS);
        known.insert(cql, prepared.clone());
        Ok(prepared)
    }

    /// Rows of one partition; `more` goes on after the equality of the partition's columns.
    pub(super) async fn partition<R>(
        &self,
        select: &str,
        table: &TableDef,
        more: &str,
        values: Vec<CqlValue>,
    ) -> Result<Vec<R>, RequestError>
    where
        R: for<'frame> DeserializeRow<'frame, 'frame>,
    {
        let (keyspace, name, of) = (&self.keyspace, table.name, table.in_partition());
        let cql = format!("SELECT {select} FROM {keyspace}.{name} WHERE {of}{more}");
        let prepared = self.prepared(cql).await?;
        let _permit = match self.permits.acquire().await {
            Ok(permit) => permit,
            Err(_) => unreachable!("nobody closes the semaphore"),
        };
        for pause in PAUSES {
            match session::rows(&self.session, &prepared, values.clone()).await {
                Err(error) if error.may_pass() => tokio::time::sleep(pause).await,
                answer => return answer,
            }
        }
        session::rows(&self.session, &prepared, values).await
    }

    /// Every row of a table, in the server's order, page by page.
    pub(super) async fn whole<R>(
        &self,
        select: &str,
        table: &TableDef,
        mut act: impl FnMut(R),
    ) -> Result<(), RequestError>
    where
        R: for<'frame, 'spec> DeserializeRow<'frame, 'spec> + 'static,
    {
        let cql = format!("SELECT {select} FROM {}.{}", self.keyspace, table.name);
        let prepared = self.prepared(cql).await?;
        let pager = self.session.execute_iter(prepared, ()).await;
        let pager = pager.map_err(RequestError::passing)?;
        let mut rows = pager.rows_stream::<R>().map_err(RequestError::damaged)?;
        while let Some(row) = rows.next().await {
            act(row.map_err(|error| match error {
                NextRowError::RowDeserializationError(error) => RequestError::damaged(error),
                error => RequestError::passing(error),
            })?);
        }
        Ok(())
    }
}

/// The answers of many questions, in their order. No `async fn`, so that what makes the questions
/// is done with before anything waits.
pub(super) fn all<'a, T, F>(
    questions: impl IntoIterator<Item = F>,
) -> BoxFuture<'a, Result<Vec<T>, RequestError>>
where
    T: Send + 'a,
    F: Future<Output = Result<T, RequestError>> + Send + 'a,
{
    let questions: Vec<F> = questions.into_iter().collect();
    futures::stream::iter(questions).buffered(IN_FLIGHT_MAX).try_collect().boxed()
}
