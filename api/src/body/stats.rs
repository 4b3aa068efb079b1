//! The body of GET /stats: sums over the partitions of the stream, of all time or of a window.

use std::collections::BTreeMap;

use agon_projections::frequent::{DisjointTop, Frequent, SharedTop, Top};
use agon_projections::row::StreamTotals;
use agon_projections::sketch::COUNT_ERROR;
use agon_projections::stream::{OTHER_SERVERS, SERVERS_MAX, is_exact};
use agon_projections::sums::Sums;
use agon_projections::window::{Newest, Span, Window, share};
use agon_schema::{EventTime, Position, PositionToken, Timestamp, Topic, TopicPartition};
use serde::{Serialize, Serializer};

use super::to_json;
use crate::config::{AsOf, LogIdentity};
use crate::held::view::StreamCounts;

/// Names in a top list when nothing is said.
pub const TOP_LIMIT_DEFAULT: usize = 10;
/// Names in a top list at most.
pub const TOP_LIMIT_MAX: usize = 100;
/// How far ahead of the reader's clock an event may be dated and still count as the newest.
const AHEAD_MICROS_MAX: i64 = 5 * 60 * 1_000_000;

/// What is asked of the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatsQuery {
    /// Back from the newest event, or of all time.
    pub window: Option<Span>,
    /// Names in a top list, 1 to [`TOP_LIMIT_MAX`].
    pub limit: usize,
}

impl Default for StatsQuery {
    fn default() -> StatsQuery {
        StatsQuery { window: None, limit: TOP_LIMIT_DEFAULT }
    }
}

#[derive(Serialize)]
struct Body {
    messages: u64,
    distinct_users: u64,
    distinct_users_exact: bool,
    distinct_users_error: f64,
    bots: u64,
    non_bots: u64,
    by_server_name: BTreeMap<String, u64>,
    /// Records that became dead letters have no time that could be believed: none in a window.
    rejected: Option<u64>,
    #[serde(flatten)]
    tops: Option<Tops>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<WindowBody>,
    as_of: AsOf,
}

/// The top lists, which are of all time.
#[derive(Serialize)]
struct Tops {
    #[serde(serialize_with = "servers")]
    top_servers: Vec<Frequent>,
    top_servers_error: u64,
    #[serde(serialize_with = "users")]
    top_users: Vec<Frequent>,
    top_users_error: u64,
}

#[derive(Serialize)]
struct WindowBody {
    span: &'static str,
    granularity_seconds: i64,
    from: Option<String>,
    to: Option<String>,
}

fn servers<S: Serializer>(top: &[Frequent], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Server<'a> {
        server_name: &'a str,
        messages: u64,
        error: u64,
    }
    serializer.collect_seq(top.iter().map(|Frequent { name, messages, error }| Server {
        server_name: name,
        messages: *messages,
        error: *error,
    }))
}

fn users<S: Serializer>(top: &[Frequent], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct User<'a> {
        user: &'a str,
        messages: u64,
        error: u64,
    }
    serializer.collect_seq(top.iter().map(|Frequent { name, messages, error }| User {
        user: name,
        messages: *messages,
        error: *error,
    }))
}

/// The newest event of the partitions that were added, from which a window reaches back.
#[derive(Clone, Copy, Debug)]
pub struct StatsNewest(Newest);

impl StatsNewest {
    /// Of nothing yet. An event that is dated more than 5 minutes after `now` is no newest event.
    pub fn new(now: Timestamp) -> StatsNewest {
        let until = Timestamp::from_micros(now.micros().saturating_add(AHEAD_MICROS_MAX));
        StatsNewest(Newest::new(until.unwrap_or(now)))
    }

    /// Adds a partition.
    pub fn add(&mut self, counts: &StreamCounts) {
        self.0.add(counts.rings());
    }

    /// Whether events were passed over that time will make the newest: then an answer is true for
    /// this moment only.
    pub(crate) fn is_ahead(&self) -> bool {
        self.0.is_ahead()
    }

    pub(crate) fn micros(&self) -> Option<i64> {
        self.0.micros()
    }
}

/// What is summed up.
#[derive(Debug)]
enum Kind {
    AllTime { totals: StreamTotals, variance: f64, servers: SharedTop, users: DisjointTop },
    Window { span: Span, sum: Option<Window> },
}

/// The sums over the partitions of the stream, one added after the other.
#[derive(Debug)]
pub struct StatsSum {
    log: LogIdentity,
    kind: Kind,
    servers: Sums,
    position: PositionToken,
    last: Option<EventTime>,
}

