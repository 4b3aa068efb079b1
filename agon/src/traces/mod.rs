//! Traces of this process: spans of `tracing` become spans of OpenTelemetry and go to a collector,
//! as OTLP over HTTP. Off unless an address is given. Nothing ever waits for the collector: what it
//! does not take in time is dropped and counted.

mod counted;
mod sampler;

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use agon_ports::trace::{self, TRACEPARENT, TraceParent};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry::{Context, Key, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use prometheus::Registry;
use tracing::level_filters::LevelFilter;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use crate::cli;
use crate::exit::Exit;
use counted::{Bounded, Counted, Counts};
use sampler::Rules;

/// Spans that wait to be sent; beyond it they are dropped.
const QUEUE_SPANS_MAX: usize = 4_096;
/// Spans of one request.
const BATCH_SPANS_MAX: usize = 512;
/// How long spans are gathered.
const GATHER_MS: u64 = 1_000;
/// How long the collector may take.
const ANSWER_MS_MAX: u64 = 5_000;
/// How long the end of the process waits for the collector.
const END_MS_MAX: u64 = 3_000;

static STARTED: OnceLock<Started> = OnceLock::new();

/// What lives as long as the process.
struct Started {
    provider: SdkTracerProvider,
    counts: Counts,
}

/// Makes the way to the collector, where one is given, before there is a runtime: it has threads
/// of its own.
///
/// # Errors
/// When the exporter cannot be made.
pub fn start(role: &str, options: &cli::Traces) -> Result<(), Exit> {
    let Some(endpoint) = &options.otlp_endpoint else { return Ok(()) };
    let counts = Counts::new().map_err(Exit::missing)?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(endpoint.as_str())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(Duration::from_millis(ANSWER_MS_MAX))
        .build()
        .map_err(|error| Exit::Missing(format!("send spans to {endpoint}: {error}")))?;
    let batch = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_SPANS_MAX)
        .with_max_export_batch_size(BATCH_SPANS_MAX)
        .with_scheduled_delay(Duration::from_millis(GATHER_MS))
        .build();
    let exporter = Counted::new(exporter, endpoint.clone(), counts.clone());
    let batching = BatchSpanProcessor::builder(exporter).with_batch_config(batch).build();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource(role))
        .with_sampler(Rules::new(options.trace_ratio))
        .with_span_processor(Bounded::new(batching, counts.clone()))
        .build();
    // Only the first start of a process gets here.
    let _ = STARTED.set(Started { provider, counts });
    trace::start(Box::new(OpenTelemetry));
    Ok(())
}

/// The layer that makes spans of OpenTelemetry, where they are wanted. Its filter is its own, so
/// the level of the log changes nothing about traces; lines of the log are no part of them.
pub fn layer<S>() -> Option<impl Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let started = STARTED.get()?;
    let layer = tracing_opentelemetry::layer()
        .with_tracer(started.provider.tracer("agon"))
        .with_context_activation(false)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false);
    Some(layer.with_filter(Targets::new().with_target(trace::TARGET, LevelFilter::INFO)))
}

/// Registers what is counted, where anything is.
///
/// # Errors
/// When the name is taken.
pub fn register(registry: &Registry) -> Result<(), prometheus::Error> {
    STARTED.get().map_or(Ok(()), |started| started.counts.register(registry))
}

/// Sends what waits, for as long as the end may take.
pub fn end() {
    let Some(started) = STARTED.get() else { return };
    let time_max = Duration::from_millis(END_MS_MAX);
    if let Err(error) = started.provider.shutdown_with_timeout(time_max) {
        tracing::warn!(%error, "spans that the collector did not take in time are lost");
    }
}

/// Who sends: by the role, unless the environment says it as the standard has it.
fn resource(role: &str) -> Resource {
    const NAME: &str = "service.name";
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let given = Resource::builder().build().get(&Key::from_static_str(NAME));
    let builder = Resource::builder().with_attribute(version);
    match given.filter(|name| !name.as_str().starts_with("unknown_service")) {
        Some(_) => builder.build(),
        None => builder.with_service_name(format!("agon-{role}")).build(),
    }
}

/// Contexts as W3C has them.
struct OpenTelemetry;

impl trace::Tracer for OpenTelemetry {
    fn continue_from(&self, span: &Span, caller: TraceParent) {
        // It fails where nothing was to be continued: for a span that nobody keeps.
        let _ = span.set_parent(remote(caller));
    }

    fn link(&self, span: &Span, to: TraceParent) {
        span.add_link(remote(to).span().span_context().clone());
    }

    fn context(&self, span: &Span) -> Option<TraceParent> {
        let context = span.context();
        if !context.span().span_context().is_sampled() {
            return None;
        }
        let mut headers = HashMap::new();
        TraceContextPropagator::new().inject_context(&context, &mut headers);
        TraceParent::read(headers.get(TRACEPARENT)?.as_bytes())
    }
}

/// The context of a span elsewhere; of ids that are none, none.
fn remote(parent: TraceParent) -> Context {
    let headers = HashMap::from([(TRACEPARENT.to_owned(), parent.as_str().to_owned())]);
    TraceContextPropagator::new().extract_with_context(&Context::new(), &headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_zero_are_no_context() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = |text: &str| {
            let parent = TraceParent::read(text.as_bytes()).unwrap();
            remote(parent).span().span_context().clone()
        };
        let whole = context(text);
        assert!(whole.is_valid() && whole.is_remote() && whole.is_sampled());
        assert_eq!(whole.trace_id().to_string(), text[3..35]);
        assert!(!context(&text.replace("-01", "-00")).is_sampled());
        for zero in [&text[3..35], &text[36..52]] {
            let none = context(&text.replace(zero, &"0".repeat(zero.len())));
            assert!(!none.is_valid() && !none.is_sampled(), "{zero}");
        }
    }
}
