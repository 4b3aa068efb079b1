//! What the consumer counts. Label values are topics, partitions, kinds and the closed list of
//! reasons: never ids.

use std::time::Duration;

use agon_projections::{Flush, Reason};
use agon_schema::{Topic, TopicPartition};
use prometheus::{GaugeVec, Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::partition::Verdict;

/// Kinds of cells, which label what is folded and flushed.
const PROJECTIONS: [&str; 3] = ["environment", "benchmark", "stream"];

/// The consumer's metrics, registered once.
#[derive(Clone)]
pub struct Metrics {
    consumed: IntCounterVec,
    folded: IntCounterVec,
    rejected: IntCounterVec,
    duplicate: IntCounterVec,
    flushes: IntCounterVec,
    flush_duration_seconds: Histogram,
    flush_rows: Histogram,
    flush_events: Histogram,
    lag_records: IntGaugeVec,
    lag_seconds: GaugeVec,
}

impl Metrics {
    /// Registers them, all label sets at zero.
    ///
    /// # Errors
    /// A name that is registered already.
    pub fn register(registry: &Registry) -> Result<Metrics, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| {
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        let sizes = prometheus::exponential_buckets(1.0, 4.0, 10)?;
        let place = ["topic", "partition"];
        let lag_records = Opts::new("agon_consumer_lag_records", "Records not yet folded.");
        let lag_seconds = Opts::new(
            "agon_consumer_lag_seconds",
            "Age of the newest folded record while records wait, else 0.",
        );
        let metrics = Metrics {
            consumed: counter("agon_events_consumed_total", "Records read.", &["topic"])?,
            folded: counter("agon_events_folded_total", "Took effect.", &["projection"])?,
            rejected: counter(
                "agon_events_rejected_total",
                "Records that became dead letters.",
                &["topic", "reason"],
            )?,
            duplicate: counter("agon_events_duplicate_total", "Said before.", &["topic"])?,
            flushes: counter(
                "agon_flushes_total",
                "Flushes of a projection's cells by result.",
                &["projection", "result"],
            )?,
            flush_duration_seconds: histogram(
                "agon_flush_duration_seconds",
                "Time until a flush was in the store.",
                prometheus::exponential_buckets(0.000_25, 2.0, 16)?,
            )?,
            flush_rows: histogram("agon_flush_rows", "Rows a flush.", sizes.clone())?,
            flush_events: histogram("agon_flush_events", "Records a flush.", sizes)?,
            lag_records: IntGaugeVec::new(lag_records, &place)?,
            lag_seconds: GaugeVec::new(lag_seconds, &place)?,
        };
        registry.register(Box::new(metrics.lag_records.clone()))?;
        registry.register(Box::new(metrics.lag_seconds.clone()))?;
        metrics.start_at_zero();
        Ok(metrics)
    }

    fn start_at_zero(&self) {
        for topic in Topic::ALL {
            self.consumed.with_label_values(&[topic.name()]);
            self.duplicate.with_label_values(&[topic.name()]);
            for reason in Reason::ALL {
                self.rejected.with_label_values(&[topic.name(), reason.code()]);
            }
        }
        for projection in PROJECTIONS {
            self.folded.with_label_values(&[projection]);
            for result in ["ok", "error"] {
                self.flushes.with_label_values(&[projection, result]);
            }
        }
    }

    /// A record was folded.
    pub(crate) fn folded(&self, topic: Topic, verdict: Verdict) {
        self.consumed.with_label_values(&[topic.name()]).inc();
        match verdict {
            Verdict::Counted(projection) => self.folded.with_label_values(&[projection]).inc(),
            Verdict::Duplicate => self.duplicate.with_label_values(&[topic.name()]).inc(),
            Verdict::Rejected(reason) => {
                self.rejected.with_label_values(&[topic.name(), reason.code()]).inc();
            }
        }
    }

    /// A flush was answered.
    pub(crate) fn flushed(&self, flush: &Flush, result: &str) {
        for cell in &flush.cells {
            self.flushes.with_label_values(&[cell.key.kind(), result]).inc();
        }
        if result == "ok" {
            self.flush_rows.observe(flush.row_count() as f64);
            let events = flush.progress.applied + 1 - flush.from.map_or(0, |from| from + 1);
            self.flush_events.observe(events as f64);
        }
    }

    /// A set of flushes took this long.
    pub(crate) fn took(&self, time: Duration) {
        self.flush_duration_seconds.observe(time.as_secs_f64());
    }

    /// A partition is this far behind.
    pub(crate) fn lag(&self, source: TopicPartition, records: u64, seconds: f64) {
        let partition = source.partition.to_string();
        let place = [source.topic.name(), partition.as_str()];
        self.lag_records.with_label_values(&place).set(records.try_into().unwrap_or(i64::MAX));
        self.lag_seconds.with_label_values(&place).set(seconds);
    }
}
