//! Windows of event time: rings of buckets that time fills over and over.
//!
//! ```text
//! span   granularity   places        an event of time t stands in bucket t / granularity,
//! 1m     1 s            61           and that in place bucket % places
//! 1h     1 min          61
//! 24h    15 min         97
//! ```
//! A place holds the bucket with the highest number that came to it. A late event, one whose place
//! holds a later bucket, is in no window: it lies further back from that bucket than the span. An
//! event dated ahead takes its own place in each ring and no other, until time has passed it there;
//! the reader says up to when it believes a date ([`Newest`]).
//!
//! A window reaches back from the newest event by its span and on to the beginning of the bucket
//! there, so it holds all of the span, and at most one granularity more.

use std::collections::HashMap;
use std::str::FromStr;

use agon_schema::Timestamp;
use agon_schema::event::RecentChange;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::row::UserHash;
use crate::sketch::{BUCKET_ERROR, Joined, Users};
use crate::stream::OTHER_SERVERS;
use crate::sums::Sums;

/// Servers that a bucket counts by name; the messages of others count under [`OTHER_SERVERS`].
pub const BUCKET_SERVERS_MAX: usize = 128;
/// Bytes of a server's name that a bucket keeps, as long as a name of a host is; longer ones count
/// under [`OTHER_SERVERS`].
pub const BUCKET_NAME_BYTES_MAX: usize = 253;

const SECOND_MICROS: i64 = 1_000_000;

/// How far back a window reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    /// A minute, in buckets of a second.
    Minute,
    /// An hour, in buckets of a minute.
    Hour,
    /// A day, in buckets of 15 minutes.
    Day,
}

/// No span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be 1m, 1h or 24h")]
pub struct BadSpan;

impl FromStr for Span {
    type Err = BadSpan;

    fn from_str(text: &str) -> Result<Span, BadSpan> {
        Span::ALL.into_iter().find(|span| span.text() == text).ok_or(BadSpan)
    }
}

impl Span {
    /// All of them.
    pub const ALL: [Span; 3] = [Span::Minute, Span::Hour, Span::Day];

    /// As people write it.
    pub const fn text(self) -> &'static str {
        match self {
            Span::Minute => "1m",
            Span::Hour => "1h",
            Span::Day => "24h",
        }
    }

    /// Seconds that it reaches back.
    pub const fn seconds(self) -> i64 {
        match self {
            Span::Minute => 60,
            Span::Hour => 3_600,
            Span::Day => 86_400,
        }
    }

    /// Seconds of a bucket.
    pub const fn granularity_seconds(self) -> i64 {
        match self {
            Span::Minute => 1,
            Span::Hour => 60,
            Span::Day => 900,
        }
    }

    /// Places of its ring.
    pub const fn places(self) -> u16 {
        (self.seconds() / self.granularity_seconds() + 1) as u16
    }

    /// The bucket of a time.
    const fn bucket(self, micros: i64) -> i64 {
        micros.div_euclid(self.granularity_seconds() * SECOND_MICROS)
    }

    /// The place of a bucket.
    const fn place(self, bucket: i64) -> u16 {
        bucket.rem_euclid(self.places() as i64) as u16
    }
}

/// What was counted in one bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Which, counted from 1970 on.
    pub number: i64,
    /// The latest time of an event in it, in microseconds.
    pub latest_micros: i64,
    /// Changes.
    pub messages: u64,
    /// Those by bots.
    pub bots: u64,
    /// Messages by server, in the order of names.
    pub servers: Vec<(String, u64)>,
    /// Who sent them.
    pub users: Users,
}

impl Bucket {
    fn observe(&mut self, event: &RecentChange, user: Option<UserHash>) {
        self.latest_micros = event.occurred_at.micros().max(self.latest_micros);
        self.messages += 1;
        self.bots += u64::from(event.bot == Some(true));
        if let Some(user) = user {
            self.users.insert(user);
        }
        if let Some(name) = &event.server_name {
            self.count_server(name);
        }
    }

    fn count_server(&mut self, name: &str) {
        let found = self.servers.binary_search_by(|(known, _)| known.as_str().cmp(name));
        match found {
            Ok(at) => self.servers[at].1 += 1,
            Err(at) => {
                let has_room =
                    self.servers.len() < BUCKET_SERVERS_MAX && name.len() <= BUCKET_NAME_BYTES_MAX;
                if has_room || name == OTHER_SERVERS {
                    self.servers.insert(at, (name.to_owned(), 1));
                } else {
                    self.count_server(OTHER_SERVERS);
                }
            }
        }
    }
}

/// The buckets of one span in one partition of the stream.
#[derive(Clone, Debug)]
pub struct Ring {
    span: Span,
    places: Vec<Option<Bucket>>,
}

impl Ring {
    /// Nothing yet.
    pub fn new(span: Span) -> Ring {
        Ring { span, places: vec![None; usize::from(span.places())] }
    }