impl StatsSum {
    /// Of nothing yet. A window reaches back from `newest`.
    pub fn new(log: LogIdentity, query: StatsQuery, newest: StatsNewest) -> StatsSum {
        let kind = match query.window {
            Some(span) => {
                Kind::Window { span, sum: newest.micros().map(|at| Window::new(span, at)) }
            }
            None => Kind::AllTime {
                totals: StreamTotals::default(),
                variance: 0.0,
                servers: SharedTop::new(query.limit),
                users: DisjointTop::new(query.limit),
            },
        };
        StatsSum {
            log,
            kind,
            servers: Sums::default(),
            position: PositionToken::start(log.id),
            last: None,
        }
    }

    /// Adds what one partition counted. A user's events all stand in one partition, so distinct
    /// users add up.
    pub fn add(&mut self, partition: u32, counts: &StreamCounts) {
        let Some(head) = counts.head() else { return };
        match &mut self.kind {
            Kind::AllTime { totals, variance, servers, users } => {
                let more = counts.totals();
                totals.messages += more.messages;
                totals.bots += more.bots;
                totals.distinct_users += more.distinct_users;
                totals.rejected += more.rejected;
                if !is_exact(&more) {
                    let error = COUNT_ERROR * more.distinct_users as f64;
                    *variance += error * error;
                }
                servers.add(counts.top_servers());
                users.add(counts.top_users());
                for (name, messages) in counts.servers() {
                    self.servers.add(name, messages);
                }
            }
            Kind::Window { sum, .. } => {
                if let Some(window) = sum {
                    window.add(counts.rings());
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
        let as_of = AsOf {
            position: self.position.to_string(),
            occurred_at: self.last.map(|time| time.at.to_string()),
        };
        match self.kind {
            Kind::AllTime { totals, variance, servers, users } => {
                let (servers, users) = (servers.finish(), users.finish());
                let error = share(variance.sqrt(), totals.distinct_users);
                to_json(&Body {
                    messages: totals.messages,
                    distinct_users: totals.distinct_users,
                    distinct_users_exact: error == 0.0,
                    distinct_users_error: error,
                    bots: totals.bots,
                    non_bots: totals.messages - totals.bots,
                    by_server_name: bounded(self.servers.into_sorted()),
                    rejected: Some(totals.rejected),
                    tops: Some(tops(servers, users)),
                    window: None,
                    as_of,
                })
            }
            Kind::Window { span, sum } => window_body(span, sum, as_of),
        }
    }
}

fn tops(servers: Top, users: Top) -> Tops {
    Tops {
        top_servers: servers.first,
        top_servers_error: servers.error,
        top_users: users.first,
        top_users_error: users.error,
    }
}

fn window_body(span: Span, sum: Option<Window>, as_of: AsOf) -> Vec<u8> {
    let time = |micros| Timestamp::from_micros(micros).ok().map(|time| time.to_string());
    let window = WindowBody {
        span: span.text(),
        granularity_seconds: span.granularity_seconds(),
        from: sum.as_ref().and_then(|sum| time(sum.from_micros())),
        to: sum.as_ref().and_then(|sum| time(sum.newest_micros())),
    };
    let sum = sum.unwrap_or_else(|| Window::new(span, 0));
    let error = sum.distinct_users_error();
    to_json(&Body {
        messages: sum.messages,
        distinct_users: sum.distinct_users,
        distinct_users_exact: error == 0.0,
        distinct_users_error: error,
        bots: sum.bots,
        non_bots: sum.messages - sum.bots,
        by_server_name: bounded(sum.servers.into_sorted()),
        rejected: None,
        tops: None,
        window: Some(window),
        as_of,
    })
}

/// At most so many names as one partition keeps: of more, the first by messages, and the others
/// under one name.
fn bounded(mut servers: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let has_other = servers.contains_key(OTHER_SERVERS);
    if servers.len() <= SERVERS_MAX + usize::from(has_other) {
        return servers;
    }
    let mut other = servers.remove(OTHER_SERVERS).unwrap_or_default();
    let mut named: Vec<(String, u64)> = servers.into_iter().collect();
    named.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    other += named.drain(SERVERS_MAX..).map(|(_, messages)| messages).sum::<u64>();
    named.push((OTHER_SERVERS.to_owned(), other));
    named.into_iter().collect()
}

/// The body of GET /stats at this moment, for these partitions and their counts.
pub fn stats_body(
    log: LogIdentity,
    query: StatsQuery,
    now: Timestamp,
    cells: &[(u32, StreamCounts)],
) -> Vec<u8> {
    let mut newest = StatsNewest::new(now);
    if query.window.is_some() {
        cells.iter().for_each(|(_, counts)| newest.add(counts));
    }
    let mut sum = StatsSum::new(log, query, newest);
    for (partition, counts) in cells {
        sum.add(*partition, counts);
    }
    sum.into_body()
}
