//! [`EventLog`] behind faults. A reader loses nothing to them: they come before it moves on.

use std::sync::Arc;
use std::time::Duration;

use agon_ports::{Append, Assignment, EventLog, LogReader, LogRecord, PortError, ReadLimits};
use agon_schema::{LogId, Position};
use async_trait::async_trait;

use super::{Call, Faults, Faulty, Outcome};

#[async_trait]
impl<L: EventLog> EventLog for Faulty<L> {
    fn id(&self) -> LogId {
        self.inner.id()
    }

    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }

    async fn append(&self, mut records: Vec<Append>) -> Result<Vec<Position>, PortError> {
        let attempted = format!("append {} records", records.len());
        let outcome = self.faults.enter(Call::Append, &attempted).await?;
        if outcome == Outcome::Part {
            records.truncate(records.len().div_ceil(2));
        }
        let copy = (outcome == Outcome::Twice).then(|| records.clone());
        let answer = self.inner.append(records).await?;
        if let Some(copy) = copy {
            self.inner.append(copy).await?;
        }
        self.faults.leave(outcome, &attempted, Ok(answer))
    }

    async fn ends(&self) -> Result<Assignment, PortError> {
        self.faults.enter(Call::Read, "ask for the log's ends").await?;
        self.inner.ends().await
    }

    async fn read(&self, from: Assignment) -> Result<Box<dyn LogReader>, PortError> {
        self.faults.enter(Call::Read, "open a reader").await?;
        let inner = self.inner.read(from).await?;
        Ok(Box::new(FaultyReader { inner, faults: Arc::clone(&self.faults) }))
    }
}

struct FaultyReader {
    inner: Box<dyn LogReader>,
    faults: Arc<Faults>,
}

#[async_trait]
impl LogReader for FaultyReader {
    async fn next(
        &mut self,
        limits: ReadLimits,
        wait: Duration,
    ) -> Result<Vec<LogRecord>, PortError> {
        self.faults.enter(Call::Read, "read the next records").await?;
        self.inner.next(limits, wait).await
    }
}
