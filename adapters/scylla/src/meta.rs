//! What a keyspace belongs to: which log is folded into it, into how many partitions, under which
//! epoch of stamps and in which form. Recorded once by `agon init`, compared by everyone else.
//!
//! ```text
//! meta   key = "log" -> "schema 1 log 0199…-… partitions 16 epoch 0"
//! ```
//! One value, so that a conditional write replaces all of it or nothing.

use std::str::FromStr;

use agon_schema::LogId;
use scylla::client::session::Session;
use scylla::value::CqlValue;
use uuid::Uuid;

use crate::control::{conditional, prepare_serial};
use crate::error::{OpenError, RequestError};
use crate::stamp::LOG_EPOCH_MAX;
use crate::{CqlAddress, LogFacts, tables};

/// The form of what the tables hold. Another number is another store.
const SCHEMA: u32 = 1;
/// Under which key the facts stand.
const KEY: &str = "log";
/// Tries of a conditional write whose answer was lost, or that met another.
const ATTEMPTS_MAX: usize = 5;

/// The recorded facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The log.
    pub(crate) log: LogFacts,
    /// The epoch of its stamps.
    pub(crate) log_epoch: u32,
}

impl Facts {
    fn to_text(self) -> String {
        let Facts { log: LogFacts { id, partitions }, log_epoch } = self;
        format!("schema {SCHEMA} log {id} partitions {partitions} epoch {log_epoch}")
    }

    /// The facts of a text, or what is wrong with it.
    fn of_text(text: &str) -> Result<Facts, String> {
        let parts: Vec<&str> = text.split(' ').collect();
        let ["schema", schema, "log", id, "partitions", partitions, "epoch", epoch] = parts[..]
        else {
            return Err(format!("{text:?} is not as agon init records it"));
        };
        if schema != SCHEMA.to_string() {
            return Err(format!("it has schema {schema}, and this agon reads schema {SCHEMA}"));
        }
        let number = |text: &str| u32::from_str(text).map_err(|_| format!("{text:?} is no number"));
        let id = Uuid::from_str(id).map_err(|_| format!("{id:?} is no id of a log"))?;
        let log = LogFacts { id: LogId(id), partitions: number(partitions)? };
        Ok(Facts { log, log_epoch: number(epoch)? })
    }

    /// Refuses a keyspace that was made for another log.
    ///
    /// # Errors
    /// Another log, another number of partitions.
    pub(crate) fn check(self, address: &CqlAddress, log: LogFacts) -> Result<(), OpenError> {
        let address = address.clone();
        if self.log.id != log.id {
            return Err(OpenError::OtherLog { address, found: self.log.id, expected: log.id });
        }
        if self.log.partitions != log.partitions {
            let (found, expected) = (self.log.partitions, log.partitions);
            return Err(OpenError::OtherPartitions { address, found, expected });
        }
        Ok(())
    }
}

/// The facts of a keyspace.
///
/// # Errors
/// [`OpenError::NotMade`] when nobody recorded any, or none that can be read.
pub(crate) async fn read(session: &Session, address: &CqlAddress) -> Result<Facts, OpenError> {
    match recorded(session, address).await? {
        Some(text) => facts(address, &text),
        None => Err(OpenError::NotMade {
            address: address.clone(),
            keyspace: address.keyspace().to_owned(),
            what: "does not say whose log it holds".to_owned(),
        }),
    }
}

/// Records a log where none is recorded, and compares it where one is. With `new_epoch` the log is
/// taken as it is now, under the next epoch; what was folded before must be given up first.
///
/// # Errors
/// Another log, another number of partitions, no epoch left.
pub(crate) async fn record(
    session: &Session,
    address: &CqlAddress,
    log: LogFacts,
    new_epoch: bool,
) -> Result<Facts, OpenError> {
    let before = recorded(session, address).await?;
    let first = Facts { log, log_epoch: 0 };
    let wanted = match &before {
        None => first,
        Some(text) => {
            let found = facts(address, text)?;
            if !new_epoch {
                return found.check(address, log).map(|()| found);
            }
            Facts { log, log_epoch: found.log_epoch + 1 }
        }
    };
    if wanted.log_epoch > LOG_EPOCH_MAX {
        return Err(OpenError::Differs {
            address: address.clone(),
            what: format!("the epoch of keyspace {}", address.keyspace()),
            found: (wanted.log_epoch - 1).to_string(),
            expected: format!("below {LOG_EPOCH_MAX}, to raise it"),
        });
    }
    let failed = |error: RequestError| OpenError::request(address, "record the log", error);
    for _ in 0..ATTEMPTS_MAX {
        match write(session, address, before.as_deref(), &wanted.to_text()).await {
            Ok(()) => {}
            Err(error) => match failed(error) {
                OpenError::Away { reason, .. } => {
                    tracing::debug!(%reason, "the record of the log was not answered");
                }
                refused => return Err(refused),
            },
        }
        // The answer may be lost and the write carried out, by us or by another one.
        if recorded(session, address).await? != before {
            let found = read(session, address).await?;
            return found.check(address, log).map(|()| found);
        }
    }
    Err(failed(RequestError::damaged(format!("{ATTEMPTS_MAX} tries had no effect"))))
}