    /// Counts an event; the place that changed, unless the event comes too late.
    pub fn observe(&mut self, event: &RecentChange, user: Option<UserHash>) -> Option<u16> {
        let micros = event.occurred_at.micros();
        let number = self.span.bucket(micros);
        let place = self.span.place(number);
        let fresh = || Bucket { number, latest_micros: micros, ..Bucket::default() };
        let bucket = self.places[usize::from(place)].get_or_insert_with(fresh);
        if bucket.number > number {
            return None;
        }
        if bucket.number < number {
            *bucket = fresh();
        }
        bucket.observe(event, user);
        Some(place)
    }

    /// The bucket in a place.
    pub fn get(&self, place: u16) -> Option<&Bucket> {
        self.places.get(usize::from(place)).and_then(Option::as_ref)
    }

    /// Every bucket.
    pub fn iter(&self) -> impl Iterator<Item = &Bucket> {
        self.places.iter().flatten()
    }

    /// Takes in a row. Whether it is one.
    pub fn load(&mut self, place: u16, bucket: Bucket) -> bool {
        let fits = self.span.place(bucket.number) == place;
        match self.places.get_mut(usize::from(place)).filter(|_| fits) {
            Some(at) => *at = Some(bucket),
            None => return false,
        }
        true
    }
}

/// The rings of one partition.
#[derive(Clone, Debug)]
pub struct Rings([Ring; 3]);

impl Default for Rings {
    fn default() -> Rings {
        Rings(Span::ALL.map(Ring::new))
    }
}

impl Rings {
    /// The ring of a span.
    pub fn of(&self, span: Span) -> &Ring {
        &self.0[span as usize]
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, span: Span) -> &mut Ring {
        &mut self.0[span as usize]
    }
}

/// The newest event of several partitions.
#[derive(Clone, Copy, Debug)]
pub struct Newest {
    until: Timestamp,
    micros: Option<i64>,
    is_ahead: bool,
}

impl Newest {
    /// Of nothing yet. Events after `until` are not looked at: they are dated ahead.
    pub fn new(until: Timestamp) -> Newest {
        Newest { until, micros: None, is_ahead: false }
    }

    /// Adds a partition.
    pub fn add(&mut self, rings: &Rings) {
        for bucket in rings.0.iter().flat_map(Ring::iter) {
            let latest = bucket.latest_micros;
            if latest <= self.until.micros() {
                self.micros = self.micros.max(Some(latest));
            } else {
                self.is_ahead = true;
            }
        }
    }

    /// When it happened, in microseconds.
    pub fn micros(&self) -> Option<i64> {
        self.micros
    }

    /// Whether some were dated ahead.
    pub fn is_ahead(&self) -> bool {
        self.is_ahead
    }
}

/// What was counted in a window, summed over partitions among which no user is twice.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    span: Span,
    newest_micros: i64,
    /// Changes.
    pub messages: u64,
    /// Those by bots.
    pub bots: u64,
    /// Messages by server.
    pub servers: Sums,
    /// Distinct names.
    pub distinct_users: u64,
    /// The square of the standard error of that.
    variance: f64,
}

impl Window {
    /// The window that reaches back from this event, of nothing yet.
    pub fn new(span: Span, newest_micros: i64) -> Window {
        Window {
            span,
            newest_micros,
            messages: 0,
            bots: 0,
            servers: Sums::default(),
            distinct_users: 0,
            variance: 0.0,
        }
    }

    fn first(&self) -> i64 {
        self.span.bucket(self.newest_micros - self.span.seconds() * SECOND_MICROS)
    }

    /// When the newest event happened, in microseconds.
    pub fn newest_micros(&self) -> i64 {
        self.newest_micros
    }

    /// From this time on it counts, in microseconds (inclusive).
    pub fn from_micros(&self) -> i64 {
        self.first() * self.span.granularity_seconds() * SECOND_MICROS
    }

    /// Adds a partition.
    pub fn add(&mut self, rings: &Rings) {
        let numbers = self.first()..=self.span.bucket(self.newest_micros);
        let mut users = Joined::default();
        // By borrowed names first: the buckets of a partition mostly name the same ones.
        let mut servers: HashMap<&str, u64, foldhash::fast::RandomState> = HashMap::default();
        for bucket in rings.of(self.span).iter().filter(|at| numbers.contains(&at.number)) {
            self.messages += bucket.messages;
            self.bots += bucket.bots;
            users.add(&bucket.users);
            for (name, messages) in &bucket.servers {
                *servers.entry(name).or_default() += messages;
            }
        }
        for (name, messages) in servers {
            self.servers.add(name, messages);
        }
        let (count, is_exact) = users.count();
        self.distinct_users += count;
        let error = if is_exact { 0.0 } else { BUCKET_ERROR * count as f64 };
        self.variance += error * error;
    }

    /// The standard error of the distinct users, as a share of them; 0 when they are exact.
    pub fn distinct_users_error(&self) -> f64 {
        share(self.variance.sqrt(), self.distinct_users)
    }
}

/// An error as a share of what was counted, to a millionth.
pub fn share(error: f64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { (error / of as f64 * 1e6).round() / 1e6 }
}
