//! What a worker does next: a pure decision over what it sees of itself.

use crate::config::ConsumerConfig;

/// Everything that the decision depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Rows that wait for a flush.
    pub dirty_rows: usize,
    /// Bytes of the records behind them.
    pub dirty_bytes: usize,
    /// Age of the oldest unflushed record; `None` when everything is flushed or under way.
    pub dirty_age_ms: Option<u64>,
    /// Where the flush before stands.
    pub sending: Sending,
    /// How long until the log may be read again after it failed; 0 when it did not.
    pub read_again_in_ms: u64,
    /// How long until progress is told to the feed again; 0 when it is time.
    pub beat_in_ms: u64,
    /// Whether intake has stopped and only what was read is still to be stored.
    pub is_stopping: bool,
}

/// Where the last flush stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sending {
    /// None is under way.
    #[default]
    Idle,
    /// It was sent and is not answered.
    UnderWay,
    /// It failed or its outcome is unknown; the same one is sent again after this time.
    Failed {
        /// Until then.
        again_in_ms: u64,
    },
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read and fold; come back after `wait_ms` at the latest, or when the flush is answered.
    Read {
        /// At most.
        wait_ms: u64,
    },
    /// Tell the feed how far everything is stored.
    Beat,
    /// Hand out what is dirty as a flush.
    Flush,
    /// Send the failed flush again.
    Resend,
    /// Wait for the answer, at most so long: memory is full.
    AwaitFlush {
        /// At most.
        wait_ms: u64,
    },
    /// Wait: nothing else can be done for so long.
    Pause {
        /// At most.
        wait_ms: u64,
    },
    /// Everything that was read is stored.
    Stop,
}

/// Decides. The same look gives the same step.
pub fn next_step(look: &Look, config: &ConsumerConfig) -> Step {
    if let Sending::Failed { again_in_ms: 0 } = look.sending {
        return Step::Resend;
    }
    if look.beat_in_ms == 0 && !look.is_stopping {
        return Step::Beat;
    }
    let until_beat_ms = if look.is_stopping { u64::MAX } else { look.beat_in_ms };
    let is_clean = look.dirty_age_ms.is_none();
    let is_full =
        look.dirty_rows >= config.flush_rows_max || look.dirty_bytes >= config.flush_bytes_max;
    let is_due = is_full
        || look.is_stopping
        || look.dirty_age_ms.is_some_and(|age_ms| age_ms >= config.flush_interval_ms);
    match look.sending {
        Sending::Idle if !is_clean && is_due => return Step::Flush,
        Sending::Idle if look.is_stopping => return Step::Stop,
        Sending::UnderWay if is_full || look.is_stopping => {
            return Step::AwaitFlush { wait_ms: until_beat_ms };
        }
        Sending::Failed { again_in_ms } if is_full || look.is_stopping => {
            return Step::Pause { wait_ms: again_in_ms.min(until_beat_ms) };
        }
        _ => {}
    }
    let mut wait_ms = config.idle_wait_ms.min(until_beat_ms);
    if let (Sending::Idle, Some(age_ms)) = (look.sending, look.dirty_age_ms) {
        wait_ms = wait_ms.min(config.flush_interval_ms - age_ms);
    }
    if let Sending::Failed { again_in_ms } = look.sending {
        wait_ms = wait_ms.min(again_in_ms);
    }
    if look.read_again_in_ms > 0 {
        return Step::Pause { wait_ms: wait_ms.min(look.read_again_in_ms) };
    }
    Step::Read { wait_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look() -> Look {
        Look { beat_in_ms: 900, ..Look::default() }
    }

    #[test]
    fn the_table_of_decisions() {
        let config = ConsumerConfig::default();
        let dirty = Look { dirty_rows: 10, dirty_bytes: 10, dirty_age_ms: Some(5), ..look() };
        let full = Look { dirty_rows: 8_000, ..dirty };
        let heavy = Look { dirty_bytes: 2 << 20, ..dirty };
        let old = Look { dirty_age_ms: Some(20), ..dirty };
        let under_way = |look| Look { sending: Sending::UnderWay, ..look };
        let failed = |look| Look { sending: Sending::Failed { again_in_ms: 70 }, ..look };
        let stopping = |look| Look { is_stopping: true, ..look };
        let unreadable = |look| Look { read_again_in_ms: 30, ..look };
        let soon = |look| Look { beat_in_ms: 7, ..look };
        let now = |look| Look { beat_in_ms: 0, ..look };
        let await_flush = |wait_ms| Step::AwaitFlush { wait_ms };
        for (name, look, step) in [
            ("nothing to do", look(), Step::Read { wait_ms: 500 }),
            ("a little dirty", dirty, Step::Read { wait_ms: 15 }),
            ("by rows", full, Step::Flush),
            ("by bytes", heavy, Step::Flush),
            ("by age", old, Step::Flush),
            ("the next set fills", under_way(dirty), Step::Read { wait_ms: 500 }),
            ("old, but one is under way", under_way(old), Step::Read { wait_ms: 500 }),
            ("full while one is under way", under_way(full), await_flush(900)),
            ("failed, room left", failed(dirty), Step::Read { wait_ms: 70 }),
            ("failed and full", failed(full), Step::Pause { wait_ms: 70 }),
            (
                "failed, time is up",
                Look { sending: Sending::Failed { again_in_ms: 0 }, ..full },
                Step::Resend,
            ),
            ("stopping, dirty", stopping(dirty), Step::Flush),
            ("stopping, under way", stopping(under_way(dirty)), await_flush(u64::MAX)),
            ("stopping, failed", stopping(failed(look())), Step::Pause { wait_ms: 70 }),
            ("stopping, clean", stopping(look()), Step::Stop),
            ("the log is away", unreadable(look()), Step::Pause { wait_ms: 30 }),
            ("the log is away, dirty", unreadable(dirty), Step::Pause { wait_ms: 15 }),
            ("the log is away, full", unreadable(full), Step::Flush),
            ("idle until the heart beats", soon(look()), Step::Read { wait_ms: 7 }),
            ("dirty until the heart beats", soon(dirty), Step::Read { wait_ms: 7 }),
            ("failed until the heart beats", soon(failed(full)), Step::Pause { wait_ms: 7 }),
            ("full until the heart beats", soon(under_way(full)), await_flush(7)),
            ("the heart beats", now(full), Step::Beat),
            ("the heart beats while one is under way", now(under_way(full)), Step::Beat),
            ("stopping comes first", now(stopping(dirty)), Step::Flush),
        ] {
            assert_eq!(next_step(&look, &config), step, "{name}");
        }
    }

    #[test]
    fn memory_never_fills_while_a_flush_is_not_answered() {
        let config = ConsumerConfig::default();
        for sending in [Sending::UnderWay, Sending::Failed { again_in_ms: 1 }] {
            for dirty_rows in [8_000, 50_000] {
                let look = Look { dirty_rows, dirty_age_ms: Some(100), sending, ..look() };
                assert!(!matches!(next_step(&look, &config), Step::Read { .. } | Step::Flush));
            }
        }
    }
}
