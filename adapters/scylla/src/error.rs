//! Why a store cannot be opened or made, and what a failed request means to the caller.

use agon_ports::PortError;
use agon_schema::LogId;
use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError,
    MetadataError, NewSessionError, PrepareError, RequestAttemptError,
};
use thiserror::Error;

use crate::CqlAddress;

/// The remedy for missing rights.
const GRANT: &str = "grant the user of --store-user SELECT and MODIFY on the keyspace (and CREATE \
                     on all keyspaces for `agon init`), or name another with --store-user";

/// Why [`init`](crate::init()) or [`ScyllaStore::open`](crate::ScyllaStore::open) refuses.
#[derive(Debug, Error)]
pub enum OpenError {
    /// No node answers, or none as it should.
    #[error(
        "{address} does not answer ({attempted}): {reason}; check that it runs there and speaks \
         CQL without TLS, or name another with --store"
    )]
    Away {
        /// The store.
        address: CqlAddress,
        /// What was asked.
        attempted: String,
        /// What came instead.
        reason: String,
    },
    /// The store does not know us: no user, an unknown one, or a wrong password.
    #[error(
        "{address} refuses the login: {reason}; {}",
        match .user {
            Some(user) => format!("check --store-user {user} and AGON_STORE_PASSWORD"),
            None => "set --store-user and AGON_STORE_PASSWORD".to_owned(),
        }
    )]
    Login {
        /// The store.
        address: CqlAddress,
        /// As whom, if as anyone.
        user: Option<String>,
        /// What it said.
        reason: String,
    },
    /// The store answers, and refuses.
    #[error("{address} refuses ({attempted}): {reason}")]
    Refused {
        /// The store.
        address: CqlAddress,
        /// What was asked.
        attempted: String,
        /// What it said.
        reason: String,
    },
    /// There is no such keyspace, or `agon init` did not make it, or not to its end.
    #[error("{address}: keyspace {keyspace} {what}; run `agon init` with this --store")]
    NotMade {
        /// The store.
        address: CqlAddress,
        /// The keyspace.
        keyspace: String,
        /// What is missing.
        what: String,
    },
    /// Something is there and is not what `agon init` makes.
    #[error("{address}: {what} is {found}, expected {expected}; name another keyspace in --store")]
    Differs {
        /// The store.
        address: CqlAddress,
        /// Which table, column or setting.
        what: String,
        /// As it is.
        found: String,
        /// As it should be.
        expected: String,
    },
    /// The keyspace belongs to another log.
    #[error(
        "{address}: the keyspace belongs to log {found}, not to {expected}; name another keyspace \
         in --store, or run `agon init --new-epoch` to give this one up for the new log"
    )]
    OtherLog {
        /// The store.
        address: CqlAddress,
        /// The recorded log.
        found: LogId,
        /// The log that is to be folded.
        expected: LogId,
    },
    /// The log had another number of partitions.
    #[error(
        "{address}: the keyspace was made for {found} partitions a topic, and the log has \
         {expected}; the number cannot change, since keys would move"
    )]
    OtherPartitions {
        /// The store.
        address: CqlAddress,
        /// The recorded number.
        found: u32,
        /// The log's.
        expected: u32,
    },
    /// What was recorded about the keyspace cannot be read, or something of it is gone.
    #[error("{address}: the keyspace cannot be used: {what}")]
    Damaged {
        /// The store.
        address: CqlAddress,
        /// What was found.
        what: String,
    },
}

impl OpenError {
    /// Whether waiting may help: the store is away, or nobody ran `agon init` yet.
    pub fn may_pass(&self) -> bool {
        matches!(self, OpenError::Away { .. } | OpenError::NotMade { .. })
    }

    /// Whether waiting a little may help: a new Cassandra makes its first user some seconds after
    /// it first answers.
    pub fn may_pass_soon(&self) -> bool {
        self.may_pass() || matches!(self, OpenError::Login { .. })
    }

    /// No session came to be.
    pub(crate) fn connecting(address: &CqlAddress, error: &NewSessionError) -> OpenError {
        if let Some(reason) = refused_login(error) {
            let user = address.login().map(|(user, _)| user.to_owned());
            return OpenError::Login { address: address.clone(), user, reason };
        }
        let attempted = "connect".to_owned();
        OpenError::Away { address: address.clone(), attempted, reason: error.to_string() }
    }

