//! The one error of all ports: what was attempted, why it failed, and whether to try again.

use thiserror::Error;

/// Whether trying the same call again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The other side is away or slow: the same call may succeed later.
    Later,
    /// The call itself is refused; it will be refused again.
    Never,
}

/// Why a port could not do what was asked.
#[derive(Debug, Error)]
#[error("{attempted}: {reason}")]
pub struct PortError {
    /// What was attempted, with its data: `append 12 records`.
    pub attempted: String,
    /// What stood in the way, and the remedy where one is known.
    pub reason: String,
    /// Whether trying again may help.
    pub retry: Retry,
}

impl PortError {
    /// A failure that may pass by itself.
    pub fn later(attempted: impl Into<String>, reason: impl ToString) -> PortError {
        PortError { attempted: attempted.into(), reason: reason.to_string(), retry: Retry::Later }
    }

    /// A failure that repeating the call cannot mend.
    pub fn never(attempted: impl Into<String>, reason: impl ToString) -> PortError {
        PortError { attempted: attempted.into(), reason: reason.to_string(), retry: Retry::Never }
    }
}
