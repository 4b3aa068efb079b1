//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The connections there are, counted in all and by address.
pub(crate) struct Crowd {
    places: Arc<Semaphore>,
    per_address_max: usize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Crowd {
    /// A crowd of at most so many, and so many from one address.
    pub fn new(places_max: usize, per_address_max: usize) -> Arc<Crowd> {
        let places = Arc::new(Semaphore::new(places_max.min(Semaphore::MAX_PERMITS)));
        Arc::new(Crowd { places, per_address_max, by_address: Mutex::default() })
    }

    /// A place for a connection from there, if there is one.
    pub fn enter(self: &Arc<Crowd>, address: IpAddr) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(address).or_default();
        if *count >= self.per_address_max {
            return None;
        }
        *count += 1;
        Some(Place { crowd: Arc::clone(self), address, _permit: permit })
    }
}

/// One connection's place; given back when it ends.
pub(crate) struct Place {
    crowd: Arc<Crowd>,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_address = self.crowd.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = by_address.get_mut(&self.address) else { return };
        *count -= 1;
        if *count == 0 {
            by_address.remove(&self.address);
        }
    }
}
