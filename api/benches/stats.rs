//! What a read of /stats costs with ten users and with a million: the body is made anew each time,
//! out of the counts of 16 partitions, over as many messages of as many servers. Nothing in it
//! grows with users beyond a bound; the ratio says so.
//!
//! `cargo bench -p agon-api --bench stats`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "the figures are the output")]

use std::collections::HashSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use agon_api::{LogIdentity, StatsQuery, StreamCounts, stats_body};
use agon_projections::row::{FirstSeen, RowKey, SubmissionRow, UserHash};
use agon_projections::window::Span;
use agon_projections::{Cell, CellKey, Known, Outcome};
use agon_schema::event::{Event, RecentChange};
use agon_schema::{Identity, LogId, NaturalId, Timestamp, Topic, TopicPartition};

const PARTITIONS: u32 = 16;
const MESSAGES: u64 = 1_000_000;
const SERVERS: u64 = 300;
const ROUNDS: usize = 200;
const LOG: LogIdentity = LogIdentity { id: LogId(uuid::Uuid::nil()), partitions: PARTITIONS };

/// The users that a partition counted.
#[derive(Default)]
struct Counted(HashSet<UserHash>);

impl Known for Counted {
    fn first_seen(&self, _: Identity) -> Option<FirstSeen> {
        None
    }

    fn submission(&self, _: &NaturalId) -> Option<SubmissionRow> {
        None
    }

    fn user(&self, user: UserHash) -> Option<u64> {
        self.0.contains(&user).then_some(0)
    }
}

fn event(n: u64, user: &str) -> Event {
    Event::RecentChange(RecentChange {
        id: NaturalId::new(n.to_string()).unwrap(),
        // A day in all.
        occurred_at: Timestamp::from_micros(n as i64 * 86_400).unwrap(),
        user: Some(user.to_owned()),
        bot: Some(n.is_multiple_of(3)),
        server_name: Some(format!("{}.example.org", n / 16 % SERVERS)),
        change_type: None,
        title: None,
        namespace: None,
        minor: None,
        length_old_bytes: None,
        length_new_bytes: None,
        wiki: None,
    })
}

/// The counts of all partitions after a day of messages of so many users.
fn counts(users: u64) -> Vec<(u32, StreamCounts)> {
    let new = |partition| (Cell::new(CellKey::Stream(partition)), Counted::default());
    let mut cells: Vec<(Cell, Counted)> = (0..PARTITIONS).map(new).collect();
    for n in 0..MESSAGES {
        let user = format!("user {}", n.wrapping_mul(2_654_435_761) % users);
        let home = TopicPartition::of_key(Topic::RecentChange, user.as_bytes(), PARTITIONS);
        let (cell, counted) = &mut cells[home.partition as usize];
        // From offset 1 on: users count as counted at offset 0.
        if let Outcome::Counted(effects) = cell.step(n + 1, &event(n, &user), counted) {
            for row in effects.rows {
                if let RowKey::User(_, user) = row.key {
                    counted.0.insert(user);
                }
            }
        }
    }
    let rows = |cell: &Cell| {
        let slots = (0..cell.slots()).map(|slot| cell.row(slot));
        StreamCounts::from_rows(cell.head_row().into_iter().chain(slots))
    };
    (0..).zip(cells.iter().map(|(cell, _)| rows(cell))).collect()
}

/// The fastest of many, and the size of the body.
fn fastest(query: StatsQuery, cells: &[(u32, StreamCounts)]) -> (Duration, usize) {
    let (now, mut bytes) = (Timestamp::now(), 0);
    let mut once = |_| {
        let start = Instant::now();
        bytes = black_box(stats_body(LOG, query, now, black_box(cells))).len();
        start.elapsed()
    };
    ((0..ROUNDS).map(&mut once).min().unwrap_or_default(), bytes)
}

fn main() {
    let (few, many) = (counts(10), counts(1_000_000));
    for window in [None, Some(Span::Minute), Some(Span::Hour), Some(Span::Day)] {
        let query = StatsQuery { window, ..StatsQuery::default() };
        let ((ten, ten_bytes), (million, million_bytes)) =
            (fastest(query, &few), fastest(query, &many));
        let name = window.map_or("/stats", Span::text);
        let ratio = million.as_secs_f64() / ten.as_secs_f64();
        println!(
            "{name:7} 10 users {ten:?} ({ten_bytes} bytes), 1,000,000 users {million:?} \
             ({million_bytes} bytes): ratio {ratio:.2}"
        );
    }
}
