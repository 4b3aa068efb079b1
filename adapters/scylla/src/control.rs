//! [`ControlStore`] on ScyllaDB or Cassandra: one partition, written with conditions alone and read
//! at serial consistency.
//!
//! ```text
//! control   shelf = 0, key -> version, value = 16 bytes that name the write, then the bytes
//! ```
//! A conditional write whose answer is lost may have been carried out. A serial read then completes
//! or cancels it, and the name of the write tells whose value stands there: two writers may well
//! store equal bytes under equal versions.

use std::sync::Arc;
use std::time::Duration;

use agon_ports::control_store::check_sizes;
use agon_ports::{ControlStore, PortError, Put, Retry, Versioned};
use async_trait::async_trait;
use scylla::client::session::Session;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};
use scylla::value::{CqlValue, Row};
use tokio::sync::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::CqlAddress;
use crate::error::{OpenError, RequestError};
use crate::session::connect;
use crate::{meta, migrations, tables};

/// A node that is silent for so long is not waited for.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A write or read that meets others is tried again for so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);
/// Keys a page of a list: at most 16 MiB of values.
const PAGE_KEYS: i32 = 256;

/// Control data in the keyspace of a store.
pub struct ScyllaControl {
    session: Arc<Session>,
    get: PreparedStatement,
    list: PreparedStatement,
    insert: PreparedStatement,
    update: PreparedStatement,
    /// One write of this process at a time: all keys share a partition, and conditional writes that
    /// meet there hinder each other.
    turn: Mutex<()>,
}

/// What stands under a key.
struct Stored {
    write: [u8; 16],
    versioned: Versioned,
}

impl ScyllaControl {
    /// Connects to a keyspace that `agon init` made.
    ///
    /// # Errors
    /// A store that is away or refuses, a keyspace that is not as `agon init` makes it.
    pub async fn open(address: &CqlAddress) -> Result<ScyllaControl, OpenError> {
        let session = connect(address, REQUEST_TIMEOUT).await?;
        migrations::check(&session, address).await?;
        meta::read(&session, address).await?;
        let table = format!("{}.{}", address.keyspace(), tables::CONTROL.name);
        let prepared = async |cql: String| {
            let statement = prepare_serial(&session, cql).await;
            statement.map_err(|e| OpenError::request(address, "prepare for control data", e))
        };
        let read = format!("SELECT key, version, value FROM {table} WHERE shelf = 0 AND key");
        let mut list = prepared(format!("{read} >= ?")).await?;
        list.set_page_size(PAGE_KEYS);
        let insert = "(shelf, key, version, value) VALUES (0, ?, 1, ?) IF NOT EXISTS";
        let update = "SET version = ?, value = ? WHERE shelf = 0 AND key = ? IF version = ?";
        Ok(ScyllaControl {
            get: prepared(format!("{read} = ?")).await?,
            list,
            insert: prepared(format!("INSERT INTO {table} {insert}")).await?,
            update: prepared(format!("UPDATE {table} {update}")).await?,
            session,
            turn: Mutex::new(()),
        })
    }

    /// One conditional write: whether it was carried out, and else the version that stood there.
    async fn write(&self, key: &str, value: &[u8], expected: i64) -> Result<Written, RequestError> {
        let answer = if expected == 0 {
            self.session.execute_unpaged(&self.insert, (key, value)).await?
        } else {
            let values = (expected + 1, value, key, expected);
            self.session.execute_unpaged(&self.update, values).await?
        };
        let found = conditional(answer, "version")?;
        Ok(match found {
            None => Written::Yes,
            Some(Some(CqlValue::BigInt(version))) => Written::No(version.max(0) as u64),
            Some(_) => Written::No(0),
        })
    }

    async fn stored(&self, key: &str) -> Result<Option<Stored>, RequestError> {
        let answer = self.session.execute_unpaged(&self.get, (key,)).await?;
        let rows = answer.into_rows_result().map_err(RequestError::damaged)?;
        let row = rows.maybe_first_row::<Columns>().map_err(RequestError::damaged)?;
        row.map(|row| read(row).map(|(_, stored)| stored)).transpose()
    }

