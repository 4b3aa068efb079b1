//! Log lines on standard error, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::{Common, LogFormat};
use crate::exit::Exit;

/// What the clients of servers say of every connection and every attempt; what comes of it the
/// ports' errors say once. A filter that names them comes later and wins: `info,rdkafka=debug`.
const QUIET: &str = "scylla=off,rdkafka=off";

/// Starts logging.
///
/// # Errors
/// A filter that cannot be read.
pub fn start(common: &Common) -> Result<(), Exit> {
    let filter = EnvFilter::try_new(format!("{QUIET},{}", common.log_level)).map_err(|error| {
        Exit::Usage(format!("--log-level {:?}: {error}; try info or debug", common.log_level))
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match common.log_format {
        LogFormat::Text => {
            builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Exit::missing(format!("start logging: {error}")))
}
