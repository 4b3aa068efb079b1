//! The body of GET /stats: sums over the partitions of the stream.

use std::collections::BTreeMap;

use agon_projections::row::StreamTotals;
use agon_schema::{EventTime, Position, PositionToken, Topic, TopicPartition};
use serde::Serialize;

use super::to_json;
use crate::config::{AsOf, LogIdentity};
use crate::held::view::StreamCounts;

#[derive(Serialize)]
struct Body {
    messages: u64,
    distinct_users: u64,
    bots: u64,
    non_bots: u64,
    by_server_name: BTreeMap<String, u64>,
    rejected: u64,
    as_of: AsOf,
}

/// The sums over the partitions of the stream, one added after the other.
#[derive(Debug)]
pub struct StatsSum {
    log: LogIdentity,
    totals: StreamTotals,
    servers: BTreeMap<String, u64>,
    position: PositionToken,
    last: Option<EventTime>,
}

impl StatsSum {
    /// Of nothing yet.
    pub fn new(log: LogIdentity) -> StatsSum {
        StatsSum {
            log,
            totals: StreamTotals::default(),
            servers: BTreeMap::new(),
            position: PositionToken::start(log.id),
            last: None,
        }
    }

    /// Adds what one partition counted. A user's events all stand in one partition, so distinct
    /// users add up.
    pub fn add(&mut self, partition: u32, counts: &StreamCounts) {
        let Some(head) = counts.head() else { return };
        let totals = counts.totals();
        self.totals.messages += totals.messages;
        self.totals.bots += totals.bots;
        self.totals.distinct_users += totals.distinct_users;
        self.totals.rejected += totals.rejected;
        for (name, messages) in counts.servers() {
            match self.servers.get_mut(name) {
                Some(sum) => *sum += messages,
                None => {
                    self.servers.insert(name.to_owned(), messages);
                }
            }
        }
        let source = TopicPartition { topic: Topic::RecentChange, partition };
        self.position.raise(Position { source, offset: head.applied });
        // Partitions have no order among them; the latest time is that of the last event or near.
        self.last = match (self.last, head.last) {
            (Some(one), Some(other)) => Some(if other.at > one.at { other } else { one }),
            (one, other) => one.or(other),
        };
    }

    /// The token of all partitions that were added.
    pub(crate) fn position(&self) -> String {
        self.position.to_string()
    }

    /// The body.
    pub fn into_body(self) -> Vec<u8> {
        debug_assert!(self.position.is_of(self.log.id));
        let totals = self.totals;
        to_json(&Body {
            messages: totals.messages,
            distinct_users: totals.distinct_users,
            bots: totals.bots,
            non_bots: totals.messages - totals.bots,
            by_server_name: self.servers,
            rejected: totals.rejected,
            as_of: AsOf {
                position: self.position.to_string(),
                occurred_at: self.last.map(|time| time.at.to_string()),
            },
        })
    }
}

/// The body of GET /stats for these partitions and their counts.
pub fn stats_body<'a>(
    log: LogIdentity,
    cells: impl IntoIterator<Item = (u32, &'a StreamCounts)>,
) -> Vec<u8> {
    let mut sum = StatsSum::new(log);
    for (partition, counts) in cells {
        sum.add(partition, counts);
    }
    sum.into_body()
}
