//! One append on its way: a counter of delivery reports, shared by all its records.
//!
//! ```text
//! append(a, b, c) ─> Call { left: 3 } ─> a, b, c each carry a ticket (call, index)
//!                      ^ report of b: offsets[1] = 7, left: 2
//!                      ^ report of a, c … left: 0 ─> the caller wakes, once
//! ```

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::Message;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::client::Words;

/// What a record has for an offset until its report came, or when that names none.
const UNKNOWN: i64 = -1;

/// One append whose reports are awaited.
pub(crate) struct Call {
    offsets: Vec<AtomicI64>,
    left: AtomicUsize,
    failure: Mutex<Option<KafkaError>>,
    done: Notify,
    /// Its part of what may be under way; given back when the last record is reported, even if
    /// the caller has gone.
    _room: OwnedSemaphorePermit,
}

impl Call {
    pub(crate) fn new(records: usize, room: OwnedSemaphorePermit) -> Call {
        Call {
            offsets: (0..records).map(|_| AtomicI64::new(UNKNOWN)).collect(),
            left: AtomicUsize::new(records),
            failure: Mutex::new(None),
            done: Notify::new(),
            _room: room,
        }
    }

    fn stored(&self, index: usize, offset: i64) {
        self.offsets[index].store(offset, Ordering::Relaxed);
        self.reported(1);
    }

    /// So many records came to nothing for this reason.
    pub(crate) fn failed(&self, records: usize, error: KafkaError) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
        drop(failure);
        self.reported(records);
    }

    fn reported(&self, records: usize) {
        // Releases the offset stored before; the waiter acquires it.
        if self.left.fetch_sub(records, Ordering::AcqRel) == records {
            self.done.notify_one();
        }
    }

    /// Waits for all reports: the offsets in the order given, none where a report named none, or
    /// the first failure. The library reports every record within its timeout.
    pub(crate) async fn outcome(&self) -> Result<Vec<Option<u64>>, KafkaError> {
        while self.left.load(Ordering::Acquire) > 0 {
            self.done.notified().await;
        }
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match failure.take() {
            Some(error) => Err(error),
            None => Ok(self.offsets.iter().map(offset).collect()),
        }
    }
}

fn offset(cell: &AtomicI64) -> Option<u64> {
    u64::try_from(cell.load(Ordering::Relaxed)).ok()
}

/// What a record carries through the library.
pub(crate) struct Ticket {
    pub(crate) call: Arc<Call>,
    pub(crate) index: usize,
}

/// Hears delivery reports beside the client's words.
pub(crate) struct Deliveries(pub(crate) Words);

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        match result {
            Ok(message) => {
                self.0.answered();
                ticket.call.stored(ticket.index, message.offset());
            }
            Err((error, _)) => ticket.call.failed(1, error.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::error::RDKafkaErrorCode;
    use tokio::sync::Semaphore;

    fn call(records: usize, room: &Arc<Semaphore>) -> Call {
        Call::new(records, Arc::clone(room).try_acquire_owned().unwrap())
    }

    #[tokio::test]
    async fn the_answer_comes_with_the_last_report_in_the_order_given() {
        let room = Arc::new(Semaphore::new(1));
        let call = call(3, &room);
        call.stored(1, 7);
        call.stored(2, UNKNOWN);
        call.stored(0, 6);
        assert_eq!(call.outcome().await, Ok(vec![Some(6), Some(7), None]));
        drop(call);
        assert_eq!(room.available_permits(), 1, "its room is given back");
    }

    #[tokio::test]
    async fn one_failure_fails_the_call_with_its_first_reason() {
        let call = call(4, &Arc::new(Semaphore::new(1)));
        let error = KafkaError::MessageProduction;
        call.stored(0, 5);
        call.failed(2, error(RDKafkaErrorCode::MessageTimedOut));
        call.failed(1, error(RDKafkaErrorCode::Fatal));
        assert_eq!(call.outcome().await, Err(error(RDKafkaErrorCode::MessageTimedOut)));
    }
}
