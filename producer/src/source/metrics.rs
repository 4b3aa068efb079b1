//! What a source counts. Every series begins at 0.

use agon_schema::Timestamp;
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// What becomes of what a stream brings.
pub(crate) const RESULTS: [&str; 6] =
    ["appended", "duplicate", "conflict", "refused", "malformed", "canary"];

#[derive(Clone, Debug)]
pub(crate) struct SourceMetrics {
    events: IntCounterVec,
    pub reconnects: IntCounter,
    pub lines_too_long: IntCounter,
    pub connected: IntGauge,
    last_event_seconds: Gauge,
}

impl SourceMetrics {
    pub fn register(registry: &Registry) -> Result<SourceMetrics, prometheus::Error> {
        let metrics = SourceMetrics {
            events: IntCounterVec::new(
                Opts::new("agon_source_events_total", "Events of the source, by what they became"),
                &["result"],
            )?,
            reconnects: IntCounter::new(
                "agon_source_reconnects_total",
                "Attempts to connect to the source after the first",
            )?,
            lines_too_long: IntCounter::new(
                "agon_source_lines_too_long_total",
                "Lines of the source over the limit, passed over with their event",
            )?,
            connected: IntGauge::new("agon_source_connected", "1 while the source is being read")?,
            last_event_seconds: Gauge::new(
                "agon_source_last_event_seconds",
                "When the source brought its newest event, in seconds since 1970; 0: not yet",
            )?,
        };
        registry.register(Box::new(metrics.events.clone()))?;
        registry.register(Box::new(metrics.reconnects.clone()))?;
        registry.register(Box::new(metrics.lines_too_long.clone()))?;
        registry.register(Box::new(metrics.connected.clone()))?;
        registry.register(Box::new(metrics.last_event_seconds.clone()))?;
        for result in RESULTS {
            metrics.count(result, 0);
        }
        Ok(metrics)
    }

    pub fn count(&self, result: &str, events: u64) {
        self.events.with_label_values(&[result]).inc_by(events);
    }

    pub fn heard(&self, now: Timestamp) {
        self.last_event_seconds.set(now.micros() as f64 / 1e6);
    }
}
