//! Negative controls: ways of breaking the protocol on purpose, so that the suites which guard it
//! can be seen to fail. Compiled only with the feature `controls`, which no release has.
//!
//! The environment variable `AGON_BREAK` names one of [`CONTROLS`]; it is read once.

use std::sync::OnceLock;

/// What this crate can break.
pub const CONTROLS: [&str; 4] = [
    // Positions are told to the log before the flush that covers them is sent.
    "commit_before_flush",
    // What a member held in memory serves again when a partition comes back.
    "memory_kept_after_revoke",
    // Records that the stored cell holds already are folded into it again.
    "no_replay_skip",
    // The record at the stored position may be any.
    "no_record_hash",
];

/// Whether this is what is broken.
pub(crate) fn is_broken(control: &str) -> bool {
    static BROKEN: OnceLock<Option<String>> = OnceLock::new();
    let broken = BROKEN.get_or_init(|| std::env::var("AGON_BREAK").ok());
    broken.as_deref() == Some(control)
}
