//! Rows by keys and by prefixes, as the port promises them.

use std::ops::Bound;

use agon_ports::{Order, PortError, Scan};
use agon_projections::row_bytes::{key_bytes, key_of_bytes, prefix_bytes, row_of_bytes};
use agon_projections::{Row, RowKey};
use fjall::{Guard, Readable};

use super::Tables;
use super::error::{damaged, failed};

impl Tables {
    /// One row. Short enough to be read where it is asked for.
    pub(super) fn get_one(&self, key: &RowKey) -> Result<Option<Row>, PortError> {
        let bytes = key_bytes(key);
        let value = self.rows.get(&bytes).map_err(|error| failed(format!("get {key}"), error))?;
        value.map(|value| decode(&bytes, &value, || format!("get {key}"))).transpose()
    }

    /// Rows of one moment.
    pub(super) fn get(&self, keys: &[RowKey]) -> Result<Vec<Option<Row>>, PortError> {
        let snapshot = self.db.snapshot();
        let row = |key: &RowKey| {
            let bytes = key_bytes(key);
            let value = snapshot.get(&self.rows, &bytes);
            let value = value.map_err(|error| failed(format!("get {key}"), error))?;
            value.map(|value| decode(&bytes, &value, || format!("get {key}"))).transpose()
        };
        keys.iter().map(row).collect()
    }

    /// A page of one moment.
    pub(super) fn scan(&self, scan: &Scan) -> Result<Vec<Row>, PortError> {
        let Some(range) = range(scan) else { return Ok(vec![]) };
        let attempted = || format!("scan {:?}", scan.prefix);
        let row = |entry: Guard| {
            let (key, value) = entry.into_inner().map_err(|error| failed(attempted(), error))?;
            decode(&key, &value, attempted)
        };
        let entries = self.db.snapshot().range(&self.rows, range);
        match scan.order {
            Order::Rising => entries.take(scan.limit).map(row).collect(),
            Order::Falling => entries.rev().take(scan.limit).map(row).collect(),
        }
    }
}

/// The row of these bytes; the error names the table and the key.
fn decode(key: &[u8], value: &[u8], attempted: impl Fn() -> String) -> Result<Row, PortError> {
    row_of_bytes(key, value).ok_or_else(|| {
        let name = key_of_bytes(key);
        let name = name.map_or_else(|| format!("key {key:02x?}"), |key| key.to_string());
        damaged(attempted(), format!("the row of {name} cannot be read"))
    })
}

/// Where keys start and end.
type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// The keys that a scan goes over; `None` when there can be none.
fn range(scan: &Scan) -> Option<KeyRange> {
    let prefix = prefix_bytes(&scan.prefix);
    let end = past(&prefix);
    let after = scan.after.as_ref().map(key_bytes);
    let (start, end) = match (scan.order, after) {
        (Order::Rising, Some(after)) if after >= prefix => (Bound::Excluded(after), end),
        (Order::Falling, Some(after)) => {
            let end = end.map_or(after.clone(), |end| end.min(after));
            (Bound::Included(prefix), Some(end))
        }
        (_, _) => (Bound::Included(prefix), end),
    };
    // A range that ends before it starts is no range to the database.
    let (Bound::Included(first) | Bound::Excluded(first)) = &start else { return None };
    if end.as_ref().is_some_and(|end| end <= first) {
        return None;
    }
    Some((start, end.map_or(Bound::Unbounded, Bound::Excluded)))
}

/// The first bytes after all that start with a prefix; `None` when nothing comes after them.
fn past(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut past = prefix[..=last].to_vec();
    past[last] += 1;
    Some(past)
}
