//! One partition of the stream: counts by server, bots and distinct users, with what answers for
//! top lists and windows of time. All of it is bounded, however many users and servers there are.

use std::collections::HashMap;

use agon_schema::event::RecentChange;
use agon_schema::{ContentHash, EventTime};

use crate::cell::CellKey;
use crate::fold::{Effects, Known};
use crate::row::{
    Head, HeadDetail, Part, Row, RowKey, StreamTotals, Tally, TallyKey, UserHash, Value,
};
use crate::tally::Tallies;
use crate::window::Span;

/// Users that one partition counts exactly, each with a row; from this one on a sketch counts. Over
/// 16 partitions that is 131,072, so that 100,000 are exact although they do not spread evenly; and
/// a row a user is less than the rows that the users' events leave anyway.
pub const EXACT_USERS_MAX: u64 = 8_192;

/// Servers that one partition counts by name; the messages of later ones count under
/// [`OTHER_SERVERS`]. Wikimedia has about a thousand.
pub const SERVERS_MAX: usize = 4096;

/// The name under which servers beyond [`SERVERS_MAX`] count together.
pub const OTHER_SERVERS: &str = "(other)";

/// What a slot stands for.
#[derive(Clone, Copy, Debug)]
enum Slot {
    /// A server, by its number.
    Server(u32),
    /// A tally, and the offset of the last event that touched it.
    Tally(TallyKey, u64),
}

/// The state of one partition.
#[derive(Clone, Debug)]
pub struct StreamCell {
    partition: u32,
    head: Option<Head>,
    totals: StreamTotals,
    // Only looked up, never walked: its order is chance.
    names: HashMap<String, u32, foldhash::fast::RandomState>,
    servers: Vec<(String, u64)>,
    tallies: Box<Tallies>,
    slots: Vec<Slot>,
    /// The slot of each server.
    server_slots: Vec<u32>,
    // Only looked up.
    tally_slots: HashMap<TallyKey, u32, foldhash::fast::RandomState>,
}

/// By what a user is known: the hash of the name alone.
pub fn hash(user: &str) -> UserHash {
    UserHash(ContentHash::of_bytes(user.as_bytes()).0)
}

impl StreamCell {
    /// A partition of which nothing was read.
    pub fn new(partition: u32) -> StreamCell {
        StreamCell {
            partition,
            head: None,
            totals: StreamTotals::default(),
            names: HashMap::default(),
            servers: Vec::new(),
            tallies: Box::default(),
            slots: Vec::new(),
            server_slots: Vec::new(),
            tally_slots: HashMap::default(),
        }
    }

    /// Which cell it is.
    pub fn key(&self) -> CellKey {
        CellKey::Stream(self.partition)
    }

    /// Totals, once something was counted or rejected.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Whether users are still counted one by one, and known by their rows.
    pub(crate) fn is_exact(&self) -> bool {
        is_exact(&self.totals)
    }

    /// Servers and tallies that have a row.
    pub fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    /// The row of a slot.
    pub(crate) fn row(&self, slot: u32) -> Row {
        match self.slots[slot as usize] {
            Slot::Server(server) => {
                let (name, messages) = &self.servers[server as usize];
                let key = RowKey::Server(self.key(), name.clone());
                Row { key, value: Value::Server(*messages) }
            }
            Slot::Tally(key, ver) => match self.tallies.kept(key) {
                Some(kept) => {
                    let value = Value::Tally(Tally { ver, kept });
                    Row { key: RowKey::Tally(self.key(), key), value }
                }
                None => unreachable!("a tally gets its slot when it is filled"),
            },
        }
    }

