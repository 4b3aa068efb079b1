//! Messages by name, summed over buckets and partitions.

use std::collections::{BTreeMap, HashMap};

/// Sums by name. Adding costs one look-up; only the end puts the names into order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(HashMap<String, u64, foldhash::fast::RandomState>);

impl Sums {
    /// Adds messages of a name.
    pub fn add(&mut self, name: &str, messages: u64) {
        match self.0.get_mut(name) {
            Some(sum) => *sum += messages,
            None => drop(self.0.insert(name.to_owned(), messages)),
        }
    }

    /// The sums in the order of their names.
    pub fn into_sorted(self) -> BTreeMap<String, u64> {
        self.0.into_iter().collect()
    }
}
