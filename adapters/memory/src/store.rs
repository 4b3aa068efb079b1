//! [`ProjectionStore`] in memory: the bytes of rows in a sorted map behind one lock.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agon_ports::{Order, PortError, ProjectionStore, Scan, StoreInspector};
use agon_projections::row::{Progress, Value};
use agon_projections::row_bytes::{key_bytes, prefix_bytes, row_of_bytes, value_bytes};
use agon_projections::{Flush, Row, RowKey, span_fits};
use async_trait::async_trait;

/// Rows that a store in memory holds unless it is made otherwise.
const ROWS_MAX_DEFAULT: usize = 10_000_000;

/// A store in memory. Clones are the same store: keep one to open it again.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    rows_max: usize,
    rows: Arc<Mutex<Rows>>,
}

/// Values by keys, both as bytes.
type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

impl Default for MemoryStore {
    /// An empty store of at most ten million rows.
    fn default() -> MemoryStore {
        MemoryStore::new(ROWS_MAX_DEFAULT)
    }
}

impl MemoryStore {
    /// An empty store that refuses a flush, to be tried later, which would bring it over
    /// `rows_max`.
    pub fn new(rows_max: usize) -> MemoryStore {
        MemoryStore { rows_max, rows: Arc::default() }
    }

    /// Puts any bytes under any key, as damage would. For tests of what finds damage.
    pub fn overwrite_raw(&self, key: Vec<u8>, value: Vec<u8>) {
        self.rows().insert(key, value);
    }

    /// Nothing panics while it holds this lock, so what a poisoned one guards is whole.
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The row of these bytes.
fn decode(attempted: &str, key: &[u8], value: &[u8]) -> Result<Row, PortError> {
    row_of_bytes(key, value).ok_or_else(|| {
        PortError::never(attempted, format!("the row under {key:02x?} cannot be read"))
    })
}

#[async_trait]
impl ProjectionStore for MemoryStore {
    async fn flush(&self, flush: Arc<Flush>) -> Result<(), PortError> {
        let (source, to) = (flush.source, flush.progress.applied);
        let attempted = format!("flush {source} through {to}");
        let progress = key_bytes(&RowKey::Progress(source));
        let mut written: Rows =
            flush.rows().map(|row| (key_bytes(&row.key), value_bytes(&row.value))).collect();
        written.insert(progress.clone(), value_bytes(&Value::Progress(flush.progress.clone())));

        let mut rows = self.rows();
        let stored = match rows.get(&progress) {
            None => None,
            Some(value) => match decode(&attempted, &progress, value)?.value {
                Value::Progress(Progress { applied, .. }) => Some(applied),
                _ => return Err(PortError::never(attempted, "the progress is no progress")),
            },
        };
        match span_fits(stored, flush.from, to) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => return Err(PortError::never(attempted, error)),
        }
        let added = written.keys().filter(|key| !rows.contains_key(*key)).count();
        if added > self.rows_max.saturating_sub(rows.len()) {
            let reason = format!(
                "the store in memory holds {} rows of {}; raise rows_max",
                rows.len(),
                self.rows_max
            );
            return Err(PortError::later(attempted, reason));
        }
        rows.extend(written);
        Ok(())
    }

