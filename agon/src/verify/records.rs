//! The records of one partition, read one after the other.

use std::time::Duration;

use agon_ports::{Assignment, EventLog, LogReader, LogRecord, PortError, ReadLimits};
use agon_schema::TopicPartition;

/// How long a record that the log has may take.
const WAIT: Duration = Duration::from_secs(30);

/// The records of one partition, from a first to a last one.
pub struct Records {
    reader: Option<Box<dyn LogReader>>,
    waiting: std::vec::IntoIter<LogRecord>,
    left: u64,
}

impl Records {
    /// From the record at `first` to the one at `last`, both inclusive; none when `first` is the
    /// greater one.
    pub async fn open(
        log: &dyn EventLog,
        source: TopicPartition,
        first: u64,
        last: u64,
    ) -> Result<Records, PortError> {
        let left = (last + 1).saturating_sub(first);
        let reader = match left {
            0 => None,
            _ => Some(log.read(Assignment::from([(source, first)])).await?),
        };
        Ok(Records { reader, waiting: Vec::new().into_iter(), left })
    }

    /// The next one; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<LogRecord>, PortError> {
        while let Some(reader) = self.reader.as_mut().filter(|_| self.left > 0) {
            if let Some(record) = self.waiting.next() {
                self.left -= 1;
                return Ok(Some(record));
            }
            let limits = ReadLimits { records_max: 1_024, bytes_max: 1 << 20 };
            let page = reader.next(limits, WAIT).await?;
            if page.is_empty() {
                let reason = format!("no record came for {} s", WAIT.as_secs());
                return Err(PortError::later("read the log", reason));
            }
            self.waiting = page.into_iter();
        }
        Ok(None)
    }
}
