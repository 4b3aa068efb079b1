//! What a partition of the stream keeps besides its head and its servers, in rows of a bounded
//! number: registers of a sketch, places of those who send most, buckets of time.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::frequent::{Frequent, Places};
use crate::sketch::Registers;
use crate::window::{Bucket, Rings, Span};

/// Which part. The codes stand in stored keys and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Registers of distinct users, 256 a row.
    Registers = 1,
    /// Servers with most messages.
    Servers = 2,
    /// Users with most messages.
    Users = 3,
    /// Buckets of the last minute.
    Minute = 4,
    /// Buckets of the last hour.
    Hour = 5,
    /// Buckets of the last day.
    Day = 6,
}

impl Part {
    /// All of them, in the order of their codes.
    pub const ALL: [Part; 6] =
        [Part::Registers, Part::Servers, Part::Users, Part::Minute, Part::Hour, Part::Day];

    /// The part that holds the buckets of a span.
    pub const fn of_span(span: Span) -> Part {
        match span {
            Span::Minute => Part::Minute,
            Span::Hour => Part::Hour,
            Span::Day => Part::Day,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Part::Registers => "registers",
            Part::Servers => "top servers",
            Part::Users => "top users",
            Part::Minute => "1m",
            Part::Hour => "1h",
            Part::Day => "24h",
        }
    }
}

/// Where a row stands among those of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TallyKey {
    /// Which part.
    pub part: Part,
    /// Which row of it, from 0.
    pub place: u16,
}

impl TallyKey {
    /// As stored keys end: the part's code, then the place, so that they sort alike.
    pub const fn bytes(self) -> [u8; 3] {
        let [high, low] = self.place.to_be_bytes();
        [self.part as u8, high, low]
    }

    /// The key of these bytes, if they are one.
    pub fn of_bytes([code, high, low]: [u8; 3]) -> Option<TallyKey> {
        let part = Part::ALL.into_iter().find(|part| *part as u8 == code)?;
        Some(TallyKey { part, place: u16::from_be_bytes([high, low]) })
    }
}

impl fmt::Display for TallyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.part.name(), self.place)
    }
}

/// A row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// The offset of the last event that touched it.
    pub ver: u64,
    /// What it holds.
    pub kept: Kept,
}

/// What a row holds; the variant that belongs to its part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Kept {
    /// Of [`Part::Registers`].
    Registers(Vec<u8>),
    /// Of [`Part::Servers`] and [`Part::Users`].
    Frequent(Frequent),
    /// Of [`Part::Minute`], [`Part::Hour`] and [`Part::Day`].
    Bucket(Bucket),
}

/// What all rows of one partition hold together, as the fold changes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tallies {
    pub(crate) registers: Registers,
    pub(crate) servers: Places,
    pub(crate) users: Places,
    pub(crate) rings: Rings,
}

impl Tallies {
    /// What a row holds, if it has been filled.
    pub(crate) fn kept(&self, key: TallyKey) -> Option<Kept> {
        let place = key.place;
        let bucket = |span| self.rings.of(span).get(place).cloned().map(Kept::Bucket);
        match key.part {
            Part::Registers => Some(Kept::Registers(self.registers.chunk(place))),
            Part::Servers => self.servers.get(place).cloned().map(Kept::Frequent),
            Part::Users => self.users.get(place).cloned().map(Kept::Frequent),
            Part::Minute => bucket(Span::Minute),
            Part::Hour => bucket(Span::Hour),
            Part::Day => bucket(Span::Day),
        }
    }

    /// Takes in a row. Whether it is one.
    pub(crate) fn load(&mut self, key: TallyKey, kept: Kept) -> bool {
        let place = key.place;
        match (key.part, kept) {
            (Part::Registers, Kept::Registers(ranks)) => self.registers.load(place, &ranks),
            (Part::Servers, Kept::Frequent(frequent)) => self.servers.load(place, frequent),
            (Part::Users, Kept::Frequent(frequent)) => self.users.load(place, frequent),
            (Part::Minute, Kept::Bucket(bucket)) => self.ring(Span::Minute, place, bucket),
            (Part::Hour, Kept::Bucket(bucket)) => self.ring(Span::Hour, place, bucket),
            (Part::Day, Kept::Bucket(bucket)) => self.ring(Span::Day, place, bucket),
            _ => false,
        }
    }

    fn ring(&mut self, span: Span, place: u16, bucket: Bucket) -> bool {
        self.rings.of_mut(span).load(place, bucket)
    }
}
