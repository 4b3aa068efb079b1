//! What questions to the C library share: pointers that are ours to free, so that none is
//! forgotten on any way out, and the way of one question to its answer.
#![allow(unsafe_code)]

use std::ptr::{self, NonNull};

use rdkafka::bindings as native;
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

use crate::client::Words;

/// A pointer that is ours, with what frees it.
pub(crate) struct Owned<T> {
    pointer: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// Takes what a call answered; none when that was null.
    pub(crate) fn new(
        pointer: *mut T,
        free: unsafe extern "C" fn(*mut T),
    ) -> KafkaResult<Owned<T>> {
        let pointer = NonNull::new(pointer).ok_or(KafkaError::NoMessageReceived)?;
        Ok(Owned { pointer, free })
    }

    pub(crate) fn get(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `pointer` came from the call that `free` belongs to, and nothing else frees it.
        unsafe { (self.free)(self.pointer.as_ptr()) }
    }
}

/// The answer to one question of the admin side. `ask` is handed the client, its options and the
/// queue of the answer; it sends the question and keeps none of them.
pub(crate) fn answer(
    client: &Client<Words>,
    operation: native::rd_kafka_admin_op_t,
    timeout_ms: i32,
    ask: impl FnOnce(
        *mut native::rd_kafka_t,
        *mut native::rd_kafka_AdminOptions_t,
        *mut native::rd_kafka_queue_t,
    ),
) -> KafkaResult<Owned<native::rd_kafka_event_t>> {
    let handle = client.native_ptr();
    // SAFETY: `handle` is alive for as long as `client` is borrowed.
    let options = unsafe { native::rd_kafka_AdminOptions_new(handle, operation) };
    let options = Owned::new(options, native::rd_kafka_AdminOptions_destroy)?;
    // SAFETY: `options` is alive; a null buffer of size 0 takes no words of an error.
    let accepted = unsafe {
        native::rd_kafka_AdminOptions_set_request_timeout(
            options.get(),
            timeout_ms,
            ptr::null_mut(),
            0,
        )
    };
    admitted(accepted)?;
    // SAFETY: `handle` is alive, see above; the queue is freed before this function ends.
    let queue = unsafe { native::rd_kafka_queue_new(handle) };
    let queue = Owned::new(queue, native::rd_kafka_queue_destroy)?;
    ask(handle, options.get(), queue.get());
    // SAFETY: the queue is alive.
    let event = unsafe { native::rd_kafka_queue_poll(queue.get(), timeout_ms) };
    Owned::new(event, native::rd_kafka_event_destroy)
}

/// Whether a call of the library was accepted.
pub(crate) fn admitted(code: RDKafkaRespErr) -> KafkaResult<()> {
    match RDKafkaErrorCode::from(code) {
        RDKafkaErrorCode::NoError => Ok(()),
        code => Err(KafkaError::AdminOp(code)),
    }
}
