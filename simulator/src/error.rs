//! What ends a run before it has an answer.

/// Something that the run needs did not work: not a finding about the program under test.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, socket or process.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A command ended with another status than 0.
    #[error("{command} ended with {status}: {said}")]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// Its last words.
        said: String,
    },
    /// Something was awaited for too long.
    #[error("{what} after {seconds} s; the logs are in {logs}")]
    Late {
        /// What is still not so.
        what: String,
        /// How long it was awaited.
        seconds: u64,
        /// Where to look.
        logs: String,
    },
    /// An answer over HTTP that makes no sense here.
    #[error("{what}: {said}")]
    Answer {
        /// What was asked.
        what: String,
        /// What came back.
        said: String,
    },
}

impl Error {
    /// A failure of the system while doing `what`.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }
}
