//! Why a whole call was not taken.

use agon_ports::{PortError, Retry};
use thiserror::Error;

/// Why a call was not acknowledged. Nothing of it may be taken for granted; handing it in again
/// under the same ids is harmless.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IntakeError {
    /// Too much waits already; try again soon.
    #[error("take {records} events: {waiting} of {records_max} places are in use; try again soon")]
    Overloaded {
        /// Events of the call.
        records: usize,
        /// Places in use.
        waiting: usize,
        /// Places.
        records_max: usize,
    },
    /// More than the intake ever takes at once.
    #[error(
        "take {records} events of {bytes} bytes at once: at most {records_max} events and \
         {bytes_max} bytes are allowed; send fewer"
    )]
    TooMuch {
        /// Events of the call.
        records: usize,
        /// Their bytes.
        bytes: usize,
        /// Events that are allowed.
        records_max: usize,
        /// Bytes that are allowed.
        bytes_max: usize,
    },
    /// The log did not acknowledge; some of the call may be in it all the same.
    #[error("{attempted}: {reason}")]
    LogAway {
        /// What was attempted.
        attempted: String,
        /// What stood in the way.
        reason: String,
    },
    /// The log refuses for good.
    #[error("{attempted}: {reason}")]
    LogRefused {
        /// What was attempted.
        attempted: String,
        /// What stood in the way.
        reason: String,
    },
    /// The intake is closed or being closed.
    #[error("take events: the intake is closed; the server is on its way down")]
    Closed,
}

impl IntakeError {
    /// The code in answers and metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            IntakeError::Overloaded { .. } => "overloaded",
            IntakeError::TooMuch { .. } => "body_too_large",
            IntakeError::LogAway { .. } => "log_unavailable",
            IntakeError::LogRefused { .. } => "internal",
            IntakeError::Closed => "not_ready",
        }
    }

    /// Whether the same call may succeed later.
    pub const fn may_pass(&self) -> bool {
        matches!(self, IntakeError::Overloaded { .. } | IntakeError::LogAway { .. })
    }
}

impl From<PortError> for IntakeError {
    fn from(error: PortError) -> IntakeError {
        let PortError { attempted, reason, retry } = error;
        match retry {
            Retry::Later => IntakeError::LogAway { attempted, reason },
            Retry::Never => IntakeError::LogRefused { attempted, reason },
        }
    }
}
