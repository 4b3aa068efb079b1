//! Spans on their way out, counted: those that wait have a limit, those that are lost are known.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use reqwest::Url;

use super::QUEUE_SPANS_MAX;

/// How many spans went which way.
#[derive(Clone, Debug)]
pub struct Counts {
    spans: IntCounterVec,
    sent: IntCounter,
    failed: IntCounter,
    dropped: IntCounter,
    /// Those that ended and were not tried to be sent yet.
    waiting: Arc<AtomicUsize>,
}

impl Counts {
    pub fn new() -> Result<Counts, prometheus::Error> {
        let help = "Spans: taken by the collector, refused by it or sent in vain, or dropped \
                    because too many waited.";
        let spans = IntCounterVec::new(Opts::new("agon_spans_total", help), &["result"])?;
        let of = |result| spans.with_label_values(&[result]);
        let (sent, failed, dropped) = (of("sent"), of("failed"), of("dropped"));
        Ok(Counts { spans, sent, failed, dropped, waiting: Arc::default() })
    }

    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.spans.clone()))
    }

    /// A place for one more, if there is one.
    fn reserve(&self) -> bool {
        let one_more = |waiting: usize| (waiting < QUEUE_SPANS_MAX).then_some(waiting + 1);
        let has_room =
            self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok();
        if !has_room {
            self.dropped.inc();
        }
        has_room
    }

    fn tried(&self, count: usize, is_sent: bool) {
        self.waiting.fetch_sub(count, Ordering::AcqRel);
        let result = if is_sent { &self.sent } else { &self.failed };
        result.inc_by(count as u64);
    }
}

/// Takes spans as long as there is room behind it. The processor has a limit too, but says nothing
/// of what it drops.
#[derive(Debug)]
pub struct Bounded<P> {
    inner: P,
    counts: Counts,
}

impl<P> Bounded<P> {
    pub fn new(inner: P, counts: Counts) -> Bounded<P> {
        Bounded { inner, counts }
    }
}

impl<P: SpanProcessor> SpanProcessor for Bounded<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.counts.reserve() {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Sends, and says when it begins to be in vain and when that is over.
#[derive(Debug)]
pub struct Counted<E> {
    inner: E,
    endpoint: Url,
    counts: Counts,
    is_in_vain: AtomicBool,
}

impl<E> Counted<E> {
    pub fn new(inner: E, endpoint: Url, counts: Counts) -> Counted<E> {
        Counted { inner, endpoint, counts, is_in_vain: AtomicBool::new(false) }
    }
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let sent = self.inner.export(batch).await;
        self.counts.tried(count, sent.is_ok());
        let was_in_vain = self.is_in_vain.swap(sent.is_err(), Ordering::Relaxed);
        let endpoint = self.endpoint.as_str();
        match &sent {
            Err(error) if !was_in_vain => {
                tracing::warn!(endpoint, %error, "the collector takes no spans; they are dropped");
            }
            Ok(()) if was_in_vain => tracing::info!(endpoint, "the collector takes spans again"),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_dropped_until_something_was_tried() {
        let counts = Counts::new().unwrap();
        let taken = (0..QUEUE_SPANS_MAX + 3).filter(|_| counts.reserve()).count();
        assert_eq!((taken, counts.dropped.get()), (QUEUE_SPANS_MAX, 3));
        counts.tried(2, true);
        counts.tried(1, false);
        let taken = (0..5).filter(|_| counts.reserve()).count();
        let shown = (counts.sent.get(), counts.failed.get(), counts.dropped.get());
        assert_eq!((taken, shown), (3, (2, 1, 5)));
    }
}