    /// A request failed.
    pub(crate) fn request(
        address: &CqlAddress,
        attempted: impl Into<String>,
        error: impl Into<RequestError>,
    ) -> OpenError {
        let (address, attempted, error) = (address.clone(), attempted.into(), error.into());
        let reason = error.reason;
        match error.may_pass {
            true => OpenError::Away { address, attempted, reason },
            false => OpenError::Refused { address, attempted, reason },
        }
    }
}

/// What became of a request that was not answered well.
#[derive(Debug)]
pub(crate) struct RequestError {
    reason: String,
    may_pass: bool,
}

impl RequestError {
    /// What stands in the store is not what was written there.
    pub(crate) fn damaged(reason: impl ToString) -> RequestError {
        RequestError { reason: reason.to_string(), may_pass: false }
    }

    /// Something came in between.
    pub(crate) fn passing(reason: impl ToString) -> RequestError {
        RequestError { reason: reason.to_string(), may_pass: true }
    }

    /// What one node said, or that it said nothing.
    fn of_attempt(error: &RequestAttemptError) -> RequestError {
        let reason = match error {
            RequestAttemptError::DbError(DbError::Unauthorized, said) => format!("{said}; {GRANT}"),
            error => error.to_string(),
        };
        RequestError { reason, may_pass: attempt_may_pass(error) }
    }

    /// Whether the same request may succeed later.
    pub(crate) fn may_pass(&self) -> bool {
        self.may_pass
    }

    /// The error of a port. A request whose outcome is not known may pass: what it wrote may be
    /// written again.
    pub(crate) fn into_port(self, attempted: impl Into<String>) -> PortError {
        match self.may_pass {
            true => PortError::later(attempted, self.reason),
            false => PortError::never(attempted, self.reason),
        }
    }
}

impl From<ExecutionError> for RequestError {
    fn from(error: ExecutionError) -> RequestError {
        let may_pass = match &error {
            ExecutionError::BadQuery(_) | ExecutionError::UseKeyspaceError(_) => false,
            ExecutionError::LastAttemptError(error) => return RequestError::of_attempt(error),
            _ => true,
        };
        RequestError { reason: error.to_string(), may_pass }
    }
}

impl From<PrepareError> for RequestError {
    fn from(error: PrepareError) -> RequestError {
        match &error {
            PrepareError::AllAttemptsFailed { first_attempt } => {
                RequestError::of_attempt(first_attempt)
            }
            _ => RequestError::passing(error),
        }
    }
}

/// Whether the same request may succeed later.
fn attempt_may_pass(error: &RequestAttemptError) -> bool {
    match error {
        RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_) => false,
        // A node that was away when the tables were made learns of them late; that they were made
        // is looked at before anything else is asked.
        RequestAttemptError::DbError(DbError::Invalid, said) => {
            ["does not exist", "unconfigured table"].iter().any(|late| said.contains(late))
        }
        RequestAttemptError::DbError(error, _) => !matches!(
            error,
            DbError::SyntaxError
                | DbError::AlreadyExists { .. }
                | DbError::AuthenticationError
                | DbError::Unauthorized
                | DbError::ConfigError
        ),
        _ => true,
    }
}

/// What a node said when it refused to let us in; none for any other failure.
fn refused_login(error: &NewSessionError) -> Option<String> {
    use ConnectionSetupRequestErrorKind as Setup;
    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(pool)) = error else {
        return None;
    };
    let ConnectionPoolError::Broken { last_connection_error, .. } = pool else { return None };
    let ConnectionError::ConnectionSetupRequestError(setup) = last_connection_error else {
        return None;
    };
    match &setup.error {
        Setup::DbError(DbError::AuthenticationError, said) => Some(said.clone()),
        Setup::MissingAuthentication => Some("it asks for a user and a password".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_does_not_know_the_tables_yet_may_learn_of_them() {
        let may_pass = |said: &str| {
            attempt_may_pass(&RequestAttemptError::DbError(DbError::Invalid, said.to_owned()))
        };
        assert!(may_pass("keyspace agon does not exist"));
        assert!(may_pass("unconfigured table cells"));
        assert!(!may_pass("Undefined column name chunk in table agon.history"));
    }
}
