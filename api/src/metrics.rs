//! What the read side counts.

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use crate::hearing::Hearing;

/// Upper bounds in seconds: from one flush to a reader that was away.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0, 300.0];

#[derive(Clone)]
pub(crate) struct ApiMetrics {
    pub loaded: IntCounter,
    pub load_failed: IntCounter,
    pub evicted: IntCounter,
    pub rendered_hits: IntCounter,
    pub rendered_misses: IntCounter,
    pub visible_latency: Histogram,
    pub behind: Gauge,
    environment_entries: IntGauge,
    benchmark_entries: IntGauge,
}

impl ApiMetrics {
    pub fn register(
        registry: &Registry,
        hearing: Arc<Hearing>,
    ) -> Result<ApiMetrics, prometheus::Error> {
        let opts = Opts::new("agon_board_entries", "Entrants of the boards in memory");
        let entries = IntGaugeVec::new(opts, &["board_kind"])?;
        let opts = Opts::new("agon_board_loads_total", "Cells read from the store");
        let loads = IntCounterVec::new(opts, &["result"])?;
        let opts = Opts::new("agon_rendered_bodies_total", "Boards and statistics answered");
        let rendered = IntCounterVec::new(opts, &["result"])?;
        let evicted = IntCounter::new("agon_board_evictions_total", "Boards let go for others")?;
        let opts = HistogramOpts::new(
            "agon_visible_latency_seconds",
            "From a record's appending until readers see what it changed",
        );
        let visible_latency = Histogram::with_opts(opts.buckets(SECONDS.to_vec()))?;
        let behind = Gauge::new(
            "agon_api_behind_seconds",
            "How old the newest record of the last flush was when readers saw it",
        )?;
        let silence = Gauge::new(
            "agon_feed_silence_seconds",
            "Since the change feed spoke of the partition that it is silent about for longest",
        )?;
        registry.register(Box::new(entries.clone()))?;
        registry.register(Box::new(loads.clone()))?;
        registry.register(Box::new(rendered.clone()))?;
        registry.register(Box::new(evicted.clone()))?;
        registry.register(Box::new(visible_latency.clone()))?;
        registry.register(Box::new(behind.clone()))?;
        registry.register(Box::new(SilenceGauge { hearing, gauge: silence }))?;
        Ok(ApiMetrics {
            loaded: loads.with_label_values(&["loaded"]),
            load_failed: loads.with_label_values(&["failed"]),
            evicted,
            rendered_hits: rendered.with_label_values(&["cached"]),
            rendered_misses: rendered.with_label_values(&["rendered"]),
            visible_latency,
            behind,
            environment_entries: entries.with_label_values(&["environment"]),
            benchmark_entries: entries.with_label_values(&["benchmark"]),
        })
    }

    pub fn set_entries(&self, environments: usize, benchmarks: usize) {
        let shown = |entries: usize| i64::try_from(entries).unwrap_or(i64::MAX);
        self.environment_entries.set(shown(environments));
        self.benchmark_entries.set(shown(benchmarks));
    }
}

/// A gauge of how long it is, when it is asked.
struct SilenceGauge {
    hearing: Arc<Hearing>,
    gauge: Gauge,
}

impl Collector for SilenceGauge {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set(self.hearing.silence(Duration::ZERO).longest.as_secs_f64());
        self.gauge.collect()
    }
}
