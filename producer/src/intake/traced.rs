//! A call of the intake as a span: from when it is handed in until the log has it. Its records
//! name it in their headers, so that whoever folds them can link to it.

use agon_ports::trace::{self, TraceParent};
use tracing::Span;
use tracing::field::Empty;

use super::Submitted;
use super::error::IntakeError;

/// Begins the span of a call, within that of the request; none where nothing is traced.
pub(crate) fn begin(events: usize) -> Span {
    if trace::tracer().is_none() {
        return Span::none();
    }
    tracing::info_span!(
        target: trace::TARGET,
        "traced_append",
        otel.name = "append",
        otel.kind = "producer",
        otel.status_code = Empty,
        messaging.batch.message_count = events as i64,
        agon.appended = Empty,
        agon.refusal = Empty,
    )
}

/// What the records of a call bear, if it is kept.
pub(crate) fn context(span: &Span) -> Option<TraceParent> {
    trace::tracer()?.context(span)
}

/// Says what came of the call.
pub(crate) fn ended(span: &Span, outcome: Result<&[Submitted], &IntakeError>) {
    match outcome {
        Ok(submitted) => {
            let is_new = |one: &&Submitted| {
                matches!(
                    one,
                    Submitted::Appended { .. } | Submitted::Conflict { kept: Some(_), .. }
                )
            };
            span.record("agon.appended", submitted.iter().filter(is_new).count() as i64);
        }
        Err(error) => {
            span.record("agon.refusal", error.code());
            span.record("otel.status_code", "error");
        }
    }
}
