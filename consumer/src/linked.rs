//! The spans of flushes: each links to what appended the records that it stores. A link and not a
//! parent, since one flush holds the records of many requests. Of a record only its header is
//! looked at, and only where something is traced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agon_ports::trace::{self, TRACEPARENT, TraceParent};
use agon_projections::Flush;
use agon_schema::TopicPartition;
use tracing::Span;

use crate::decoded::Decoded;

/// Links of one span; those beyond are counted.
const LINKS_MAX: usize = 128;

#[derive(Debug, Default)]
struct Links {
    kept: BTreeSet<TraceParent>,
    /// Records whose link found no place.
    left_out: i64,
}

impl Links {
    fn add(&mut self, to: TraceParent) {
        if self.kept.len() < LINKS_MAX {
            self.kept.insert(to);
        } else if !self.kept.contains(&to) {
            self.left_out += 1;
        }
    }
}

/// Whose work the flushes of one worker go on with.
#[derive(Debug, Default)]
pub(crate) struct Linked {
    /// Of what is folded and in no flush yet.
    folded: BTreeMap<TopicPartition, Links>,
    /// Of the set that is under way.
    sent: BTreeMap<TopicPartition, Span>,
}

impl Linked {
    /// Records of one partition are folded.
    pub(crate) fn fold(&mut self, source: TopicPartition, batch: &[Decoded]) {
        if trace::tracer().is_none() {
            return;
        }
        let headers = batch.iter().filter_map(|decoded| decoded.record.record.header(TRACEPARENT));
        for to in headers.filter_map(TraceParent::read) {
            self.folded.entry(source).or_default().add(to);
        }
    }

    /// Everything folded so far is in the set that is sent now.
    pub(crate) fn send(&mut self, set: &[Arc<Flush>]) {
        let mut folded = std::mem::take(&mut self.folded);
        let begin = |flush: &Arc<Flush>| {
            let links = folded.remove(&flush.source)?;
            Some((flush.source, span(flush, links)))
        };
        self.sent = set.iter().filter_map(begin).collect();
    }

    /// The set is in the store.
    pub(crate) fn stored(&mut self) {
        for span in std::mem::take(&mut self.sent).into_values() {
            span.record("otel.status_code", "ok");
        }
    }
}

/// From the first sending of a flush until it is stored, or given up: then it stays an error.
fn span(flush: &Flush, links: Links) -> Span {
    let Some(tracer) = trace::tracer() else { return Span::none() };
    let TopicPartition { topic, partition } = flush.source;
    let span = tracing::info_span!(
        target: trace::TARGET,
        parent: None,
        "traced_flush",
        otel.name = %format_args!("flush {}", topic.name()),
        otel.kind = "consumer",
        otel.status_code = "error",
        messaging.destination.name = topic.name(),
        messaging.destination.partition.id = %partition,
        agon.flush.through = flush.progress.applied as i64,
        agon.flush.rows = flush.row_count() as i64,
        agon.flush.links_left_out = links.left_out,
    );
    links.kept.into_iter().for_each(|to| tracer.link(&span, to));
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_kept_once_and_to_their_limit() {
        let mut links = Links::default();
        for span in 1..=200 {
            for _ in 0..2 {
                let text = format!("00-{:032x}-{span:016x}-01", 7);
                links.add(TraceParent::read(text.as_bytes()).unwrap());
            }
        }
        assert_eq!((links.kept.len(), links.left_out), (LINKS_MAX, 2 * 72));
    }
}
