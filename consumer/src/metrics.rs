//! What the consumer counts. Label values are topics, partitions, kinds and the closed list of
//! reasons: never ids.

use std::collections::BTreeMap;
use std::time::Duration;

use agon_projections::{Flush, Reason};
use agon_schema::{Topic, TopicPartition};
use prometheus::{GaugeVec, Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::partition::Verdict;

/// The kind of the cells that a topic's events are folded into, which labels what is folded and
/// flushed; as `CellKey::kind` has it.
const fn projection(topic: Topic) -> &'static str {
    match topic {
        Topic::Matches => "environment",
        Topic::Submissions => "benchmark",
        Topic::RecentChange => "stream",
    }
}

/// What became of some records of one topic. Adding once a batch keeps label look-ups off the hot
/// path.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counted: u64,
    duplicates: u64,
    rejected: BTreeMap<Reason, u64>,
    replayed: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Counted => self.counted += 1,
            Verdict::Duplicate => self.duplicates += 1,
            Verdict::Replayed => self.replayed += 1,
            Verdict::Rejected(reason) => *self.rejected.entry(reason).or_default() += 1,
        }
    }
}

/// The consumer's metrics, registered once.
#[derive(Clone)]
pub struct Metrics {
    consumed: IntCounterVec,
    folded: IntCounterVec,
    rejected: IntCounterVec,
    duplicate: IntCounterVec,
    replayed: IntCounterVec,
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
            "For how long records may have waited, 0 when none does.",
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
            replayed: counter(
                "agon_events_replayed_total",
                "Read again, and found in the stored cell already.",
                &["topic"],
            )?,
            flushes: counter(
                "agon_flushes_total",
                "Flushes of a projection's partitions by result.",
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
            self.replayed.with_label_values(&[topic.name()]);
            self.folded.with_label_values(&[projection(topic)]);
            for result in ["ok", "error"] {
                self.flushes.with_label_values(&[projection(topic), result]);
            }
            for reason in Reason::ALL {
                self.rejected.with_label_values(&[topic.name(), reason.code()]);
            }
        }
    }

    /// Records were folded.
    pub(crate) fn folded(&self, topic: Topic, tally: &Tally) {
        let rejected: u64 = tally.rejected.values().sum();
        let consumed = tally.counted + tally.duplicates + rejected + tally.replayed;
        self.consumed.with_label_values(&[topic.name()]).inc_by(consumed);
        self.folded.with_label_values(&[projection(topic)]).inc_by(tally.counted);
        self.duplicate.with_label_values(&[topic.name()]).inc_by(tally.duplicates);
        self.replayed.with_label_values(&[topic.name()]).inc_by(tally.replayed);
        for (reason, count) in &tally.rejected {
            self.rejected.with_label_values(&[topic.name(), reason.code()]).inc_by(*count);
        }
    }

    /// A flush is in the store; the call took this long.
    pub(crate) fn stored(&self, flush: &Flush, took: Duration) {
        self.flushes.with_label_values(&[projection(flush.source.topic), "ok"]).inc();
        self.flush_duration_seconds.observe(took.as_secs_f64());
        self.flush_rows.observe(flush.row_count() as f64);
        let events = flush.progress.applied + 1 - flush.from.map_or(0, |from| from + 1);
        self.flush_events.observe(events as f64);
    }

    /// A flush was answered with an error.
    pub(crate) fn failed(&self, flush: &Flush) {
        self.flushes.with_label_values(&[projection(flush.source.topic), "error"]).inc();
    }

    /// A partition is this far behind.
    pub(crate) fn lag(&self, source: TopicPartition, records: u64, seconds: f64) {
        let partition = source.partition.to_string();
        let place = [source.topic.name(), partition.as_str()];
        self.lag_records.with_label_values(&place).set(records.try_into().unwrap_or(i64::MAX));
        self.lag_seconds.with_label_values(&place).set(seconds);
    }

    /// A partition is no longer this consumer's: others say how far behind it is.
    pub(crate) fn forget_lag(&self, source: TopicPartition) {
        let partition = source.partition.to_string();
        let place = [source.topic.name(), partition.as_str()];
        // An error says that it never was shown.
        let _ = self.lag_records.remove_label_values(&place);
        let _ = self.lag_seconds.remove_label_values(&place);
    }
}
