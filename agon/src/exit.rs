//! How a command ends.

use std::fmt;
use std::process::ExitCode;

/// Why a command did not do what was asked. The message names the remedy.
#[derive(Debug)]
pub enum Exit {
    /// The answer is no: differences found, lines refused.
    No(String),
    /// Wrong use: an option, a value, a file of the wrong form.
    Usage(String),
    /// Something needed is not there: log, store, port, server.
    Missing(String),
}

impl Exit {
    /// Something needed is not there.
    pub fn missing(error: impl fmt::Display) -> Exit {
        Exit::Missing(error.to_string())
    }

    /// Wrong use.
    pub fn usage(error: impl fmt::Display) -> Exit {
        Exit::Usage(error.to_string())
    }

    /// The code of the process.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Exit::No(_) => 1,
            Exit::Usage(_) => 2,
            Exit::Missing(_) => 3,
        })
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::No(message) | Exit::Usage(message) | Exit::Missing(message) => {
                f.write_str(message)
            }
        }
    }
}
