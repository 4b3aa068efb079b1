//! The raw reader of `verify`. It shares no code with the store's own reading but the names of the
//! tables, so that a fault there is not repeated here.
//!
//! Keys and values are those of an embedded store: what has columns of its own is encoded again,
//! and chunks are taken apart. Rows beside a cell that lie above its `applied`, and dead letters
//! above the progress, were left by a flush that did not complete: nobody is shown them, and
//! neither are those who list.

mod ask;
mod chunk;
mod place;
mod places;
mod rows;
mod stamps;
mod values;

use std::sync::Arc;
use std::time::Duration;

use agon_ports::{PortError, StoreInspector};
use agon_projections::Table;
use agon_projections::row_bytes::{Prefix, key_of_bytes, prefix_bytes};
use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::error::{OpenError, RequestError};
use crate::session::connect;
use crate::{CqlAddress, LogFacts, meta, migrations};
use ask::{Asker, IN_FLIGHT_MAX, all};
use place::{Place, Rank};
use places::Listing;
use rows::Entry;

/// A whole table is read: a page of it may take its time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Foreign rows that are named.
const FOREIGN_MAX: usize = 1_000;

/// Looks at what a keyspace holds.
pub struct ScyllaInspector {
    asker: Asker,
    log_epoch: u32,
    /// The partitions of the table that is being listed.
    listing: Mutex<Option<Arc<Listing>>>,
}

impl ScyllaInspector {
    /// Connects to a keyspace that `agon init` made for this log.
    ///
    /// # Errors
    /// A store that is away or refuses, a keyspace that is not as `agon init` makes it, or of
    /// another log.
    pub async fn open(address: &CqlAddress, log: LogFacts) -> Result<ScyllaInspector, OpenError> {
        let session = connect(address, REQUEST_TIMEOUT).await?;
        migrations::check(&session, address).await?;
        let facts = meta::read(&session, address).await?;
        facts.check(address, log)?;
        let asker = Asker::new(session, address.keyspace());
        Ok(ScyllaInspector { asker, log_epoch: facts.log_epoch, listing: Mutex::default() })
    }

    /// Rows that were not written by a flush: their stamps are not those of their offsets. At most
    /// `limit`, each as `table: row: how that is seen`.
    ///
    /// # Errors
    /// `Retry::Later` when the store is away.
    pub async fn foreign_stamps(&self, limit: usize) -> Result<Vec<String>, PortError> {
        let found = stamps::foreign(&self.asker, self.log_epoch, limit).await;
        found.map_err(|error| error.into_port("look for foreign stamps"))
    }

    /// The partitions of a table: those of the listing under way when it goes on, else anew.
    async fn listing(&self, table: Table, goes_on: bool) -> Result<Arc<Listing>, RequestError> {
        let mut known = self.listing.lock().await;
        if let Some(listing) = known.as_ref().filter(|listing| goes_on && listing.table == table) {
            return Ok(Arc::clone(listing));
        }
        *known = None;
        let listing = Arc::new(Listing::read(&self.asker, table).await?);
        *known = Some(Arc::clone(&listing));
        Ok(listing)
    }

    /// The entries of one table under a prefix, after a key.
    async fn of_table(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, RequestError> {
        let of_table = prefix_bytes(&Prefix::Table(table));
        let after = after.filter(|after| **after >= of_table[..]);
        let listing = self.listing(table, after.is_some()).await?;
        let key = after.and_then(key_of_bytes).filter(|key| key.table() == table);
        let here = key.as_ref().map(|key| Place::of(key).rank(table));
        let start = listing.places.partition_point(|(rank, _)| Some(rank) < here.as_ref());
        let is_asked =
            |(rank, _): &&(Rank, Place)| rank.0.starts_with(prefix) || prefix.starts_with(&rank.0);
        let mut asked = listing.places[start..].iter().filter(is_asked);
        let mut found: Vec<Entry> = Vec::new();
        loop {
            let group: Vec<_> = asked.by_ref().take(IN_FLIGHT_MAX).collect();
            let is_last = group.len() < IN_FLIGHT_MAX;
            let pages = group.iter().map(|(rank, place)| {
                let within = key.as_ref().filter(|_| here.as_ref() == Some(rank));
                rows::entries(&self.asker, table, place, within, limit, &listing.visible)
            });
            for page in all(pages).await? {
                let is_asked = |(key, _): &Entry| {
                    key.starts_with(prefix) && after.is_none_or(|after| &key[..] > after)
                };
                found.extend(page.into_iter().filter(is_asked));
            }
            if is_last || found.len() >= limit {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }
}

#[async_trait]
impl StoreInspector for ScyllaInspector {
    async fn values(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, PortError> {
        let attempted = format!("look at {} values", keys.len());
        let keys = keys.iter().map(|key| key_of_bytes(key)).collect();
        let values = values::values(&self.asker, keys).await;
        values.map_err(|error| error.into_port(attempted))
    }

    async fn entries(
        &self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, PortError> {
        let attempted = format!("look under {prefix:02x?}");
        let mut found = Vec::new();
        for table in Table::ALL {
            let of_table = prefix_bytes(&Prefix::Table(table));
            let is_asked = of_table.starts_with(&prefix) || prefix.starts_with(&of_table);
            // The tables come in the order of their keys.
            let is_past = after.as_ref().is_some_and(|after| after[..] > past(&of_table)[..]);
            if !is_asked || is_past || found.len() >= limit {
                continue;
            }
            let left = limit - found.len();
            let entries = self.of_table(table, &prefix, after.as_deref(), left).await;
            found.extend(entries.map_err(|error| error.into_port(&*attempted))?);
        }
        Ok(found)
    }

    async fn foreign(&self) -> Result<Vec<String>, PortError> {
        self.foreign_stamps(FOREIGN_MAX).await
    }
}

/// Bytes that lie after every key that starts so.
fn past(prefix: &[u8]) -> Vec<u8> {
    [prefix, &[0xff; 1_024]].concat()
}
