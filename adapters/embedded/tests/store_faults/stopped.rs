//! A store whose database gave up after a failed write: reads go on, and it is opened again with
//! every flush that it answered.

use std::fs;
use std::time::{Duration, Instant};

use agon_embedded::store::{EmbeddedStore, StoreConfig};
use agon_ports::{PortError, ProjectionStore, Retry};
use tempfile::TempDir;

use super::support::{LOG, flush, flush_until, flushes_of, small};

/// How long something may take that must come; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the database writes tables to, under numbers, of which so many are taken away.
const TABLES: &str = "keyspaces/1/tables";
const TAKEN: u64 = 2_000;

fn open(dir: &TempDir) -> EmbeddedStore {
    let config = StoreConfig { reopen_pause_ms: 0, ..small() };
    EmbeddedStore::open(dir.path(), LOG, config).unwrap()
}

/// Stands in the way of new tables, and flushes until one is refused; answers how many were not,
/// and the refusal.
async fn stop(dir: &TempDir, store: &EmbeddedStore) -> (u64, PortError) {
    for number in 0..TAKEN {
        // Where a table is already, nothing has to stand.
        fs::create_dir(dir.path().join(TABLES).join(number.to_string())).ok();
    }
    let (mut number, deadline) = (flushes_of(store).await.unwrap(), Instant::now() + PATIENCE);
    loop {
        if let Err(error) = store.flush(flush(number)).await {
            return (number, error);
        }
        number += 1;
        assert!(Instant::now() < deadline, "{number} flushes, and none was refused");
    }
}

fn clear_the_way(dir: &TempDir) {
    for number in 0..TAKEN {
        // Tables stay.
        fs::remove_dir(dir.path().join(TABLES).join(number.to_string())).ok();
    }
}

#[tokio::test]
async fn a_stopped_store_is_opened_again_with_every_flush() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for round in 0..3 {
        let (answered, error) = stop(&dir, &store).await;
        assert_eq!(error.retry, Retry::Later, "{error}");
        assert!(error.reason.contains("stopped after a failed write"), "{error}");
        assert_eq!(flushes_of(&store).await.unwrap(), answered, "round {round}: reads go on");
        clear_the_way(&dir);
        // As a consumer does, the same flush again.
        store.flush(flush(answered)).await.unwrap();
        flush_until(&store, answered + 20).await;
        assert_eq!(flushes_of(&store).await.unwrap(), answered + 20, "round {round}");
    }
    let whole = flushes_of(&store).await.unwrap();
    drop(store);
    assert_eq!(flushes_of(&open(&dir)).await.unwrap(), whole);
}

/// Readers are all the time there while it is opened again.
#[tokio::test(flavor = "multi_thread")]
async fn no_read_fails_while_a_store_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (is_over, over) = tokio::sync::watch::channel(false);
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (store, over) = (store.clone(), over.clone());
            tokio::spawn(async move {
                let mut reads = 0;
                while !*over.borrow() {
                    // All rows may belong to two moments, as flushes go on; each row is there.
                    let keys = flush(0).rows().map(|row| row.key.clone()).collect::<Vec<_>>();
                    for key in keys {
                        store.get(vec![key]).await.unwrap();
                    }
                    reads += 1;
                    tokio::task::yield_now().await;
                }
                reads
            })
        })
        .collect();
    for _ in 0..3 {
        let (answered, _) = stop(&dir, &store).await;
        clear_the_way(&dir);
        store.flush(flush(answered)).await.unwrap();
    }
    is_over.send_replace(true);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_stopped_store_that_is_damaged_meanwhile_is_to_be_folded_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (answered, _) = stop(&dir, &store).await;
    fs::write(dir.path().join("keyspaces/1/current"), "").unwrap();
    let error = store.flush(flush(answered)).await.unwrap_err();
    assert_eq!(error.retry, Retry::Never, "{error}");
    assert!(error.reason.contains("folded anew"), "{error}");
    // Nothing is open; who reads is told so, and asks again.
    let error = flushes_of(&store).await.unwrap_err();
    assert_eq!(error.retry, Retry::Later, "{error}");
}
