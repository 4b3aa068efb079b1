//! Leaderboards in memory: entrants in rank order, with rank, page and around-me in logarithmic
//! time. A board is made of a cell's own rows and follows it row by row.

pub mod ranked;

use agon_schema::AgentId;
use agon_schema::event::Direction;

use crate::cell::CellKey;
use crate::row::{Head, HeadDetail, Rating, Row, RowKey, Score, Value};
use ranked::{Ids, Ranked, Ties};

/// One environment's or benchmark's entrants in rank order: by rating or score, equal ones by the
/// bytes of their id.
#[derive(Debug)]
pub struct Board {
    key: CellKey,
    head: Option<Head>,
    ids: Ids,
    ranked: Ranked,
    columns: Columns,
}

/// One value a slot.
#[derive(Debug)]
enum Columns {
    Ratings(Vec<Rating>),
    Scores(Vec<Score>),
}

/// What an entrant stands there with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standing<'a> {
    /// In an environment.
    Rating(&'a Rating),
    /// On a benchmark.
    Score(&'a Score),
}

/// One line of a board.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry<'a> {
    /// From 1.
    pub rank: usize,
    /// Who.
    pub agent: &'a str,
    /// What the order is by; smaller stands higher. With the id it is a cursor.
    pub sort_key: u64,
    /// What it stands there with.
    pub standing: Standing<'a>,
}

/// The sort key of a rating: higher ratings have smaller keys.
pub fn rating_key(rating_micros: i64) -> u64 {
    !((rating_micros as u64) ^ (1 << 63))
}

/// The sort key of a finite score: better ones have smaller keys.
pub fn score_key(score: f64, direction: Direction) -> u64 {
    let bits = (score + 0.0).to_bits();
    let rising = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    match direction {
        Direction::Higher => !rising,
        Direction::Lower => rising,
    }
}

impl Board {
    /// A board from its cell's own rows, in any order; of two rows with one key the newer counts.
    pub fn from_rows(key: CellKey, rows: impl IntoIterator<Item = Row>) -> Board {
        let mut board = Board::empty(key);
        for row in rows {
            match (row.key, row.value) {
                (RowKey::Head(_), Value::Head(head)) => board.keep_head(&head),
                (RowKey::Entrant(_, agent), value) => {
                    board.keep_entrant(&agent, value);
                }
                _ => {}
            }
        }
        board.rank_all();
        board
    }

    /// Keys depend on the direction that the head says, so they are made once it is there.
    fn rank_all(&mut self) {
        let slots = 0..self.ids.len() as u32;
        let placed = slots.filter_map(|slot| Some((slot, self.sort_key(slot)?)));
        self.ranked = Ranked::build(&self.ids, placed.collect::<Vec<_>>());
    }

    fn empty(key: CellKey) -> Board {
        let columns = match key {
            CellKey::Benchmark(_) => Columns::Scores(Vec::new()),
            CellKey::Environment(_) | CellKey::Stream(_) => Columns::Ratings(Vec::new()),
        };
        Board { key, head: None, ids: Ids::new(), ranked: Ranked::new(), columns }
    }

    /// Takes in rows of its cell. A row that is older than the one it has changes nothing, so rows
    /// may come twice or late.
    pub fn apply(&mut self, rows: &[Row]) {
        let direction = self.direction();
        for row in rows {
            if let (RowKey::Head(_), Value::Head(head)) = (&row.key, &row.value) {
                self.keep_head(head);
            }
        }
        if self.direction() != direction {
            self.rank_all();
        }
        for row in rows {
            if let RowKey::Entrant(_, agent) = &row.key {
                self.apply_entrant(agent, &row.value);
            }
        }
    }

    fn apply_entrant(&mut self, agent: &AgentId, value: &Value) {
        let before = self.ids.slot_of(agent.as_str()).and_then(|slot| self.sort_key(slot));
        let Some(slot) = self.keep_entrant(agent, value.clone()) else { return };
        match (before, self.sort_key(slot)) {
            (None, Some(key)) => {
                self.ranked.insert(&self.ids, slot, key);
            }
            (Some(old), Some(key)) if old != key => {
                self.ranked.update(&self.ids, slot, old, key);
            }
            (Some(old), None) => {
                self.ranked.remove(&self.ids, slot, old);
            }
            _ => {}
        }
    }

    fn keep_head(&mut self, head: &Head) {
        if self.head.as_ref().is_none_or(|known| known.applied <= head.applied) {
            self.head = Some(head.clone());
        }
    }

