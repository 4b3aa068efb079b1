//! The port: flushes in their order, rows by key and by prefix.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agon_ports::{PortError, ProjectionStore, Scan};
use agon_projections::{Applied, Flush, Row, RowKey, span_fits};
use agon_schema::TopicPartition;
use async_trait::async_trait;
use futures::future::try_join_all;

use crate::controls::{Control, is_broken};
use crate::error::{OpenError, RequestError};
use crate::flush::{Limits, Plan, Write, plan};
use crate::init::LogFacts;
use crate::link::Link;
use crate::read::Reader;
use crate::session::connect;
use crate::settings::StoreSettings;
use crate::stamp::Stamps;
use crate::{CqlAddress, meta, migrations};

/// A store on ScyllaDB or Cassandra.
///
/// Any number may be open on one keyspace, in this process and in others, and flush the same
/// partitions: what they write is the same, or older and then without effect.
pub struct ScyllaStore {
    /// Named where something fails.
    address: CqlAddress,
    reader: Reader,
    settings: StoreSettings,
    stamps: Stamps,
    /// How far each partition was stored when it was last read or written here. Another owner may
    /// have gone on since.
    stored: Mutex<HashMap<TopicPartition, Applied>>,
}

impl ScyllaStore {
    /// Opens what [`init`](crate::init()) made. Makes nothing.
    ///
    /// # Errors
    /// What [`OpenError`] lists; [`OpenError::may_pass`] says whether to wait.
    pub async fn open(
        address: &CqlAddress,
        log: LogFacts,
        settings: StoreSettings,
    ) -> Result<ScyllaStore, OpenError> {
        let session = connect(address, settings.request_timeout()).await?;
        migrations::check(&session, address).await?;
        let recorded = meta::read(&session, address).await?;
        recorded.check(address, log)?;
        let stamps = Stamps::new(recorded.log_epoch).map_err(|error| OpenError::Damaged {
            address: address.clone(),
            what: error.to_string(),
        })?;
        let refused = |error| OpenError::request(address, "prepare the statements", error);
        let link = Link::new(session, address.keyspace(), settings.in_flight_max);
        let link = Box::pin(link).await.map_err(refused)?;
        let reader = Box::pin(Reader::new(link, address.keyspace())).await.map_err(refused)?;
        let address = address.clone();
        Ok(ScyllaStore { address, reader, settings, stamps, stored: Mutex::default() })
    }

    fn stored(&self) -> MutexGuard<'_, HashMap<TopicPartition, Applied>> {
        // Only whole values are put in.
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_stored(&self, source: TopicPartition) -> Result<Applied, RequestError> {
        let applied = self.reader.progress(source).await?.map(|progress| progress.applied);
        self.stored().insert(source, applied);
        Ok(applied)
    }

    /// Whether the flush is to be written. What is known here may be old, so only what is stored
    /// can refuse it.
    async fn fits(&self, flush: &Flush, attempted: &str) -> Result<bool, PortError> {
        let (from, to) = (flush.from, flush.progress.applied);
        let known = self.stored().get(&flush.source).copied();
        if let Some(fits) = known.and_then(|stored| span_fits(stored, from, to).ok()) {
            return Ok(fits);
        }
        let stored = self.read_stored(flush.source).await;
        let stored = stored.map_err(|error| error.into_port(attempted))?;
        span_fits(stored, from, to).map_err(|error| PortError::never(attempted, error))
    }

    async fn write(&self, plan: Plan) -> Result<(), RequestError> {
        let Plan { side, cells, progress } = plan;
        self.settings.reach("flush.before");
        if is_broken(Control::ProgressFirst) {
            self.send(vec![progress.clone()]).await?;
            self.settings.reach("flush.after_progress");
        }
        if is_broken(Control::CellsBeforeSideRows) {
            self.send_cells(cells).await?;
            self.settings.reach("flush.after_cells");
            self.send(side).await?;
            self.settings.reach("flush.after_side_rows");
        } else {
            self.send(side).await?;
            self.settings.reach("flush.after_side_rows");
            self.send_cells(cells).await?;
            self.settings.reach("flush.after_cells");
        }
        self.settings.reach("flush.before_progress");
        self.send(vec![progress]).await?;
        self.settings.reach("flush.after_progress");
        Ok(())
    }

    /// Sends batches, each one mutation, and waits for all.
    async fn send(&self, batches: Vec<Vec<Write>>) -> Result<(), RequestError> {
        let link = self.reader.link();
        let sent = batches.into_iter().map(|writes| link.send(writes));
        try_join_all(sent).await.map(drop)
    }

    async fn send_cells(&self, cells: Vec<Vec<Write>>) -> Result<(), RequestError> {
        if !is_broken(Control::BatchCutInsideEvent) {
            return self.send(cells).await;
        }
        for mut first in cells {
            let second = first.split_off(first.len().div_ceil(2));
            self.send(vec![first]).await?;
            self.settings.reach("flush.inside_cell");
            self.send(vec![second].into_iter().filter(|half| !half.is_empty()).collect()).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl ProjectionStore for ScyllaStore {
    async fn flush(&self, flush: Arc<Flush>) -> Result<(), PortError> {
        let (source, to) = (flush.source, flush.progress.applied);
        let attempted = format!("flush {source} through {to} into {}", self.address);
        if !self.fits(&flush, &attempted).await? {
            return Ok(());
        }
        #[cfg(feature = "controls")]
        let flush = crate::controls::counted(&self.reader, flush).await?;
        let limits = Limits {
            rows: self.settings.rows_per_batch_max.clamp(1, usize::from(u16::MAX)),
            bytes: self.settings.batch_bytes_max.max(1),
        };
        let plan = plan(&flush, self.stamps, limits);
        let plan = plan.map_err(|error| PortError::never(&*attempted, error))?;
        self.write(plan).await.map_err(|error| error.into_port(&*attempted))?;
        let mut stored = self.stored();
        let known = stored.entry(source).or_default();
        *known = (*known).max(Some(to));
        Ok(())
    }

    async fn get(&self, keys: Vec<RowKey>) -> Result<Vec<Option<Row>>, PortError> {
        let attempted = match &keys[..] {
            [key] => format!("read {key} at {}", self.address),
            keys => format!("read {} rows at {}", keys.len(), self.address),
        };
        self.reader.get(keys).await.map_err(|error| error.into_port(attempted))
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, PortError> {
        let Scan { prefix, after, order, limit } = &scan;
        let rows = self.reader.scan(prefix, after.as_ref(), *order, *limit).await;
        let attempted = || format!("read rows under {prefix:?} at {}", self.address);
        rows.map_err(|error| error.into_port(attempted()))
    }
}
