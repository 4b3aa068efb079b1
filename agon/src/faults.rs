//! Named exits and rules to break, for the tests that must notice. With the feature `faults`,
//! `AGON_CRASH_AT=flush.after_cells` ends the process when it passes that point,
//! `AGON_CRASH_AT=flush.after_cells:3` when it passes for the third time, and `AGON_BREAK` names a
//! rule of the protocol that is broken. Without the feature there is nothing here, and the
//! variables are unknown ones.

#[cfg(feature = "faults")]
pub use exits::{consumer_hook, knows, store_hook};

/// Whether this variable is one of these: none is, in a build that is used.
#[cfg(not(feature = "faults"))]
pub fn knows(_: &str) -> Result<bool, crate::exit::Exit> {
    Ok(false)
}

#[cfg(feature = "faults")]
mod exits {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use agon_consumer::CrashHook;
    use agon_scylla::CrashPoint;

    use crate::exit::Exit;

    /// The status of a process that ended at a named point.
    const STATUS: i32 = 86;
    const CRASH_AT: &str = "AGON_CRASH_AT";
    const BREAK: &str = "AGON_BREAK";

    /// Where to end, and the passages that are left until then.
    struct Ending {
        name: String,
        left: AtomicU64,
    }

    impl Ending {
        /// The one that is asked for; `knows` has refused what cannot be read.
        fn named() -> Option<Arc<Ending>> {
            let (name, left) = ending(&value(CRASH_AT)?)?;
            Some(Arc::new(Ending { name, left: AtomicU64::new(left) }))
        }

        fn pass(&self, name: &str) {
            if name == self.name && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
                crate::output::say(format_args!("ends at {name}"));
                std::process::exit(STATUS);
            }
        }
    }

    fn value(variable: &str) -> Option<String> {
        std::env::var_os(variable).map(|value| value.to_string_lossy().into_owned())
    }

    fn points() -> Vec<&'static str> {
        agon_consumer::CRASH_POINTS.into_iter().chain(agon_scylla::CRASH_POINTS).collect()
    }

    fn rules() -> Vec<&'static str> {
        agon_consumer::controls::CONTROLS.into_iter().chain(agon_scylla::CONTROLS).collect()
    }

    /// A point and which passage of it, from 1.
    fn ending(text: &str) -> Option<(String, u64)> {
        let (name, times) = text.split_once(':').unwrap_or((text, "1"));
        let times = times.parse().ok().filter(|times| *times > 0)?;
        points().contains(&name).then(|| (name.to_owned(), times))
    }

    /// Whether this variable is one of these; then it must name something that there is, since a
    /// test whose fault never comes shows nothing.
    ///
    /// # Errors
    /// It names nothing that there is.
    pub fn knows(variable: &str) -> Result<bool, Exit> {
        let text = value(variable).unwrap_or_default();
        let (is_known, form, names) = match variable {
            CRASH_AT => (ending(&text).is_some(), "POINT or POINT:PASSAGE, from 1", points()),
            BREAK => (rules().contains(&&*text), "RULE", rules()),
            _ => return Ok(false),
        };
        if is_known {
            return Ok(true);
        }
        let names = names.join(", ");
        Err(Exit::Usage(format!("{variable} is '{text}', not {form}; there are: {names}")))
    }

    /// Ends the process at a point of the consumer.
    pub fn consumer_hook() -> Option<CrashHook> {
        let ending = Ending::named()?;
        Some(CrashHook::new(move |name| ending.pass(name)))
    }

    /// Ends the process at a point of the store.
    pub fn store_hook() -> Option<CrashPoint> {
        let ending = Ending::named()?;
        Some(Arc::new(move |name| ending.pass(name)))
    }
}