    /// Stores a value in the column of its agent; `None`, and nothing is changed, for one that is
    /// older than what stands there, or of another kind of board.
    fn keep_entrant(&mut self, agent: &AgentId, value: Value) -> Option<u32> {
        let ver = match (&self.columns, &value) {
            (Columns::Ratings(_), Value::Rating(rating)) => rating.ver,
            (Columns::Scores(_), Value::Score(score)) => score.ver,
            _ => return None,
        };
        // An id is valid and there are fewer than four billion agents, so it is always taken.
        let slot = self.ids.intern(agent.as_str()).ok()?;
        if self.ver(slot).is_some_and(|known| known > ver) {
            return None;
        }
        match (&mut self.columns, value) {
            (Columns::Ratings(column), Value::Rating(rating)) => put(column, slot, rating),
            (Columns::Scores(column), Value::Score(score)) => put(column, slot, score),
            _ => {}
        }
        Some(slot)
    }

    fn ver(&self, slot: u32) -> Option<u64> {
        match &self.columns {
            Columns::Ratings(column) => column.get(slot as usize).map(|rating| rating.ver),
            Columns::Scores(column) => column.get(slot as usize).map(|score| score.ver),
        }
    }

    /// `None` for a slot that stands on no board.
    fn sort_key(&self, slot: u32) -> Option<u64> {
        match &self.columns {
            Columns::Ratings(column) => {
                column.get(slot as usize).map(|rating| rating_key(rating.rating_micros))
            }
            Columns::Scores(column) => {
                let score = column.get(slot as usize)?.score?;
                Some(score_key(score, self.direction()))
            }
        }
    }

    fn direction(&self) -> Direction {
        match self.head.as_ref().map(|head| &head.detail) {
            Some(HeadDetail::Benchmark(definition)) => definition.direction,
            _ => Direction::Higher,
        }
    }

    /// Which cell it shows.
    pub fn key(&self) -> &CellKey {
        &self.key
    }

    /// Definition, totals, and how far the board is true.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Entrants on the board.
    pub fn len(&self) -> usize {
        self.ranked.len()
    }

    /// Whether nobody stands on it.
    pub fn is_empty(&self) -> bool {
        self.ranked.is_empty()
    }

    /// How many stand above this agent; `None` when it is not on the board.
    pub fn ordinal_of(&self, agent: &str) -> Option<usize> {
        let slot = self.ids.slot_of(agent)?;
        self.ranked.rank_of(&self.ids, slot, self.sort_key(slot)?)
    }

    /// How many stand above or at this place: where the page after a cursor starts.
    pub fn ordinal_after(&self, sort_key: u64, agent: &str) -> usize {
        match self.ranked.position(&self.ids, sort_key, agent) {
            Ok(ordinal) => ordinal + 1,
            Err(ordinal) => ordinal,
        }
    }

    /// How many stand above the first whose rank is at least `rank`, counting ties as told.
    pub fn ordinal_of_rank(&self, rank: usize, ties: Ties) -> usize {
        // Ranks never run ahead of the lines, and only without ties do they keep up with them.
        let (mut low, mut high) = (rank.saturating_sub(1).min(self.len()), self.len());
        if ties == Ties::Ordinal {
            return low;
        }
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.ranked.standings(middle, ties).next() {
                Some(standing) if standing.rank < rank => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }

    /// At most `limit` lines from the one that `ordinal` others stand above.
    pub fn page(&self, ordinal: usize, limit: usize, ties: Ties) -> Vec<Entry<'_>> {
        let standings = self.ranked.standings(ordinal, ties).take(limit);
        standings.filter_map(|s| self.entry(s.rank, s.slot, s.key)).collect()
    }

    fn entry(&self, rank: usize, slot: u32, sort_key: u64) -> Option<Entry<'_>> {
        let standing = match &self.columns {
            Columns::Ratings(column) => Standing::Rating(column.get(slot as usize)?),
            Columns::Scores(column) => Standing::Score(column.get(slot as usize)?),
        };
        Some(Entry { rank, agent: self.ids.id(slot), sort_key, standing })
    }

    /// Bytes of ids, order and ratings, by capacity; metrics of scores are not counted.
    pub fn bytes(&self) -> usize {
        let columns = match &self.columns {
            Columns::Ratings(column) => column.capacity() * size_of::<Rating>(),
            Columns::Scores(column) => column.capacity() * size_of::<Score>(),
        };
        self.ids.bytes() + self.ranked.bytes() + columns
    }
}

/// Slots are handed out one by one, so a new one is the next of its column.
fn put<T>(column: &mut Vec<T>, slot: u32, value: T) {
    match column.get_mut(slot as usize) {
        Some(place) => *place = value,
        None => column.push(value),
    }
}