    async fn get(&self, keys: Vec<RowKey>) -> Result<Vec<Option<Row>>, PortError> {
        let rows = self.rows();
        let row = |key: &RowKey| {
            let bytes = key_bytes(key);
            let value = rows.get(&bytes);
            value.map(|value| decode(&format!("get {key}"), &bytes, value)).transpose()
        };
        keys.iter().map(row).collect()
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, PortError> {
        let attempted = format!("scan {:?}", scan.prefix);
        let prefix = prefix_bytes(&scan.prefix);
        let after = scan.after.as_ref().map(key_bytes);
        let rows = self.rows();
        let page = |entries: &mut dyn Iterator<Item = (&Vec<u8>, &Vec<u8>)>| {
            let under = entries.take_while(|(key, _)| key.starts_with(&prefix));
            under.take(scan.limit).map(|(key, value)| decode(&attempted, key, value)).collect()
        };
        let (start, end) = (Bound::Included(&prefix), past(&prefix));
        match scan.order {
            Order::Rising => {
                let after = after.as_ref().filter(|after| **after > prefix);
                let from = after.map_or(start, Bound::Excluded);
                page(&mut rows.range::<Vec<u8>, _>((from, Bound::Unbounded)))
            }
            Order::Falling => {
                // The smaller one ends the range; `None` has no end.
                match [after, end].into_iter().flatten().min() {
                    // A map's range panics when it ends before it starts.
                    Some(below) if below <= prefix => Ok(vec![]),
                    Some(below) => {
                        page(&mut rows.range::<Vec<u8>, _>((start, Bound::Excluded(&below))).rev())
                    }
                    None => page(&mut rows.range::<Vec<u8>, _>((start, Bound::Unbounded)).rev()),
                }
            }
        }
    }
}

/// The first bytes after all that start with a prefix; `None` when nothing comes after them.
fn past(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut past = prefix[..=last].to_vec();
    past[last] += 1;
    Some(past)
}

#[async_trait]
impl StoreInspector for MemoryStore {
    async fn values(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, PortError> {
        let rows = self.rows();
        Ok(keys.iter().map(|key| rows.get(key).cloned()).collect())
    }

    async fn entries(
        &self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, PortError> {
        let rows = self.rows();
        let is_after = |key: &Vec<u8>| after.as_ref().is_none_or(|after| key > after);
        let start = after.as_ref().filter(|after| **after > prefix).unwrap_or(&prefix);
        let under =
            rows.range::<Vec<u8>, _>(start..).take_while(|(key, _)| key.starts_with(&prefix));
        let page = under.filter(|(key, _)| is_after(key)).take(limit);
        Ok(page.map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use agon_ports::Retry;
    use agon_projections::row::Counts;
    use agon_projections::row_bytes::Prefix;
    use agon_projections::{CellKey, Table};
    use agon_schema::record::RecordHash;
    use agon_schema::{Topic, TopicPartition};

    use super::*;

    const SOURCE: TopicPartition = TopicPartition { topic: Topic::RecentChange, partition: 1 };

    fn server(name: &str) -> Row {
        Row { key: RowKey::Server(CellKey::Stream(1), name.to_owned()), value: Value::Server(1) }
    }

    fn flush(from: Option<u64>, applied: u64, servers: &[&str]) -> Arc<Flush> {
        let record_hash = RecordHash([0; 16]);
        let progress = Progress { applied, record_hash, counts: Counts::default() };
        let rows = servers.iter().map(|name| server(name)).collect();
        Arc::new(Flush { source: SOURCE, from, progress, cells: vec![], rows })
    }

    #[tokio::test]
    async fn a_full_store_takes_no_new_row_but_changes_old_ones() {
        let store = MemoryStore::new(3);
        store.flush(flush(None, 1, &["a", "b"])).await.unwrap();
        let error = store.flush(flush(Some(1), 2, &["c"])).await.unwrap_err();
        assert_eq!(error.retry, Retry::Later);
        assert_eq!(
            error.to_string(),
            "flush agon.recentchange.v1/1 through 2: the store in memory holds 3 rows of 3; \
             raise rows_max"
        );
        let servers = Scan::first(Prefix::Table(Table::Servers), 9);
        assert_eq!(store.scan(servers).await.unwrap(), [server("a"), server("b")]);
        store.flush(flush(Some(1), 2, &["b"])).await.unwrap();
    }

    #[tokio::test]
    async fn a_damaged_row_is_named_and_not_read_as_none() {
        let store = MemoryStore::default();
        store.flush(flush(None, 1, &["a", "b"])).await.unwrap();
        store.overwrite_raw(key_bytes(&server("b").key), vec![0xff]);
        let error = store.get(vec![server("a").key, server("b").key]).await.unwrap_err();
        assert_eq!(error.retry, Retry::Never);
        assert_eq!(error.attempted, "get servers: stream partition 1, server \"b\"");
        let scan = Scan::first(Prefix::Table(Table::Servers), 9);
        assert_eq!(store.scan(scan).await.unwrap_err().retry, Retry::Never);
        assert_eq!(store.get(vec![server("a").key]).await.unwrap(), [Some(server("a"))]);
    }
}
