//! One suite a port: what its contract promises, as tests that every adapter passes by one line.
//!
//! ```text
//! agon_ports::event_log_conformance!(make_fixture);
//! ```
//! The macro makes one `#[tokio::test]` a case, so a failure has the name of the law it broke.
//! `make_fixture` is a function without parameters; each case gets a fixture of its own.
//! Where the other side may be absent, `skipped_when: is_absent` names a function that says so, and
//! prints why: `event_log_conformance!(make_fixture, skipped_when: no_broker);`.
//! The crate that calls it needs `tokio` with `macros` and `rt-multi-thread`.

pub mod change_feed;
pub mod control_store;
pub mod event_log;
mod event_log_checks;
pub mod event_log_reading;
pub mod group;
pub mod projection_store;
pub mod projection_store_reading;
mod projection_store_rows;
pub mod store_inspector;

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use crate::{PortError, Retry};

/// How long a case waits for what must come; only a failing case ever waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Makes the tests of a suite; called by the suites' own macros.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    (
        $module:ident,
        $make:expr $(, skipped_when: $is_absent:expr)?;
        $($suite:ident :: $case:ident,)+
    ) => {
        $crate::conformance_cases! {
            @($make)
            // One function for all cases: a repetition cannot stand within another.
            (|| false $(|| ($is_absent)())?)
            $module, $($suite :: $case,)+
        }
    };
    (@($make:expr) ($is_absent:expr) $module:ident, $($suite:ident :: $case:ident,)+) => {
        mod $module {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    if ($is_absent)() {
                        return;
                    }
                    $crate::conformance::$suite::$case(($make)()).await;
                }
            )+
        }
    };
}

/// Polls a future so many times and then drops it, as a caller does that goes away.
pub(crate) async fn abandon_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        let polled = future.as_mut().poll(context).map(Some);
        if polled.is_pending() {
            context.waker().wake_by_ref();
        }
        polled
    })
    .await
}

/// The call was refused for good, with words that help.
pub(crate) fn assert_refused<T>(answer: Result<T, PortError>, what: &str) {
    let Err(error) = answer else { panic!("{what} was not refused") };
    assert_eq!(error.retry, Retry::Never, "{what}: {error}");
    assert!(!error.attempted.is_empty() && !error.reason.is_empty(), "{what}: {error:?}");
}

#[cfg(test)]
mod tests {
    /// A case that no macro lists would never run.
    #[test]
    fn the_macros_list_every_case() {
        let event_log = include_str!("event_log.rs");
        let store = include_str!("projection_store.rs");
        let store_reading = include_str!("projection_store_reading.rs");
        let inspector = include_str!("store_inspector.rs");
        let feed = include_str!("change_feed.rs");
        let group = include_str!("group.rs");
        let suites = [
            ("event_log", event_log, event_log),
            ("event_log_reading", include_str!("event_log_reading.rs"), event_log),
            ("control_store", include_str!("control_store.rs"), include_str!("control_store.rs")),
            ("projection_store", store, store),
            ("projection_store_reading", store_reading, store),
            ("store_inspector", inspector, inspector),
            ("change_feed", feed, feed),
            ("group", group, group),
        ];
        for (suite, source, lists) in suites {
            let mut cases = 0;
            for line in source.lines() {
                let Some(rest) = line.strip_prefix("pub async fn ") else { continue };
                let case = rest.split('(').next().unwrap();
                let listed = format!("            {suite}::{case},");
                assert!(lists.lines().any(|line| line == listed), "{suite}::{case} is not listed");
                cases += 1;
            }
            assert!(cases > 4, "{suite} has {cases} cases");
        }
    }
}
