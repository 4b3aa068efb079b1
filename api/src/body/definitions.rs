//! Environments and benchmarks as they were posted, with what was left out filled in, and with
//! what has become of them.

use agon_projections::row::{Head, HeadDetail};
use agon_schema::event::{Aggregation, Direction};
use agon_schema::json::RatingBody;
use serde::Serialize;

/// A definition with its totals.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Definition<'a> {
    Environment(Environment<'a>),
    Benchmark(Benchmark<'a>),
}

#[derive(Debug, Serialize)]
pub(crate) struct Environment<'a> {
    id: &'a str,
    rating: RatingBody,
    version: u32,
    matches: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    agents: Option<usize>,
    last_played_at: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Benchmark<'a> {
    id: &'a str,
    metric: &'a str,
    direction: Direction,
    aggregation: Aggregation,
    version: u32,
    /// Submissions and runs that count.
    events: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    agents: Option<usize>,
    last_submitted_at: Option<String>,
}

impl Definition<'_> {
    /// What a head says; `agents` where it is known. `None` for a partition of the stream.
    pub fn of(head: &Head, agents: Option<usize>) -> Option<Definition<'_>> {
        let last = head.last.map(|time| time.at.to_string());
        // Each version of the definition counted as an event too.
        let events = |version: u32| head.counted.saturating_sub(version.into());
        match &head.detail {
            HeadDetail::Environment(definition) => Some(Definition::Environment(Environment {
                id: definition.id.as_str(),
                rating: RatingBody::from(&definition.rating),
                version: definition.version,
                matches: events(definition.version),
                agents,
                last_played_at: last,
            })),
            HeadDetail::Benchmark(definition) => Some(Definition::Benchmark(Benchmark {
                id: definition.id.as_str(),
                metric: definition.metric.as_str(),
                direction: definition.direction,
                aggregation: definition.aggregation,
                version: definition.version,
                events: events(definition.version),
                agents,
                last_submitted_at: last,
            })),
            HeadDetail::Stream(_) => None,
        }
    }
}
