//! Log lines on standard error, as text or JSON, and the filter that says which of them: given at
//! the start, changed while the process runs. Logging is of the process, so the filter is too.

use std::io::IsTerminal;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::cli::{Common, LogFormat};
use crate::exit::Exit;
use crate::traces;

/// What the clients of servers say of every connection and every attempt; what comes of it the
/// ports' errors say once. Spans of traces are for a collector. A filter that names them comes
/// later and wins: `info,rdkafka=debug`.
const QUIET: &str = "scylla=off,rdkafka=off,agon::spans=off";
/// The target of lines that say who changed what; no filter hides them.
pub const AUDIT: &str = "agon::audit";
/// Bytes of a filter at most.
const FILTER_BYTES_MAX: usize = 1024;

static LOG_LEVEL: OnceLock<LogLevel> = OnceLock::new();

/// The filter of this process.
pub struct LogLevel {
    filter: Mutex<String>,
    reload: reload::Handle<EnvFilter, Registry>,
}

impl LogLevel {
    /// That of this process, once logging has started.
    pub fn of_process() -> Option<&'static LogLevel> {
        LOG_LEVEL.get()
    }

    /// As it was given last.
    pub fn filter(&self) -> String {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Logs by another filter from now on; answers the one before.
    ///
    /// # Errors
    /// What is wrong with the text, with a remedy; nothing has changed.
    pub fn set(&self, text: &str) -> Result<String, String> {
        let filter = parse(text)?;
        let mut shown = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        self.reload.reload(filter).map_err(|error| error.to_string())?;
        Ok(std::mem::replace(&mut *shown, text.to_owned()))
    }
}

/// Starts logging.
///
/// # Errors
/// A filter that cannot be read.
pub fn start(common: &Common) -> Result<(), Exit> {
    let filter = parse(&common.log_level)
        .map_err(|reason| Exit::Usage(format!("--log-level {:?}: {reason}", common.log_level)))?;
    let (filter, reload) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match common.log_format {
        LogFormat::Text => {
            let lines = lines.with_ansi(std::io::stderr().is_terminal()).with_target(false);
            lines.with_filter(filter).boxed()
        }
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let logged = tracing_subscriber::registry().with(lines);
    let started = match traces::layer() {
        Some(traced) => logged.with(traced).try_init(),
        None => logged.try_init(),
    };
    started.map_err(|error| Exit::missing(format!("start logging: {error}")))?;
    let level = LogLevel { filter: Mutex::new(common.log_level.clone()), reload };
    // Only the first start of a process gets here.
    let _ = LOG_LEVEL.set(level);
    Ok(())
}

/// Reads a filter: levels and `TARGET=LEVEL`, with commas between.
fn parse(text: &str) -> Result<EnvFilter, String> {
    const REMEDY: &str = "write off, error, warn, info, debug or trace, or TARGET=LEVEL, \
                          such as info,agon_edge=debug";
    if text.len() > FILTER_BYTES_MAX {
        return Err(format!("at most {FILTER_BYTES_MAX} bytes; {REMEDY}"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("control characters are not allowed; {REMEDY}"));
    }
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    for part in &parts {
        // A word alone would be a target of which all is shown, and nothing of all others: hardly
        // ever what was meant.
        let is_level = !part.is_empty() && part.parse::<LevelFilter>().is_ok();
        if !is_level && !part.contains(['=', '[']) {
            return Err(format!("{part:?} is no level; {REMEDY}"));
        }
    }
    let whole = format!("{QUIET},{},{AUDIT}=info", parts.join(","));
    EnvFilter::try_new(whole).map_err(|error| format!("{error}; {REMEDY}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_targets_are_read_and_words_are_not() {
        for good in [
            "info",
            "OFF",
            "warn,agon_edge=debug",
            "info, agon_api::held=trace ,rdkafka=debug",
            "info,[request{route=/login}]=debug",
        ] {
            assert!(parse(good).is_ok(), "{good}: {:?}", parse(good).err());
        }
        let long = "info,".repeat(300);
        for bad in ["", "verbose", "inof", "info,", "agon_edge", "==", "a=b=c", "i\nnfo", &long] {
            let said = parse(bad).map(|filter| filter.to_string()).unwrap_err();
            assert!(said.contains("info,agon_edge=debug"), "{bad:?}: {said}");
        }
    }

    #[test]
    fn what_a_filter_names_wins_but_the_audit_stays() {
        let filter = parse("off,rdkafka=debug,agon::audit=off").unwrap().to_string();
        let parts: Vec<&str> = filter.split(',').collect();
        for expected in ["off", "rdkafka=debug", "scylla=off", "agon::audit=info"] {
            assert!(parts.contains(&expected), "{expected}: {filter}");
        }
        assert!(!parts.contains(&"agon::audit=off"), "{filter}");
    }
}