    async fn listed(&self, prefix: &str) -> Result<Vec<(String, Versioned)>, RequestError> {
        let mut found = Vec::new();
        let mut page = PagingState::start();
        loop {
            let answer = self.session.execute_single_page(&self.list, (prefix,), page).await?;
            let (answer, next) = (answer.0.into_rows_result(), answer.1);
            let answer = answer.map_err(RequestError::damaged)?;
            for row in answer.rows::<Columns>().map_err(RequestError::damaged)? {
                let (key, stored) = read(row.map_err(RequestError::damaged)?)?;
                if !key.starts_with(prefix) {
                    return Ok(found);
                }
                found.push((key, stored.versioned));
            }
            match next {
                PagingStateResponse::HasMorePages { state } => page = state,
                PagingStateResponse::NoMorePages => return Ok(found),
            }
        }
    }
}

/// What became of a conditional write.
enum Written {
    Yes,
    /// Another version stood there.
    No(u64),
}

/// Key, version and value as a read answers them.
type Columns = (String, Option<i64>, Option<Vec<u8>>);

fn read((key, version, value): Columns) -> Result<(String, Stored), RequestError> {
    let damaged = || {
        RequestError::damaged(format!(
            "the control value {key:?} is not as agon writes it; remove its row by hand"
        ))
    };
    let version = version.and_then(|version| u64::try_from(version).ok()).ok_or_else(damaged)?;
    let value = value.ok_or_else(damaged)?;
    let (write, value) = value.split_first_chunk::<16>().ok_or_else(damaged)?;
    let versioned = Versioned { version, value: value.to_vec() };
    Ok((key, Stored { write: *write, versioned }))
}

/// Prepares a statement that is read or conditional. Never sent twice by the driver, since a write
/// that meets its own first copy would be told that it lost.
pub(crate) async fn prepare_serial(
    session: &Session,
    cql: String,
) -> Result<PreparedStatement, RequestError> {
    let is_read = cql.starts_with("SELECT");
    let mut prepared = session.prepare(cql).await?;
    prepared.set_consistency(if is_read { Consistency::Serial } else { Consistency::Quorum });
    prepared.set_serial_consistency(Some(SerialConsistency::Serial));
    prepared.set_is_idempotent(is_read);
    Ok(prepared)
}

/// `None` when a conditional write was carried out, else what stood in a column. Columns go by
/// their names: Cassandra answers with the old row only when it refuses, ScyllaDB always.
pub(crate) fn conditional(
    answer: scylla::response::query_result::QueryResult,
    column: &str,
) -> Result<Option<Option<CqlValue>>, RequestError> {
    let rows = answer.into_rows_result().map_err(RequestError::damaged)?;
    let index = |name| rows.column_specs().get_by_name(name).map(|(index, _)| index);
    let row: Row = rows.first_row().map_err(RequestError::damaged)?;
    let value = |name| row.columns.get(index(name)?).cloned().flatten();
    match value("[applied]") {
        Some(CqlValue::Boolean(true)) => Ok(None),
        Some(CqlValue::Boolean(false)) => Ok(Some(value(column))),
        _ => Err(RequestError::damaged("a conditional write was answered without [applied]")),
    }
}

/// Asking again while another try may help, for as long as there is patience.
struct Tries {
    attempted: String,
    give_up: Instant,
}

impl Tries {
    fn new(attempted: String) -> Tries {
        Tries { attempted, give_up: Instant::now() + PATIENCE }
    }

