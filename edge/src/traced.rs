//! A request as a span: in the trace of a caller that sends `traceparent`, else in one of its own.

use agon_ports::trace::{self, TRACEPARENT, TraceParent};
use axum::http::{HeaderMap, Method, StatusCode};
use tracing::Span;
use tracing::field::Empty;

use crate::request::RequestId;

/// Begins the span of a request; none where nothing is traced.
pub(crate) fn begin(method: &Method, route: &str, id: &RequestId, headers: &HeaderMap) -> Span {
    let Some(tracer) = trace::tracer() else { return Span::none() };
    let span = tracing::info_span!(
        target: trace::TARGET,
        parent: None,
        "traced_request",
        otel.name = %format_args!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method.as_str(),
        http.route = route,
        http.response.status_code = Empty,
        agon.request_id = id.as_str(),
    );
    if let Some(caller) = caller(headers) {
        tracer.continue_from(&span, caller);
    }
    span
}

/// Whose trace it is. Of two headers neither is believed.
fn caller(headers: &HeaderMap) -> Option<TraceParent> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let header = all.next().filter(|_| all.next().is_none())?;
    TraceParent::read(header.as_bytes())
}

/// Says what was answered; that a caller was refused is no failure.
pub(crate) fn answered(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("otel.status_code", "error");
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn one_header_that_is_whole_names_the_caller() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for (values, expected) in [
            (vec![text], Some(text)),
            (vec![], None),
            (vec!["00-nonsense"], None),
            (vec![text, text], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append(TRACEPARENT, HeaderValue::from_static(value));
            }
            let found = caller(&headers);
            assert_eq!(found.as_ref().map(TraceParent::as_str), expected, "{values:?}");
        }
    }
}
