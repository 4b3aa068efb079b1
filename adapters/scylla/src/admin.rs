//! What operators do to a store beside using it: ask whose it is, and empty it.

use std::time::Duration;

use crate::error::OpenError;
use crate::init::give_up;
use crate::session::connect;
use crate::{CqlAddress, LogFacts, meta, migrations};

/// Emptying a table takes longer than a read, all the more on several nodes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The log that a store is folded from, as `agon init` recorded it.
///
/// # Errors
/// A keyspace that `agon init` did not make; a store that does not answer.
pub async fn facts(address: &CqlAddress) -> Result<LogFacts, OpenError> {
    let session = connect(address, REQUEST_TIMEOUT).await?;
    migrations::check(&session, address).await?;
    Ok(meta::read(&session, address).await?.log)
}

/// Empties every table of rows, so that the log can be folded anew. Users, keys and the record of
/// whose store it is stay. Nobody may fold meanwhile.
///
/// # Errors
/// A store that does not answer, or refuses.
pub async fn wipe(address: &CqlAddress) -> Result<(), OpenError> {
    let session = connect(address, REQUEST_TIMEOUT).await?;
    migrations::check(&session, address).await?;
    give_up(&session, address).await
}
