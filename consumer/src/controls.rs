//! Negative controls: ways of breaking the protocol on purpose, so that the suites which guard it
//! can be seen to fail. Compiled only with the feature `controls`, which no release has.
//!
//! The environment variable `AGON_BREAK` names one of [`CONTROLS`]; it is read once.

use std::sync::{Arc, OnceLock};

use agon_ports::{Assignment, PortError};
use futures::future::BoxFuture;

use crate::config::ConsumerConfig;

/// What this crate can break.
pub const CONTROLS: [&str; 5] = [
    // Positions are told to the log before the flush that covers them is sent.
    "commit_before_flush",
    // What a member held in memory serves again when a partition comes back.
    "memory_kept_after_revoke",
    // Records that the stored cell holds already are folded into it again.
    "no_replay_skip",
    // The record at the stored position may be any.
    "no_record_hash",
    // Workers begin where the group's broker was told that they are, not where the store stands.
    "resume_from_broker",
];

type Asked = BoxFuture<'static, Result<Assignment, PortError>>;

/// Asks the group's broker what it was told of stored positions. Nothing may begin from it.
#[derive(Clone)]
pub struct BrokerOffsets(Arc<dyn Fn() -> Asked + Send + Sync>);

impl BrokerOffsets {
    /// What asks.
    pub fn new<A>(ask: impl Fn() -> A + Send + Sync + 'static) -> BrokerOffsets
    where
        A: Future<Output = Result<Assignment, PortError>> + Send + 'static,
    {
        BrokerOffsets(Arc::new(move || Box::pin(ask())))
    }
}

impl std::fmt::Debug for BrokerOffsets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BrokerOffsets")
    }
}

/// From where workers read: from the stored positions, unless the broker's are resumed from.
pub(crate) async fn begin(
    config: &ConsumerConfig,
    stored: Assignment,
) -> Result<Assignment, PortError> {
    let Some(BrokerOffsets(ask)) = &config.broker_offsets else { return Ok(stored) };
    if !is_broken("resume_from_broker") {
        return Ok(stored);
    }
    let told = ask().await?;
    Ok(stored.into_keys().map(|source| (source, told.get(&source).copied().unwrap_or(0))).collect())
}

/// Whether this is what is broken.
pub(crate) fn is_broken(control: &str) -> bool {
    static BROKEN: OnceLock<Option<String>> = OnceLock::new();
    let broken = BROKEN.get_or_init(|| std::env::var("AGON_BREAK").ok());
    broken.as_deref() == Some(control)
}
