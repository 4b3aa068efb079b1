//! What the intake counts.

use agon_projections::Reason;
use agon_schema::Topic;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Codes of whole calls that are refused.
const CALL_CODES: [&str; 5] =
    ["overloaded", "body_too_large", "log_unavailable", "internal", "not_ready"];

/// The intake's metrics; every series begins at 0.
#[derive(Debug)]
pub(crate) struct IntakeMetrics {
    appended: [IntCounter; Topic::ALL.len()],
    refused: IntCounterVec,
    pub queue_records: IntGauge,
    pub batch_records: Histogram,
}

impl IntakeMetrics {
    pub fn register(
        registry: &Registry,
        queue_records_max: usize,
    ) -> Result<IntakeMetrics, prometheus::Error> {
        let appended = IntCounterVec::new(
            Opts::new("agon_events_appended_total", "Events that the log acknowledged"),
            &["topic"],
        )?;
        let refused = IntCounterVec::new(
            Opts::new("agon_intake_refused_total", "Events that were refused before the log"),
            &["code"],
        )?;
        let queue_records =
            IntGauge::new("agon_intake_queue_records", "Events accepted and not answered yet")?;
        let capacity = IntGauge::new(
            "agon_intake_queue_records_max",
            "Events that may be accepted and not answered yet",
        )?;
        let batch_records = Histogram::with_opts(
            HistogramOpts::new("agon_intake_batch_records", "Records of one append")
                .buckets(vec![1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0]),
        )?;
        registry.register(Box::new(appended.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        registry.register(Box::new(queue_records.clone()))?;
        registry.register(Box::new(capacity.clone()))?;
        registry.register(Box::new(batch_records.clone()))?;
        capacity.set(i64::try_from(queue_records_max).unwrap_or(i64::MAX));
        for code in CALL_CODES.into_iter().chain(Reason::ALL.map(Reason::code)) {
            refused.with_label_values(&[code]);
        }
        let appended = Topic::ALL.map(|topic| appended.with_label_values(&[topic.name()]));
        Ok(IntakeMetrics { appended, refused, queue_records, batch_records })
    }

    pub fn appended(&self, topic: Topic) {
        // `ALL` is in the order of the codes, which start at 1.
        self.appended[usize::from(topic.code() - 1)].inc();
    }

    pub fn refused(&self, code: &str, events: usize) {
        self.refused.with_label_values(&[code]).inc_by(events as u64);
    }
}
