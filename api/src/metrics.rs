//! What the read side counts.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

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
    environment_entries: IntGauge,
    benchmark_entries: IntGauge,
}

impl ApiMetrics {
    pub fn register(registry: &Registry) -> Result<ApiMetrics, prometheus::Error> {
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
        registry.register(Box::new(entries.clone()))?;
        registry.register(Box::new(loads.clone()))?;
        registry.register(Box::new(rendered.clone()))?;
        registry.register(Box::new(evicted.clone()))?;
        registry.register(Box::new(visible_latency.clone()))?;
        Ok(ApiMetrics {
            loaded: loads.with_label_values(&["loaded"]),
            load_failed: loads.with_label_values(&["failed"]),
            evicted,
            rendered_hits: rendered.with_label_values(&["cached"]),
            rendered_misses: rendered.with_label_values(&["rendered"]),
            visible_latency,
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
