//! Who sends most, in bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi, 2005).
//!
//! A name that has a place is counted. One that has none takes the place of the least, with its
//! count and one more, and remembers that count as its error. So of N messages in K places
//! - a count is never too low, and too high by its error at most: `messages - error` are certain;
//! - no error, and no count of a name without a place, is above the least count, and that is N / K
//!   at most;
//! - with no more than K names every count is exact.
//!
//! Of several least the one with the lowest place goes: the places, which are what is stored,
//! decide, and not how they came to be.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

/// Names that one partition of the stream keeps a count for.
pub const PLACES: usize = 256;

/// A name and its count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frequent {
    /// Of a server or a user.
    pub name: String,
    /// Its messages at most.
    pub messages: u64,
    /// By how many that may be too high.
    pub error: u64,
}

/// The places of one partition, as the fold fills them.
#[derive(Clone, Debug, Default)]
pub struct Places {
    // Only looked up, never walked: its order is chance.
    index: HashMap<String, u16, foldhash::fast::RandomState>,
    places: Vec<Frequent>,
    /// No count is below it, and those before the cursor are above.
    floor: u64,
    cursor: usize,
}

impl Places {
    /// Counts a message of this name; the place that changed.
    pub fn count(&mut self, name: &str) -> u16 {
        if let Some(place) = self.index.get(name) {
            self.places[usize::from(*place)].messages += 1;
            return *place;
        }
        let (place, error) = if self.places.len() < PLACES {
            self.places.push(Frequent::default());
            (self.places.len() - 1, 0)
        } else {
            let (place, least) = self.least();
            self.index.remove(&self.places[place].name);
            (place, least)
        };
        self.places[place] = Frequent { name: name.to_owned(), messages: error + 1, error };
        self.index.insert(name.to_owned(), place as u16);
        place as u16
    }

    /// The first of the least, and how many messages it has. Counts only grow, so what the cursor
    /// has passed need not be looked at again below the same floor.
    fn least(&mut self) -> (usize, u64) {
        let is_least = |frequent: &Frequent| frequent.messages <= self.floor;
        if let Some(further) = self.places[self.cursor..].iter().position(is_least) {
            self.cursor += further;
        } else {
            let counts = self.places.iter().map(|frequent| frequent.messages).enumerate();
            let least = counts.min_by_key(|(place, count)| (*count, *place));
            (self.cursor, self.floor) = least.unwrap_or_default();
        }
        (self.cursor, self.floor)
    }

    /// What has a place.
    pub fn get(&self, place: u16) -> Option<&Frequent> {
        self.places.get(usize::from(place))
    }

    /// Takes in a row. Whether it is one.
    pub fn load(&mut self, place: u16, frequent: Frequent) -> bool {
        let at = usize::from(place);
        if at >= PLACES {
            return false;
        }
        if at >= self.places.len() {
            self.places.resize(at + 1, Frequent::default());
        }
        self.index.insert(frequent.name.clone(), place);
        self.places[at] = frequent;
        (self.floor, self.cursor) = (0, 0);
        true
    }
}

/// The places of one partition, in the order of their counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking {
    /// What stands in a place: where in the order it is found.
    places: BTreeMap<u16, Rank>,
    /// By how many messages each may be too high.
    errors: BTreeMap<Rank, u64>,
}

/// The highest first; of equal ones by their names.
type Rank = (Reverse<u64>, String);

impl Ranking {
    /// What stands in a place now.
    pub fn put(&mut self, place: u16, frequent: Frequent) {
        let rank = (Reverse(frequent.messages), frequent.name);
        if let Some(before) = self.places.insert(place, rank.clone()) {
            self.errors.remove(&before);
        }
        self.errors.insert(rank, frequent.error);
    }

    /// The highest first: name, messages and by how many these may be too high.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.errors.iter().map(|((messages, name), error)| (name.as_str(), messages.0, *error))
    }

    /// The messages that a name without a place has at most.
    pub fn least(&self) -> u64 {
        let is_full = self.errors.len() >= PLACES;
        let last = self.errors.last_key_value().filter(|_| is_full);
        last.map_or(0, |((Reverse(messages), _), _)| *messages)
    }
}

/// The first of a list, and by how many messages the list errs at most: in a count, and in leaving
/// out a name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Top {
    /// The highest first; of equal ones by their names.
    pub first: Vec<Frequent>,
    /// In messages; 0 when every count is exact and nobody is left out.
    pub error: u64,
}

/// The first of partitions among which no name is twice.
#[derive(Clone, Debug)]
pub struct DisjointTop {
    limit: usize,
    top: Top,
}

impl DisjointTop {
    /// The first so many of nothing yet.
    pub fn new(limit: usize) -> DisjointTop {
        DisjointTop { limit, top: Top::default() }
    }

    /// Adds a partition; looks at so many of it and no more.
    pub fn add(&mut self, ranking: &Ranking) {
        let first = ranking.iter().take(self.limit);
        self.top.first.extend(first.map(|(name, messages, error)| Frequent {
            name: name.to_owned(),
            messages,
            error,
        }));
        self.top.error = ranking.least().max(self.top.error);
    }

    /// The first of all partitions.
    pub fn finish(mut self) -> Top {
        sort(&mut self.top.first, self.limit);
        self.top
    }
}

/// What partitions say of one name.
#[derive(Clone, Copy, Debug, Default)]
struct Shared {
    messages: u64,
    error: u64,
    /// The sum of the least counts where it has a place.
    least: u64,
}

/// The first of partitions among which a name may be often. Where a partition has no place for it,
/// it counts what it has there at most.
#[derive(Clone, Debug)]
pub struct SharedTop {
    limit: usize,
    // Put into order at the end.
    names: HashMap<String, Shared, foldhash::fast::RandomState>,
    error: u64,
}

impl SharedTop {
    /// The first so many of nothing yet.
    pub fn new(limit: usize) -> SharedTop {
        SharedTop { limit, names: HashMap::default(), error: 0 }
    }

    /// Adds a partition.
    pub fn add(&mut self, ranking: &Ranking) {
        let least = ranking.least();
        self.error += least;
        for (name, messages, error) in ranking.iter() {
            let shared = match self.names.get_mut(name) {
                Some(shared) => shared,
                None => self.names.entry(name.to_owned()).or_default(),
            };
            shared.messages += messages;
            shared.error += error;
            shared.least += least;
        }
    }

    /// The first of all partitions.
    pub fn finish(self) -> Top {
        let frequent = |(name, shared): (String, Shared)| {
            let elsewhere = self.error - shared.least;
            let (messages, error) = (shared.messages + elsewhere, shared.error + elsewhere);
            Frequent { name, messages, error }
        };
        let mut first = self.names.into_iter().map(frequent).collect();
        sort(&mut first, self.limit);
        Top { first, error: self.error }
    }
}

fn sort(all: &mut Vec<Frequent>, limit: usize) {
    let order = |one: &Frequent, other: &Frequent| {
        other.messages.cmp(&one.messages).then_with(|| one.name.cmp(&other.name))
    };
    all.sort_unstable_by(order);
    all.truncate(limit);
}
