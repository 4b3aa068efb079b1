//! The connection: quorum both ways, a limit of time for each request, no clock in any write.

use std::sync::Arc;
use std::time::Duration;

use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::row::DeserializeRow;
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};

use crate::CqlAddress;
use crate::error::{OpenError, RequestError};

/// A node that is silent for so long is not waited for: the next one is asked as well. What may not
/// be sent twice waits for its node.
const ASK_NEXT_AFTER: Duration = Duration::from_secs(1);
/// Nodes that are asked beside the first.
const ASKED_BESIDE_MAX: usize = 2;
/// How often a node is asked whether it is there, and for how long it may be silent then before its
/// connections are given up. Until then a node that neither answers nor refuses gets its share of
/// the requests.
const ALIVE_EVERY: Duration = Duration::from_secs(5);
const SILENT_MAX: Duration = Duration::from_secs(10);

/// Connects to the nodes of an address. The keyspace need not be there.
pub(crate) async fn connect(
    address: &CqlAddress,
    request_timeout: Duration,
) -> Result<Arc<Session>, OpenError> {
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .request_timeout(Some(request_timeout))
        .speculative_execution_policy(Some(Arc::new(SimpleSpeculativeExecutionPolicy {
            max_retry_count: ASKED_BESIDE_MAX,
            retry_interval: ASK_NEXT_AFTER,
        })))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(address.nodes())
        .connection_timeout(request_timeout)
        .keepalive_interval(ALIVE_EVERY)
        .keepalive_timeout(SILENT_MAX)
        .default_execution_profile_handle(profile.into_handle())
        .keyspaces_to_fetch([address.keyspace()]);
    if let Some((user, password)) = address.login() {
        builder = builder.user(user, password);
    }
    let session = builder.build().await.map_err(|error| OpenError::connecting(address, &error))?;
    Ok(Arc::new(session))
}

/// Prepares a statement that may be sent twice: all of ours are stamped, conditional or reads.
pub(crate) async fn prepare(
    session: &Session,
    cql: String,
) -> Result<PreparedStatement, RequestError> {
    let mut prepared = session.prepare(cql).await?;
    prepared.set_is_idempotent(true);
    Ok(prepared)
}

/// All rows that a statement answers, in one page: what a single read of a replica saw. The
/// statement itself limits them.
pub(crate) async fn rows<R>(
    session: &Session,
    prepared: &PreparedStatement,
    values: impl SerializeRow,
) -> Result<Vec<R>, RequestError>
where
    R: for<'frame> DeserializeRow<'frame, 'frame>,
{
    let answer = session.execute_unpaged(prepared, values).await?;
    let answer = answer.into_rows_result().map_err(RequestError::damaged)?;
    let rows = answer.rows::<R>().map_err(RequestError::damaged)?;
    rows.collect::<Result<Vec<R>, _>>().map_err(RequestError::damaged)
}
