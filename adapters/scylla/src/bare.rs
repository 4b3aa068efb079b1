//! For benches: the batches of a flush without duplicate checks and positions, and plain batches
//! of the same shape without any of our logic.

use std::sync::Arc;

use agon_ports::PortError;
use agon_projections::Flush;
use futures::stream::{self, StreamExt, TryStreamExt};
use scylla::client::session::Session;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;

use crate::error::{OpenError, RequestError};
use crate::flush::{Kind, Limits, Plan, Write, plan};
use crate::link::Link;
use crate::session::{connect, prepare};
use crate::settings::StoreSettings;
use crate::stamp::Stamps;
use crate::{CqlAddress, meta};

/// The table that bare batches go to.
const SCRATCH: &str = "bench_scratch";
/// About what a row takes beside its values, as batches are measured.
const AROUND_BYTES: usize = 100;

/// One batch: a mutation of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchShape {
    /// Its rows.
    pub rows: usize,
    /// Bytes of all rows, about.
    pub bytes: usize,
}

/// Writes flushes without identities and positions, so nothing of it may ever be resumed.
pub struct BareStore {
    link: Link,
    stamps: Stamps,
    limits: Limits,
}

impl BareStore {
    /// Connects to a keyspace that `init` made.
    ///
    /// # Errors
    /// What [`OpenError`] lists.
    pub async fn open(address: &CqlAddress, settings: &StoreSettings) -> Result<Self, OpenError> {
        let session = connect(address, settings.request_timeout()).await?;
        let epoch = meta::read(&session, address).await?.log_epoch;
        let stamps = Stamps::new(epoch).map_err(|error| OpenError::Damaged {
            address: address.clone(),
            what: error.to_string(),
        })?;
        let link = Link::new(session, address.keyspace(), settings.in_flight_max);
        let refused = |error| OpenError::request(address, "prepare the statements", error);
        let link = Box::pin(link).await.map_err(refused)?;
        let limits = Limits { rows: settings.rows_per_batch_max, bytes: settings.batch_bytes_max };
        Ok(BareStore { link, stamps, limits })
    }

    fn plan(&self, flush: &Flush) -> Result<Plan, PortError> {
        plan(flush, self.stamps, self.limits)
            .map_err(|error| PortError::never("plan a flush", error))
    }

    /// The batches in which the store writes this flush, identities and position included.
    ///
    /// # Errors
    /// `Retry::Never` for a flush that no store takes.
    pub fn shape(&self, flush: &Flush) -> Result<Vec<BatchShape>, PortError> {
        let Plan { side, cells, progress } = self.plan(flush)?;
        let batches = side.iter().chain(&cells).chain([&progress]);
        let shape = |writes: &Vec<Write>| BatchShape {
            rows: writes.len(),
            bytes: writes.iter().map(Write::size_bytes).sum(),
        };
        Ok(batches.map(shape).collect())
    }

    /// Writes a flush without identities and position.
    ///
    /// # Errors
    /// As those of a store's flush.
    pub async fn write(&self, flush: &Flush) -> Result<(), PortError> {
        let Plan { mut side, cells, .. } = self.plan(flush)?;
        side.retain(|writes| writes.iter().all(|write| write.kind() != Kind::FirstSeen));
        for batches in [side, cells] {
            let sent = batches.into_iter().map(|writes| self.link.send(writes));
            futures::future::try_join_all(sent)
                .await
                .map_err(|error| error.into_port("write a flush bare"))?;
        }
        Ok(())
    }
}

/// Writes plain batches to a table of its own, which it makes in the keyspace.
pub struct BareWriter {
    session: Arc<Session>,
    insert: PreparedStatement,
}

impl BareWriter {
    /// Connects and makes the table.
    ///
    /// # Errors
    /// What [`OpenError`] lists.
    pub async fn open(address: &CqlAddress) -> Result<BareWriter, OpenError> {
        let session = connect(address, StoreSettings::default().request_timeout()).await?;
        let table = format!("{}.{SCRATCH}", address.keyspace());
        let make = format!(
            "CREATE TABLE IF NOT EXISTS {table} \
             (part bigint, id bigint, value blob, PRIMARY KEY (part, id))"
        );
        let refused = |error| OpenError::request(address, "make a table for bare batches", error);
        let made = session.query_unpaged(make, ()).await;
        made.map_err(|error| refused(RequestError::from(error)))?;
        session.await_schema_agreement().await.map_err(|error| OpenError::Refused {
            address: address.clone(),
            attempted: "wait for the table for bare batches".to_owned(),
            reason: error.to_string(),
        })?;
        let insert =
            format!("INSERT INTO {table} (part, id, value) VALUES (?, ?, ?) USING TIMESTAMP ?");
        let insert = prepare(&session, insert).await.map_err(refused)?;
        Ok(BareWriter { session, insert })
    }

    /// Writes batches of these shapes, each to a partition of its own from number `first` on, so
    /// many at a time.
    ///
    /// # Errors
    /// `Retry::Later` when the store is away.
    pub async fn write(
        &self,
        shapes: impl Iterator<Item = BatchShape>,
        first: i64,
        in_flight_max: usize,
    ) -> Result<(), PortError> {
        let sent = (first..).zip(shapes).map(|(part, shape)| self.send(part, shape));
        let done = stream::iter(sent).buffer_unordered(in_flight_max.max(1));
        let done = done.try_for_each(|()| async { Ok(()) }).await;
        done.map_err(|error| error.into_port("write bare batches"))
    }

    async fn send(&self, part: i64, shape: BatchShape) -> Result<(), RequestError> {
        let a_row = (shape.bytes / shape.rows.max(1)).saturating_sub(AROUND_BYTES);
        let value: Arc<[u8]> = (0..a_row).map(|at| (at as i64 * 131 + part) as u8).collect();
        let rows = 0..shape.rows as i64;
        let values: Vec<_> = rows.map(|id| (part, id, &value[..], part * 2 + 1)).collect();
        if let [only] = &values[..] {
            self.session.execute_unpaged(&self.insert, only).await?;
            return Ok(());
        }
        let statements = values.iter().map(|_| self.insert.clone().into()).collect();
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        batch.set_is_idempotent(true);
        self.session.batch(&batch, values).await?;
        Ok(())
    }
}
