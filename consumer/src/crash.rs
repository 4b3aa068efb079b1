//! Named points at which a test lets the process end. Without the feature `crash_points` there is
//! nothing behind the names, and the calls vanish.

use crate::config::ConsumerConfig;

/// Every name, in the order of the way.
#[cfg(feature = "crash_points")]
pub const CRASH_POINTS: [&str; 15] = [
    "assign.before_resume",
    "assign.after_resume",
    "load.after_cell",
    "fold.after_batch",
    "flush.before_send",
    "flush.after_store",
    "feed.before_publish",
    "feed.after_publish",
    "commit.before",
    "commit.after",
    "revoke.before_flush",
    "revoke.after_flush",
    "revoke.after_drop",
    "shutdown.before_flush",
    "shutdown.after_flush",
];

/// What happens at a point: called with its name, and may never return.
#[cfg(feature = "crash_points")]
#[derive(Clone)]
pub struct CrashHook(std::sync::Arc<dyn Fn(&'static str) + Send + Sync>);

#[cfg(feature = "crash_points")]
impl CrashHook {
    /// A hook.
    pub fn new(hook: impl Fn(&'static str) + Send + Sync + 'static) -> CrashHook {
        CrashHook(std::sync::Arc::new(hook))
    }
}

#[cfg(feature = "crash_points")]
impl std::fmt::Debug for CrashHook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CrashHook")
    }
}

/// Passes a point.
#[cfg(feature = "crash_points")]
pub(crate) fn point(config: &ConsumerConfig, name: &'static str) {
    if let Some(CrashHook(hook)) = &config.crash {
        hook(name);
    }
}

/// Passes a point: nothing in this build.
#[cfg(not(feature = "crash_points"))]
#[inline(always)]
pub(crate) fn point(_: &ConsumerConfig, _: &'static str) {}