    /// Waits a little before the next try, or says why there is none.
    async fn after(&self, error: RequestError) -> Result<(), PortError> {
        let error = error.into_port(&self.attempted);
        if error.retry == Retry::Never || Instant::now() >= self.give_up {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

#[async_trait]
impl ControlStore for ScyllaControl {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, PortError> {
        let tries = Tries::new(format!("read control value {key:?}"));
        loop {
            match self.stored(key).await {
                Ok(stored) => return Ok(stored.map(|stored| stored.versioned)),
                Err(error) => tries.after(error).await?,
            }
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Versioned)>, PortError> {
        let tries = Tries::new(format!("list control values {prefix:?}"));
        loop {
            match self.listed(prefix).await {
                Ok(listed) => return Ok(listed),
                Err(error) => tries.after(error).await?,
            }
        }
    }

    async fn put(&self, key: &str, value: &[u8], expected: u64) -> Result<Put, PortError> {
        check_sizes(key, value)?;
        let Some(before) = i64::try_from(expected).ok().filter(|before| *before < i64::MAX) else {
            let stored = self.get(key).await?;
            return Ok(Put::Conflict(stored.map_or(0, |stored| stored.version)));
        };
        let _turn = self.turn.lock().await;
        let tries = Tries::new(format!("store control value {key:?}"));
        let write = Uuid::now_v7().into_bytes();
        let value = [&write[..], value].concat();
        match self.write(key, &value, before).await {
            Ok(Written::Yes) => return Ok(Put::Stored(expected + 1)),
            Ok(Written::No(version)) => return Ok(Put::Conflict(version)),
            Err(error) => tries.after(error).await?,
        }
        // It may have been carried out, and then a second try is refused because of the first.
        loop {
            let stored = match self.stored(key).await {
                Ok(stored) => stored,
                Err(error) => {
                    tries.after(error).await?;
                    continue;
                }
            };
            if let Some(put) = settle(stored, &write, expected, &tries)? {
                return Ok(put);
            }
            match self.write(key, &value, before).await {
                Ok(Written::Yes) => return Ok(Put::Stored(expected + 1)),
                Ok(Written::No(_)) => {}
                Err(error) => tries.after(error).await?,
            }
        }
    }
}

/// What a serial read says of a write whose answer was lost; `None` when it was not carried out and
/// never will be.
fn settle(
    stored: Option<Stored>,
    write: &[u8; 16],
    expected: u64,
    tries: &Tries,
) -> Result<Option<Put>, PortError> {
    let version = stored.as_ref().map_or(0, |stored| stored.versioned.version);
    if stored.is_some_and(|stored| stored.write == *write) {
        return Ok(Some(Put::Stored(version)));
    }
    if version == expected {
        return Ok(None);
    }
    if version == expected + 1 {
        return Ok(Some(Put::Conflict(version)));
    }
    let reason = format!(
        "the answer was lost, and version {version} stands there now; whether this write came \
         before it cannot be told: read again"
    );
    Err(PortError::later(&tries.attempted, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_is_settled_by_what_stands_there() {
        let tries = Tries::new("store".to_owned());
        let stored = |write, version| {
            let versioned = Versioned { version, value: b"same".to_vec() };
            Some(Stored { write: [write; 16], versioned })
        };
        let settle = |stored, expected| settle(stored, &[7; 16], expected, &tries);
        assert_eq!(settle(stored(7, 4), 3).unwrap(), Some(Put::Stored(4)));
        assert_eq!(settle(stored(7, 1), 0).unwrap(), Some(Put::Stored(1)));
        assert_eq!(settle(stored(8, 4), 3).unwrap(), Some(Put::Conflict(4)));
        assert_eq!(settle(stored(8, 3), 3).unwrap(), None);
        assert_eq!(settle(None, 0).unwrap(), None);
        assert_eq!(settle(stored(8, 5), 3).unwrap_err().retry, Retry::Later);
    }

    #[test]
    fn a_row_that_agon_did_not_write_is_refused() {
        let whole = Some([&[7; 16][..], b"value"].concat());
        let (key, stored) = read(("key".to_owned(), Some(3), whole.clone())).unwrap();
        assert_eq!((key.as_str(), stored.write, stored.versioned.version), ("key", [7; 16], 3));
        assert_eq!(stored.versioned.value, b"value");
        for (version, value) in
            [(None, whole.clone()), (Some(-1), whole), (Some(1), None), (Some(1), Some(vec![1]))]
        {
            let error = read(("key".to_owned(), version, value)).err().unwrap().into_port("get");
            assert_eq!(error.retry, Retry::Never, "{error}");
        }
    }
}