    /// Takes in one of its own rows.
    pub(crate) fn load(&mut self, row: Row) {
        match (row.key, row.value) {
            (RowKey::Head(_), Value::Head(head)) => {
                if let HeadDetail::Stream(totals) = head.detail {
                    self.totals = totals;
                }
                self.head = Some(head);
            }
            (RowKey::Server(_, name), Value::Server(messages)) => {
                // Past the limit too: which names had a place is known, in any order.
                let server = self.names.get(&name).copied().unwrap_or_else(|| self.add(&name));
                self.servers[server as usize].1 = messages;
            }
            (RowKey::Tally(_, key), Value::Tally(tally)) => {
                let has_place = self.tallies.load(key, tally.kept);
                if has_place {
                    self.touch(key, tally.ver);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn observe(
        &mut self,
        offset: u64,
        event: &RecentChange,
        user: Option<UserHash>,
        known: &dyn Known,
    ) -> Effects {
        let mut effects = Effects::default();
        self.totals.messages += 1;
        self.totals.bots += u64::from(event.bot == Some(true));
        if let Some(user) = user {
            self.count_user(offset, user, known, &mut effects);
        }
        if let Some(name) = &event.user {
            let place = self.tallies.users.count(name);
            effects.touched.push(self.touch(TallyKey { part: Part::Users, place }, offset));
        }
        if let Some(name) = &event.server_name {
            let server = self.server(name);
            self.servers[server as usize].1 += 1;
            effects.touched.push(self.server_slots[server as usize]);
            let place = self.tallies.servers.count(name);
            effects.touched.push(self.touch(TallyKey { part: Part::Servers, place }, offset));
        }
        for span in Span::ALL {
            if let Some(place) = self.tallies.rings.of_mut(span).observe(event, user) {
                let key = TallyKey { part: Part::of_span(span), place };
                effects.touched.push(self.touch(key, offset));
            }
        }
        self.advance(offset, 1, Some(EventTime { at: event.occurred_at, filled_in: false }));
        effects
    }

    /// Counts a user who was not seen before. The sketch hears of everyone from the first on, so
    /// that it can go on from the exact count when that ends; what it adds is never negative.
    fn count_user(
        &mut self,
        offset: u64,
        user: UserHash,
        known: &dyn Known,
        effects: &mut Effects,
    ) {
        let was_exact = self.is_exact();
        if was_exact {
            if known.user(user).is_some_and(|counted_at| counted_at < offset) {
                return;
            }
            self.totals.distinct_users += 1;
            let key = RowKey::User(self.key(), user);
            effects.rows.push(Row { key, value: Value::Since(offset) });
        }
        let Some((place, gain_micros)) = self.tallies.registers.insert(user) else { return };
        effects.touched.push(self.touch(TallyKey { part: Part::Registers, place }, offset));
        if !was_exact {
            let totals = &mut self.totals;
            totals.users_beyond_micros = totals.users_beyond_micros.saturating_add(gain_micros);
            let counted = EXACT_USERS_MAX + totals.users_beyond_micros / 1_000_000;
            // Nobody is seen without a message.
            totals.distinct_users = counted.min(totals.messages).max(totals.distinct_users);
        }
    }

    /// Counts a record that became a dead letter.
    pub(crate) fn reject(&mut self, offset: u64) {
        self.totals.rejected += 1;
        self.advance(offset, 0, None);
    }

    fn advance(&mut self, offset: u64, counted: u64, occurred: Option<EventTime>) {
        let before = self.head.as_ref();
        self.head = Some(Head {
            applied: offset,
            counted: before.map_or(0, |head| head.counted) + counted,
            last: occurred.or(before.and_then(|head| head.last)),
            detail: HeadDetail::Stream(self.totals),
        });
    }

    fn server(&mut self, name: &str) -> u32 {
        if let Some(server) = self.names.get(name) {
            return *server;
        }
        // One place is kept for all that come too late.
        if self.servers.len() >= SERVERS_MAX && name != OTHER_SERVERS {
            return self.server(OTHER_SERVERS);
        }
        self.add(name)
    }

    fn add(&mut self, name: &str) -> u32 {
        let server = self.servers.len() as u32;
        self.names.insert(name.to_owned(), server);
        self.servers.push((name.to_owned(), 0));
        self.server_slots.push(self.slots.len() as u32);
        self.slots.push(Slot::Server(server));
        server
    }

    /// The slot of a tally that an event touched.
    fn touch(&mut self, key: TallyKey, offset: u64) -> u32 {
        let next = self.slots.len() as u32;
        let slot = *self.tally_slots.entry(key).or_insert(next);
        let touched = Slot::Tally(key, offset);
        match self.slots.get_mut(slot as usize) {
            Some(known) => *known = touched,
            None => self.slots.push(touched),
        }
        slot
    }
}

/// Whether the count of distinct users is exact; else its standard error is
/// [`COUNT_ERROR`](crate::sketch::COUNT_ERROR).
pub fn is_exact(totals: &StreamTotals) -> bool {
    totals.distinct_users < EXACT_USERS_MAX
}
