//! A store that stopped, opened again in its place.
//!
//! ```text
//! a write fails -> the database takes no more, reads go on
//! a later flush -> is there room? then: close, open, go on with what is stored
//! ```
//! The database refuses every write after one that failed, a full volume's most often, until it is
//! opened anew. Opening it ends no read: those under way are waited for, later ones wait. What a
//! failed write left behind is whole or cut off, as after a kill; its flush is sent again, and
//! finds itself stored or not.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use agon_ports::PortError;
use fjall::PersistMode;

use super::chain::Chain;
use super::{Inner, Tables, open};
use crate::files::Room;

/// Tables that wait to be written out, before a flush waits for them. The database holds a writer
/// at four, and for ever when its own threads have given up.
const WAITING_TABLES_MAX: usize = 2;

/// What the one who writes knows.
pub(super) struct Writer {
    pub(super) chain: Chain,
    /// A write failed, and the store was not opened again.
    pub(super) is_stopped: bool,
    /// When it was opened again, or tried to be.
    reopened_at: Option<Instant>,
}

impl Writer {
    /// Of a store that was opened.
    pub(super) fn new(chain: Chain) -> Writer {
        Writer { chain, is_stopped: false, reopened_at: None }
    }
}

impl Inner {
    /// Opens a stopped store again.
    ///
    /// Not before its volume has room for a table in memory: one that fails once more at the next
    /// write would take the last room from the log, and from reads the time of opening.
    pub(super) fn reopen(
        &self,
        writer: &mut Writer,
        attempted: impl Fn() -> String,
    ) -> Result<(), PortError> {
        let refused = |why: String| {
            let reason =
                format!("the store stopped after a failed write and is opened again {why}");
            PortError::later(attempted(), reason)
        };
        let pause = Duration::from_millis(self.config.reopen_pause_ms);
        let waited = writer.reopened_at.map_or(pause, |at| at.elapsed());
        if waited < pause {
            return Err(refused(format!("in {} ms", (pause - waited).as_millis())));
        }
        let needed = self.config.memtable_bytes;
        // Where the volume cannot be asked, opening shows what is wrong with it.
        let room = Room::of(&self.dir).ok();
        if let Some(free) = room.map(|room| room.free_bytes).filter(|free| *free < needed) {
            return Err(refused(format!(
                "when its volume has {} MiB of room; it has {} MiB at {}",
                needed >> 20,
                free >> 20,
                self.dir.display()
            )));
        }
        writer.reopened_at = Some(Instant::now());
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        drop(tables.take());
        let opened = open::open(&self.dir, self.log, &self.config).map_err(|error| match error
            .is_mended_by_folding_anew()
        {
            true => PortError::never(attempted(), error),
            false => PortError::later(attempted(), error),
        })?;
        *tables = Some(opened.tables);
        writer.chain = opened.chain;
        writer.is_stopped = false;
        tracing::info!(dir = %self.dir.display(), "the store is open again after a failed write");
        Ok(())
    }
}

impl Tables {
    /// Waits until fewer tables wait to be written out, or the database has given up.
    pub(super) fn await_room_in_memory(&self) -> fjall::Result<()> {
        while self.rows.sealed_memtable_count() > WAITING_TABLES_MAX {
            // Refused when it has.
            self.db.persist(PersistMode::Buffer)?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}
