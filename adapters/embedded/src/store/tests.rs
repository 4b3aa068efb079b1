//! What needs a look inside: rows that cannot be read, rows under one key, many small flushes.

use agon_ports::{Retry, scan_all};
use agon_projections::row::Counts;
use agon_projections::row_bytes::Prefix;
use agon_projections::{CellKey, Table};
use agon_schema::Topic;
use agon_schema::record::RecordHash;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;

const SOURCE: TopicPartition = TopicPartition { topic: Topic::RecentChange, partition: 3 };

fn open(dir: &TempDir) -> EmbeddedStore {
    EmbeddedStore::open(dir.path(), LogId(Uuid::nil()), StoreConfig::default()).unwrap()
}

fn server(name: &str, messages: u64) -> Row {
    let key = RowKey::Server(CellKey::Stream(3), name.to_owned());
    Row { key, value: Value::Server(messages) }
}

fn flush(applied: u64, rows: Vec<Row>) -> Arc<Flush> {
    let record_hash = RecordHash([0; 16]);
    let progress = Progress { applied, record_hash, counts: Counts::default() };
    let from = applied.checked_sub(1);
    Arc::new(Flush { source: SOURCE, from, progress, cells: vec![], rows })
}

async fn servers(store: &EmbeddedStore) -> Result<Vec<Row>, PortError> {
    scan_all(store, Prefix::Table(Table::Servers)).await
}

/// Refused for good, and the words name the row.
#[track_caller]
fn check_names_row(answer: Result<impl Sized, PortError>) {
    let error = answer.err().unwrap();
    assert_eq!(error.retry, Retry::Never);
    let named = "the row of servers: stream partition 3, server \"b\" cannot be read";
    assert!(error.reason.contains(named), "{error}");
    assert!(error.reason.contains("remove the store's directory"), "{error}");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named_and_not_read_as_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let rows = vec![server("a", 1), server("b", 2)];
    store.flush(flush(0, rows.clone())).await.unwrap();
    let keys: Vec<_> = rows.iter().map(|row| row.key.clone()).collect();
    for damage in [vec![], vec![0xff], [&value_bytes(&rows[1].value)[..], &[0]].concat()] {
        store.overwrite_raw_for_tests(&key_bytes(&keys[1]), &damage).unwrap();
        check_names_row(store.get(vec![keys[1].clone()]).await);
        check_names_row(store.get(keys.clone()).await);
        check_names_row(servers(&store).await);
        let good = store.get(vec![keys[0].clone()]).await.unwrap();
        assert_eq!(good, [Some(rows[0].clone())]);
    }
    store.flush(flush(1, vec![rows[1].clone()])).await.unwrap();
    assert_eq!(servers(&store).await.unwrap(), rows);
}

#[tokio::test]
async fn a_progress_that_cannot_be_read_stops_flushes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let key = key_bytes(&RowKey::Progress(SOURCE));
    for damage in [vec![0xff], value_bytes(&Value::Server(7))] {
        store.overwrite_raw_for_tests(&key, &damage).unwrap();
        let error = store.flush(flush(0, vec![server("a", 1)])).await.unwrap_err();
        assert_eq!(error.retry, Retry::Never, "{error}");
        assert_eq!(servers(&store).await.unwrap(), []);
    }
}

#[tokio::test]
async fn of_rows_under_one_key_the_last_one_stands() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let rows = [("b", 1), ("a", 2), ("b", 3), ("c", 4), ("b", 5), ("a", 6)];
    let rows = rows.map(|(name, messages)| server(name, messages)).to_vec();
    store.flush(flush(0, rows)).await.unwrap();
    let stored = servers(&store).await.unwrap();
    assert_eq!(stored, [server("a", 6), server("b", 5), server("c", 4)]);
}

#[tokio::test]
async fn a_key_that_the_database_cannot_hold_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let name = "s".repeat(KEY_BYTES_MAX);
    let error = store.flush(flush(0, vec![server(&name, 1)])).await.unwrap_err();
    assert_eq!(error.retry, Retry::Never, "{error}");
    let fits = "s".repeat(KEY_BYTES_MAX - key_bytes(&server("", 0).key).len());
    store.flush(flush(0, vec![server(&fits, 1)])).await.unwrap();
    drop(store);
    assert_eq!(servers(&open(&dir)).await.unwrap(), [server(&fits, 1)]);
}

#[tokio::test]
async fn many_small_flushes_become_tables_before_the_chain_forgets_them() {
    let dir = tempfile::tempdir().unwrap();
    let flushes = 20_000;
    let store = open(&dir);
    for applied in 0..flushes {
        store.inner.flush(&flush(applied, vec![server("a", applied)])).unwrap();
    }
    let written_out = store.inner.look(String::new, |tables| Ok(tables.rows.table_count()));
    assert!(written_out.unwrap() > 0, "nothing was written out");
    drop(store);
    let store = open(&dir);
    assert_eq!(servers(&store).await.unwrap(), [server("a", flushes - 1)]);
    store.flush(flush(flushes, vec![])).await.unwrap();
}
