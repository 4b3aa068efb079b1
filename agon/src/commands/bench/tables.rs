//! The sides of `agon bench consume` that write into Cassandra or ScyllaDB.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use agon_scylla::bare::{BareStore, BareWriter, BatchShape};
use agon_scylla::{CqlAddress, ScyllaStore, StoreSettings};

use super::consume::Bench;
use super::deployment::{Deployment, PATIENCE};
use super::median;
use super::sides::{Goal, Side, cpu_seconds};
use super::stores::{CountingStore, Seen, UncheckedStore};
use crate::exit::Exit;
use crate::{output, servers};

/// Rows of a bare batch of a size that suits the servers.
const BEST_ROWS: usize = 500;
/// Such batches at a time.
const BEST_IN_FLIGHT: usize = 4;
/// A usual consumer, two counter updates an event, on this kind of machine, in events a second.
const USUAL_PER_S: f64 = 1_149.0;
/// How many times as fast the consumer is to be.
const USUAL_TIMES: f64 = 250.0;
/// Kafka Streams with exactly_once_v2, in events a second of its process' processors.
const STREAMS_PER_CPU_S: f64 = 173_000.0;
/// How many times as many events a processor's second is to bear.
const STREAMS_TIMES: f64 = 5.0;

/// The goals among all sides; those of this module begin at 4.
pub const GOALS: [Goal; 3] = [
    Goal { side: 4, baseline: 5, least: 0.9 },
    Goal { side: 6, baseline: 7, least: 0.8 },
    Goal { side: 6, baseline: 8, least: 0.8 },
];

/// The sides of this module, not measured yet.
pub fn sides() -> [Side; 5] {
    [
        Side::new("consumer with the fold, into the servers' store", "events"),
        Side::new("the same, writing and asking no identities and no positions", "events"),
        Side::new("side 5 again, in rows that it wrote", "rows"),
        Side::new("bare writer: as many rows in batches of the sizes of side 5", "rows"),
        Side::new(
            format!("bare writer: as many rows, {BEST_ROWS} a batch, {BEST_IN_FLIGHT} at a time"),
            "rows",
        ),
    ]
}

/// The store, and what was seen going into it.
pub struct Tables {
    address: CqlAddress,
    log: agon_scylla::LogFacts,
    bare: Arc<BareStore>,
    writer: BareWriter,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seen: Seen,
    /// Partitions that bare batches went to.
    used: i64,
}

impl Tables {
    /// Connects to the keyspace of a deployment that has one.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn open(deployment: &Deployment) -> Result<Option<Tables>, Exit> {
        let Some(address) = deployment.store.clone() else { return Ok(None) };
        let settings = StoreSettings::default();
        let bare = BareStore::open(&address, &settings).await.map_err(Exit::missing)?;
        let writer = BareWriter::open(&address).await.map_err(Exit::missing)?;
        let (log, bare) = (servers::facts(&deployment.log), Arc::new(bare));
        Ok(Some(Tables { address, log, bare, writer, state: Mutex::default() }))
    }

    /// One round of the sides of this module.
    ///
    /// # Errors
    /// When log or store are away.
    pub async fn round(&self, bench: &Bench<'_>, sides: &mut [Side]) -> Result<(), Exit> {
        let [stored, unchecked, rows, same, best] = sides else {
            unreachable!("as many as `sides` makes")
        };
        let counting = Arc::new(CountingStore::new(self.empty().await?, Arc::clone(&self.bare)));
        let took = bench.fold_on_servers(counting.clone()).await?;
        let seen = counting.seen();
        let row_count = bench.records * seen.rows_per_event();
        stored.add(bench.records, took);
        rows.add(row_count, took);

        let (reads, writes) = (self.empty().await?, Arc::clone(&self.bare));
        let store = Arc::new(UncheckedStore { reads, writes });
        unchecked.add(bench.records, bench.fold_on_servers(store).await?);
        self.empty().await?;

        let in_flight_max = StoreSettings::default().in_flight_max;
        let took = self.write(seen.batches.iter().copied().cycle(), row_count, in_flight_max);
        same.add(row_count, took.await?);
        let bytes = (seen.bytes_per_row() * BEST_ROWS as f64) as usize;
        let batch = BatchShape { rows: BEST_ROWS, bytes };
        let took = self.write(std::iter::repeat(batch), row_count, BEST_IN_FLIGHT);
        best.add(row_count, took.await?);
        self.state.lock().unwrap_or_else(PoisonError::into_inner).seen = seen;
        Ok(())
    }

    /// The store, with nothing in it.
    async fn empty(&self) -> Result<Arc<ScyllaStore>, Exit> {
        let wipe = || agon_scylla::wipe(&self.address);
        servers::patiently(PATIENCE, wipe, agon_scylla::OpenError::may_pass).await?;
        servers::store(&self.address, self.log, PATIENCE).await
    }

    /// Writes bare batches until they have so many rows.
    async fn write(
        &self,
        shapes: impl Iterator<Item = BatchShape>,
        rows: f64,
        in_flight_max: usize,
    ) -> Result<(f64, f64), Exit> {
        let mut written = 0.0;
        let shapes = shapes.take_while(|shape| {
            let is_wanted = written < rows;
            written += shape.rows as f64;
            is_wanted
        });
        let first = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let first = state.used;
            // Each batch has a row at least.
            state.used += rows as i64 + 1;
            first
        };
        let (started, cpu) = (Instant::now(), cpu_seconds());
        let done = self.writer.write(shapes, first, in_flight_max).await;
        done.map_err(Exit::missing)?;
        Ok((started.elapsed().as_secs_f64(), cpu_seconds() - cpu))
    }

    /// What the last round wrote, and how the consumer stands beside others' figures.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    pub fn print(&self, sides: &[Side]) -> Result<(), Exit> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = &state.seen;
        output::line(format_args!(
            "side 5 wrote {:.2} rows and {:.3} batches (requests) an event, {:.0} bytes a row, in \
             {} flushes (one of 16 looked at)",
            seen.rows_per_event(),
            seen.batches_per_event(),
            seen.bytes_per_row(),
            seen.flushes
        ))?;
        output::line(
            "side 6 is the same program with a store around the real one that leaves out what \
             serves duplicates\nand resuming; the filter in memory stays",
        )?;
        let Some(stored) = sides.first() else { return Ok(()) };
        let (per_s, per_cpu_s) = (median(&stored.per_s), 1e6 / median(&stored.cpu_s));
        output::line(format_args!(
            "side 5 beside a usual consumer on this kind of machine ({USUAL_PER_S:.0} events/s): \
             {:.0} times, goal {USUAL_TIMES:.0}\nside 5 beside Kafka Streams exactly_once_v2 \
             ({STREAMS_PER_CPU_S:.0} events a CPU second): {:.2} times, goal {STREAMS_TIMES:.0}",
            per_s / USUAL_PER_S,
            per_cpu_s / STREAMS_PER_CPU_S
        ))
    }
}
