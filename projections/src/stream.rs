//! One partition of the stream: counts by server, bots and distinct users.

use std::collections::HashMap;

use agon_schema::event::RecentChange;
use agon_schema::{ContentHash, EventTime};

use crate::cell::CellKey;
use crate::fold::{Effects, Known};
use crate::row::{Head, HeadDetail, Row, RowKey, StreamTotals, UserHash, Value};

/// Servers that one partition counts by name; the messages of later ones count under
/// [`OTHER_SERVERS`]. Wikimedia has about a thousand.
pub const SERVERS_MAX: usize = 4096;

/// The name under which servers beyond [`SERVERS_MAX`] count together.
pub const OTHER_SERVERS: &str = "(other)";

/// The state of one partition.
#[derive(Clone, Debug)]
pub struct StreamCell {
    partition: u32,
    head: Option<Head>,
    totals: StreamTotals,
    // Only looked up, never walked: its order is chance.
    slots: HashMap<String, u32, foldhash::fast::RandomState>,
    servers: Vec<(String, u64)>,
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
            slots: HashMap::default(),
            servers: Vec::new(),
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

    /// Servers with at least one message.
    pub fn slots(&self) -> u32 {
        self.servers.len() as u32
    }

    /// The row of a slot.
    pub(crate) fn row(&self, slot: u32) -> Row {
        let (name, messages) = &self.servers[slot as usize];
        Row { key: RowKey::Server(self.key(), name.clone()), value: Value::Server(*messages) }
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
                let slot = self.slots.get(&name).copied().unwrap_or_else(|| self.add(&name));
                self.servers[slot as usize].1 = messages;
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
        if let Some(user) = user
            && known.user(user).is_none_or(|counted_at| counted_at >= offset)
        {
            self.totals.distinct_users += 1;
            let key = RowKey::User(self.key(), user);
            effects.rows.push(Row { key, value: Value::Since(offset) });
        }
        if let Some(name) = &event.server_name {
            let slot = self.server(name);
            self.servers[slot as usize].1 += 1;
            effects.touched.push(slot);
        }
        self.advance(offset, 1, Some(EventTime { at: event.occurred_at, filled_in: false }));
        effects
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
        if let Some(slot) = self.slots.get(name) {
            return *slot;
        }
        // One place is kept for all that come too late.
        if self.servers.len() >= SERVERS_MAX && name != OTHER_SERVERS {
            return self.server(OTHER_SERVERS);
        }
        self.add(name)
    }

    fn add(&mut self, name: &str) -> u32 {
        let slot = self.servers.len() as u32;
        self.slots.insert(name.to_owned(), slot);
        self.servers.push((name.to_owned(), 0));
        slot
    }
}
