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

fn home(user: &str) -> usize {
    TopicPartition::of_key(Topic::RecentChange, user.as_bytes(), PARTITIONS).partition as usize
}

/// A user in each partition, so that as many partitions have something to say as with a million.
fn one_each() -> Vec<String> {
    let mut found: Vec<Option<String>> = vec![None; PARTITIONS as usize];
    for user in (0..).map(|n: u64| format!("user {n}")) {
        found[home(&user)].get_or_insert(user);
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found.into_iter().flatten().collect()
}

/// The counts of all partitions after a day of messages of these users, in turn.
fn counts(user: impl Fn(u64) -> String) -> Vec<(u32, StreamCounts)> {
    let new = |partition| (Cell::new(CellKey::Stream(partition)), Counted::default());
    let mut cells: Vec<(Cell, Counted)> = (0..PARTITIONS).map(new).collect();
    for n in 0..MESSAGES {
        let user = user(n.wrapping_mul(2_654_435_761));
        let (cell, counted) = &mut cells[home(&user)];
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
    let numbered = |users: u64| move |n: u64| format!("user {}", n % users);
    let each = one_each();
    let of_each = |n: u64| each[(n % u64::from(PARTITIONS)) as usize].clone();
    let (ten, sixteen, million) =
        (counts(numbered(10)), counts(of_each), counts(numbered(1_000_000)));
    let speaking = ten.iter().filter(|(_, counts)| counts.head().is_some()).count();
    println!("ten users stand in {speaking} of {PARTITIONS} partitions");
    for window in [None, Some(Span::Minute), Some(Span::Hour), Some(Span::Day)] {
        let query = StatsQuery { window, ..StatsQuery::default() };
        let (many, bytes) = fastest(query, &million);
        let name = window.map_or("/stats", Span::text);
        println!("{name:7} 1,000,000 users {many:?} ({bytes} bytes)");
        for (who, cells) in [("10 users", &ten), ("16 users, one a partition", &sixteen)] {
            let (few, bytes) = fastest(query, cells);
            let ratio = many.as_secs_f64() / few.as_secs_f64();
            println!("        {who} {few:?} ({bytes} bytes): ratio {ratio:.2}");
        }
    }
}
