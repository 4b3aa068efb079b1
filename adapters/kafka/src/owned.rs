//! Pointers of the C library that are ours to free, so that none is forgotten on any way out.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use rdkafka::error::{KafkaError, KafkaResult};

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
