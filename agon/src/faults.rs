//! Named exits, for the tests that end the process at every step. With the feature `faults`,
//! `AGON_CRASH_AT=flush.after_cells` ends it when it passes that point, and
//! `AGON_CRASH_AT=flush.after_cells:3` when it passes for the third time. Without the feature there
//! is nothing here, and the variables are unknown ones.

/// Variables that only a build with this feature knows; the other names a broken rule.
#[cfg(feature = "faults")]
pub const VARIABLES: [&str; 2] = ["AGON_CRASH_AT", "AGON_BREAK"];
/// None in a build that is used.
#[cfg(not(feature = "faults"))]
pub const VARIABLES: [&str; 0] = [];

#[cfg(feature = "faults")]
pub use exits::{consumer_hook, store_hook};

#[cfg(feature = "faults")]
mod exits {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use agon_consumer::CrashHook;
    use agon_scylla::CrashPoint;

    /// The status of a process that ended at a named point.
    const STATUS: i32 = 86;

    /// Where to end, and the passages that are left until then.
    struct Exit {
        name: String,
        left: AtomicU64,
    }

    impl Exit {
        fn named() -> Option<Arc<Exit>> {
            let text = std::env::var("AGON_CRASH_AT").ok()?;
            let (name, times) = match text.split_once(':') {
                Some((name, times)) => (name.to_owned(), times.parse().unwrap_or(1)),
                None => (text, 1),
            };
            Some(Arc::new(Exit { name, left: AtomicU64::new(times) }))
        }

        fn pass(&self, name: &str) {
            if name == self.name && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
                crate::output::say(format_args!("ends at {name}"));
                std::process::exit(STATUS);
            }
        }
    }

    /// Ends the process at a point of the consumer.
    pub fn consumer_hook() -> Option<CrashHook> {
        let exit = Exit::named()?;
        Some(CrashHook::new(move |name| exit.pass(name)))
    }

    /// Ends the process at a point of the store.
    pub fn store_hook() -> Option<CrashPoint> {
        let exit = Exit::named()?;
        Some(Arc::new(move |name| exit.pass(name)))
    }
}