fn facts(address: &CqlAddress, text: &str) -> Result<Facts, OpenError> {
    let damaged = |what| OpenError::Damaged { address: address.clone(), what };
    Facts::of_text(text).map_err(damaged)
}

/// What is recorded now.
async fn recorded(session: &Session, address: &CqlAddress) -> Result<Option<String>, OpenError> {
    let table = format!("{}.{}", address.keyspace(), tables::META.name);
    let read = async {
        let cql = format!("SELECT value FROM {table} WHERE key = ?");
        let prepared = prepare_serial(session, cql).await?;
        let answer = session.execute_unpaged(&prepared, (KEY,)).await?;
        let rows = answer.into_rows_result().map_err(RequestError::damaged)?;
        rows.maybe_first_row::<(Option<String>,)>().map_err(RequestError::damaged)
    };
    let row = read.await.map_err(|e| OpenError::request(address, "read whose log it holds", e))?;
    Ok(row.and_then(|(value,)| value))
}

/// Writes a record if what stands there is as before. Whether it was is seen by reading.
async fn write(
    session: &Session,
    address: &CqlAddress,
    before: Option<&str>,
    text: &str,
) -> Result<(), RequestError> {
    let table = format!("{}.{}", address.keyspace(), tables::META.name);
    let answer = if let Some(before) = before {
        let cql = format!("UPDATE {table} SET value = ? WHERE key = ? IF value = ?");
        let prepared = prepare_serial(session, cql).await?;
        session.execute_unpaged(&prepared, (text, KEY, before)).await?
    } else {
        let cql = format!("INSERT INTO {table} (key, value) VALUES (?, ?) IF NOT EXISTS");
        let prepared = prepare_serial(session, cql).await?;
        session.execute_unpaged(&prepared, (KEY, text)).await?
    };
    let found: Option<Option<CqlValue>> = conditional(answer, "value")?;
    if let Some(found) = found {
        tracing::debug!(?found, "another one recorded a log first");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogFacts = LogFacts { id: LogId(Uuid::from_u128(7)), partitions: 16 };

    #[test]
    fn facts_are_read_as_they_were_written() {
        for log_epoch in [0, 1, LOG_EPOCH_MAX] {
            let facts = Facts { log: LOG, log_epoch };
            assert_eq!(Facts::of_text(&facts.to_text()), Ok(facts));
        }
        for text in [
            "",
            "schema 1",
            "schema 2 log 00000000-0000-0000-0000-000000000007 partitions 16 epoch 0",
            "schema 1 log seven partitions 16 epoch 0",
            "schema 1 log 00000000-0000-0000-0000-000000000007 partitions -1 epoch 0",
            "schema 1 log 00000000-0000-0000-0000-000000000007 partitions 16 epoch 0 more",
        ] {
            assert!(Facts::of_text(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn another_log_or_partition_count_is_refused_with_both() {
        let address: CqlAddress = "cql://db:9042/agon".parse().unwrap();
        let facts = Facts { log: LOG, log_epoch: 3 };
        facts.check(&address, LOG).unwrap();
        let other = LogFacts { id: LogId(Uuid::from_u128(8)), ..LOG };
        let error = facts.check(&address, other).unwrap_err().to_string();
        for named in [LOG.id, other.id] {
            assert!(error.contains(&named.to_string()), "{error}");
        }
        let error = facts.check(&address, LogFacts { partitions: 4, ..LOG }).unwrap_err();
        assert!(error.to_string().contains("16") && error.to_string().contains('4'), "{error}");
    }
}
