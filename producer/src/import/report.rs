//! What an import did, line by line and in sum.

use std::fmt;

use agon_ports::PortError;
use serde::Serialize;
use thiserror::Error;

use crate::intake::IntakeError;

/// Bad lines that a report names; the rest is counted.
pub const NAMED_MAX: usize = 1000;

/// A line that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadLine {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong, and the remedy.
    pub what: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// Items that were read.
    pub read: u64,
    /// Of these: new in the log.
    pub appended: u64,
    /// Of these: in the log before.
    pub duplicates: u64,
    /// Of these: bad in themselves, or not counting.
    pub refused: u64,
    /// Of these: test events of the platform.
    pub skipped: u64,
    /// The first 1,000 that were refused.
    pub named: Vec<BadLine>,
    /// Refused ones beyond those.
    pub unnamed: u64,
    /// What was defined with defaults, in sentences.
    pub notes: Vec<String>,
}

/// What happens during an import.
#[derive(Clone, Copy, Debug)]
pub enum News<'a> {
    /// A line was refused.
    Bad(&'a BadLine),
    /// Something was defined with defaults.
    Note(&'a str),
    /// Some more was handed in.
    Progress(&'a ImportReport),
}

/// Why an import stopped before its end. What was reported until then stands, and importing the
/// file again goes on where it stopped.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The intake did not acknowledge.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// The log could not be searched for definitions.
    #[error(transparent)]
    Search(#[from] PortError),
    /// The server did not answer as it should.
    #[error("send to {url}: {reason}")]
    Server {
        /// Where to.
        url: String,
        /// Why, and the remedy.
        reason: String,
        /// Whether the server could not be reached, rather than refused.
        is_away: bool,
    },
    /// The HTTP client cannot be set up.
    #[error("set up the HTTP client: {0}")]
    Client(#[source] reqwest::Error),
    /// More benchmarks than one import defines.
    #[error("import {file}: it names more than {max} benchmarks; split it")]
    TooManyScopes {
        /// The file.
        file: String,
        /// The limit.
        max: usize,
    },
    /// The thread that reads the file ended by itself.
    #[error("read {file}: the reading thread failed: {reason}")]
    Reader {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
}
