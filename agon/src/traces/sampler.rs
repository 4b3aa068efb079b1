//! Which spans are kept.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingResult, ShouldSample};

/// A caller's decision comes first, then what a span links to, then the ratio; so a trace is kept
/// whole, from the request to the flush, or not at all.
#[derive(Clone, Debug)]
pub struct Rules {
    by_parent: Sampler,
}

impl Rules {
    /// Keeps this share of the traces that begin here, from 0 to 1.
    pub fn new(ratio: f64) -> Rules {
        Rules { by_parent: Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))) }
    }

    fn of(&self, parent: Option<&Context>, kind: &SpanKind, links: &[Link]) -> &Sampler {
        if parent.is_some_and(|parent| parent.span().span_context().is_valid()) {
            return &self.by_parent;
        }
        match kind {
            SpanKind::Consumer if links.iter().any(|link| link.span_context.is_sampled()) => {
                &Sampler::AlwaysOn
            }
            // A flush of what nobody traces; an append that no request asked for.
            SpanKind::Consumer | SpanKind::Producer => &Sampler::AlwaysOff,
            _ => &self.by_parent,
        }
    }
}

impl ShouldSample for Rules {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let sampler = self.of(parent, kind, links);
        sampler.should_sample(parent, trace_id, name, kind, attributes, links)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceState};
    use opentelemetry_sdk::trace::SamplingDecision;

    use super::*;

    fn context(flags: TraceFlags) -> SpanContext {
        let (trace, span) = (TraceId::from(7), SpanId::from(8));
        SpanContext::new(trace, span, flags, true, TraceState::default())
    }

    #[test]
    fn a_trace_is_kept_whole_or_not_at_all() {
        let (yes, no) = (context(TraceFlags::SAMPLED), context(TraceFlags::default()));
        let link = |to: &SpanContext| vec![Link::with_context(to.clone())];
        let (to_kept, to_others) = (link(&yes), link(&no));
        let server = SpanKind::Server;
        for (ratio, parent, kind, links, expected) in [
            (1.0, None, &server, &vec![], true),
            (0.0, None, &server, &vec![], false),
            (0.0, Some(&yes), &server, &vec![], true),
            (1.0, Some(&no), &server, &vec![], false),
            (0.0, Some(&yes), &SpanKind::Producer, &vec![], true),
            (1.0, Some(&no), &SpanKind::Producer, &vec![], false),
            (1.0, None, &SpanKind::Producer, &vec![], false),
            (0.0, None, &SpanKind::Consumer, &to_kept, true),
            (1.0, None, &SpanKind::Consumer, &to_others, false),
            (1.0, None, &SpanKind::Consumer, &vec![], false),
        ] {
            let parent = parent.map(|of| Context::new().with_remote_span_context(of.clone()));
            let id = TraceId::from(u128::MAX);
            let rules = Rules::new(ratio);
            let found = rules.should_sample(parent.as_ref(), id, "s", kind, &[], links);
            let is_kept = found.decision == SamplingDecision::RecordAndSample;
            assert_eq!(is_kept, expected, "{ratio} {parent:?} {kind:?} {links:?}");
        }
    }
}
