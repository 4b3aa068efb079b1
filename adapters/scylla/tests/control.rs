//! Control data keeps its port's contract on a real server, also between handles that do not know
//! of each other; and a keyspace remembers whose log it holds.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use agon_ports::conformance::control_store::ControlStoreFixture;
use agon_ports::{ControlStore, Put};
use agon_schema::LogId;
use agon_scylla::{
    InitSettings, LogFacts, OpenError, ScyllaControl, ScyllaStore, StoreSettings, init,
};
use uuid::Uuid;

use self::support::{Keyspace, LOG, is_absent};

/// A keyspace for each case.
struct Fixture {
    keyspace: Keyspace,
    is_made: bool,
}

#[async_trait::async_trait]
impl ControlStoreFixture for Fixture {
    async fn open(&mut self) -> Arc<dyn ControlStore> {
        if !std::mem::replace(&mut self.is_made, true) {
            self.keyspace.init().await;
        }
        Arc::new(ScyllaControl::open(&self.keyspace.address).await.unwrap())
    }
}

fn make_fixture() -> Fixture {
    Fixture { keyspace: Keyspace::new(), is_made: false }
}

agon_ports::control_store_conformance!(make_fixture, skipped_when: is_absent);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handles_that_do_not_know_of_each_other_lose_no_increment() {
    if is_absent() {
        return;
    }
    let keyspace = Keyspace::new();
    keyspace.init().await;
    let mut writers = Vec::new();
    for _ in 0..4 {
        let store = ScyllaControl::open(&keyspace.address).await.unwrap();
        writers.push(tokio::spawn(async move {
            let mut stored = 0;
            while stored < 10 {
                let before = store.get("count").await.unwrap();
                let (version, count) =
                    before.map_or((0, 0), |before| (before.version, before.value[0]));
                let put = store.put("count", &[count + 1], version).await.unwrap();
                stored += u32::from(put == Put::Stored(version + 1));
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let store = ScyllaControl::open(&keyspace.address).await.unwrap();
    let count = store.get("count").await.unwrap().unwrap();
    assert_eq!((count.version, count.value), (40, vec![40]));
}

#[tokio::test]
async fn a_list_is_read_over_pages() {
    if is_absent() {
        return;
    }
    let keyspace = Keyspace::new();
    keyspace.init().await;
    let store = ScyllaControl::open(&keyspace.address).await.unwrap();
    let key = |n: u32| format!("users/{n:04}");
    for n in 0..600 {
        assert_eq!(store.put(&key(n), &n.to_be_bytes(), 0).await.unwrap(), Put::Stored(1));
    }
    store.put("userz", b"", 0).await.unwrap();
    let listed = store.list("users/").await.unwrap();
    assert!(listed.iter().map(|(key, _)| key.clone()).eq((0..600).map(key)));
    assert_eq!(store.list("users/059").await.unwrap().len(), 10);
    assert_eq!(store.list("").await.unwrap().len(), 601);
}

#[tokio::test]
async fn a_keyspace_that_init_did_not_make_is_refused_by_name() {
    if is_absent() {
        return;
    }
    let keyspace = Keyspace::new();
    let error = ScyllaControl::open(&keyspace.address).await.err().unwrap();
    assert!(matches!(error, OpenError::NotMade { .. }) && error.may_pass(), "{error}");
    assert!(error.to_string().contains("agon init"), "{error}");
    // The tables are there, and nobody recorded a log: init was cut short.
    keyspace.init().await;
    let cql = format!("TRUNCATE {}.meta", keyspace.address.keyspace());
    keyspace.session().await.query_unpaged(cql, ()).await.unwrap();
    let error = ScyllaControl::open(&keyspace.address).await.err().unwrap();
    assert!(matches!(error, OpenError::NotMade { .. }), "{error}");
    keyspace.init().await;
    ScyllaControl::open(&keyspace.address).await.unwrap();
}

#[tokio::test]
async fn a_keyspace_of_another_log_is_refused_with_both() {
    if is_absent() {
        return;
    }
    let keyspace = Keyspace::new();
    assert_eq!(keyspace.init().await.log_epoch, 0);
    let settings = |log, new_epoch| InitSettings { replication: None, log, new_epoch };
    let other = LogFacts { id: LogId(Uuid::from_u128(8)), ..LOG };
    let wider = LogFacts { partitions: 4, ..LOG };
    for (log, named) in [
        (other, [LOG.id.to_string(), other.id.to_string()]),
        (wider, ["16 partitions".to_owned(), "has 4".to_owned()]),
    ] {
        let made = init(&keyspace.address, settings(log, false)).await.err().unwrap();
        let opened = ScyllaStore::open(&keyspace.address, log, StoreSettings::default()).await;
        for error in [made, opened.err().unwrap()] {
            let error = error.to_string();
            assert!(named.iter().all(|name| error.contains(name)), "{error}");
        }
    }
    // Nothing was changed; the new log is taken only when that is asked for.
    assert_eq!(keyspace.init().await.log_epoch, 0);
    let taken = init(&keyspace.address, settings(other, true)).await.unwrap();
    assert_eq!(taken.log_epoch, 1);
    ScyllaStore::open(&keyspace.address, other, StoreSettings::default()).await.unwrap();
    let error = init(&keyspace.address, settings(LOG, false)).await.err().unwrap();
    assert!(matches!(error, OpenError::OtherLog { .. }), "{error}");
}
