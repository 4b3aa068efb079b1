//! Measures how far behind each partition is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agon_ports::{Assignment, Clock, EventLog};
use agon_schema::TopicPartition;

use crate::share::Sources;
use crate::worker::{Positions, Shared};

/// Since when records may wait, partition by partition.
pub(crate) struct Lag {
    started_at_ms: i64,
    /// When nothing waited for the last time.
    caught_up_at_ms: BTreeMap<TopicPartition, i64>,
}

impl Lag {
    pub(crate) fn new(now_ms: i64) -> Lag {
        Lag { started_at_ms: now_ms, caught_up_at_ms: BTreeMap::new() }
    }

    /// Records that wait in a partition, and for how many seconds at most. What waits was appended
    /// after the newest stored record, and after the last time that nothing waited; where neither
    /// is known, the time since the start is the least that can be said.
    pub(crate) fn of(
        &mut self,
        source: TopicPartition,
        end: u64,
        positions: &Positions,
        now_ms: i64,
    ) -> (u64, f64) {
        let stored = positions.get(&source);
        let records = end.saturating_sub(stored.map_or(0, |stored| stored.applied + 1));
        if records == 0 {
            self.caught_up_at_ms.insert(source, now_ms);
            return (0, 0.0);
        }
        let newest = stored.map(|stored| stored.appended_at_ms).filter(|at_ms| *at_ms > 0);
        let caught_up = self.caught_up_at_ms.get(&source).copied();
        let since_ms = newest.max(caught_up).unwrap_or(self.started_at_ms);
        (records, (now_ms - since_ms).max(0) as f64 / 1_000.0)
    }
}

/// Shows the lag of these partitions once, so that each is there from the first scrape.
pub(crate) fn begin(
    shared: &Shared,
    sources: &Sources,
    ends: &Assignment,
    clock: &dyn Clock,
) -> Lag {
    let now_ms = clock.now().micros() / 1_000;
    let mut lag = Lag::new(now_ms);
    let positions = shared.positions.borrow().clone();
    show(shared, &mut lag, sources, ends, &positions, now_ms);
    lag
}

/// Shows the lag of these partitions again and again. Never ends.
pub(crate) async fn measure(
    shared: Shared,
    mut lag: Lag,
    sources: Sources,
    log: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
) {
    let now_ms = || clock.now().micros() / 1_000;
    let interval = Duration::from_millis(shared.config.lag_interval_ms.max(1));
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Before the log's ends: what is stored by now is below them.
        let positions = shared.positions.borrow().clone();
        match log.ends().await {
            Ok(ends) => show(&shared, &mut lag, &sources, &ends, &positions, now_ms()),
            Err(error) => tracing::warn!(%error, "lag is not known"),
        }
    }
}

fn show(
    shared: &Shared,
    lag: &mut Lag,
    sources: &Sources,
    ends: &Assignment,
    positions: &Positions,
    now_ms: i64,
) {
    for (source, end) in ends.iter().filter(|(source, _)| sources.contains(source)) {
        let (records, seconds) = lag.of(*source, *end, positions, now_ms);
        shared.metrics.lag(*source, records, seconds);
    }
}

#[cfg(test)]
mod tests {
    use agon_schema::Topic;

    use super::*;
    use crate::worker::Stored;

    #[test]
    fn records_wait_no_longer_than_since_the_newest_stored_one_or_the_last_time_none_did() {
        let source = TopicPartition { topic: Topic::Matches, partition: 0 };
        let mut lag = Lag::new(1_000);
        let nothing = Positions::new();
        let stored = |applied, appended_at_ms| {
            Positions::from([(source, Stored { applied, appended_at_ms })])
        };
        for (name, end, positions, now_ms, expected) in [
            ("empty, never caught up", 3, &nothing, 5_000, (3, 4.0)),
            ("resumed, time not known", 3, &stored(0, 0), 5_000, (2, 4.0)),
            ("some are stored", 3, &stored(1, 4_500), 6_000, (1, 1.5)),
            ("all are stored", 3, &stored(2, 4_600), 7_000, (0, 0.0)),
            ("one comes an hour later", 4, &stored(2, 4_600), 3_607_000, (1, 3_600.0)),
            ("it is stored", 4, &stored(3, 3_606_900), 3_608_000, (0, 0.0)),
            ("one comes after a rest", 5, &stored(3, 3_606_900), 3_609_000, (1, 1.0)),
            ("the clock went back", 5, &stored(3, 3_606_900), 9_000, (1, 0.0)),
        ] {
            assert_eq!(lag.of(source, end, positions, now_ms), expected, "{name}");
        }
    }
}
