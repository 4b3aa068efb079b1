//! What `init` makes, and what is refused: each refusal names the store and what to do.
#![allow(clippy::unwrap_used)]

mod support;

use agon_ports::{ProjectionStore, scan_all};
use agon_projections::Table;
use agon_projections::row_bytes::Prefix;
use agon_schema::LogId;
use agon_scylla::{
    CqlAddress, InitSettings, LogFacts, OpenError, ScyllaStore, StoreSettings, init,
};
use uuid::Uuid;

use self::support::fold::{check_whole, flush};
use self::support::{Keyspace, LOG, is_absent};

async fn refusal(address: &CqlAddress, log: LogFacts) -> OpenError {
    match ScyllaStore::open(address, log, StoreSettings::default()).await {
        Ok(_) => panic!("{address} is opened"),
        Err(error) => error,
    }
}

fn assert_names(error: &OpenError, words: &[&str], may_pass: bool) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    assert_eq!(error.may_pass(), may_pass, "{text}");
}

const SETTINGS: InitSettings = InitSettings { replication: None, log: LOG, new_epoch: false };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_twice_makes_once_and_keeps_what_is_there() {
    if is_absent() {
        return;
    }
    let keyspace = Keyspace::new();
    let first = keyspace.init().await;
    assert!(first.keyspace_made && first.migrations > 0 && first.log_epoch == 0, "{first:?}");
    assert!(first.replication.values().all(|copies| (1..=3).contains(copies)), "{first:?}");
    let store = keyspace.open().await;
    store.flush(flush(None, 30)).await.unwrap();
    let again = keyspace.init().await;
    assert!(!again.keyspace_made && again.migrations == 0, "{again:?}");
    assert_eq!(again.replication, first.replication);
    check_whole(&store, 30).await;

    let copies = *first.replication.values().next().unwrap();
    let other = InitSettings { replication: Some(copies + 1), ..SETTINGS };
    let error = init(&keyspace.address, other).await.unwrap_err();
    assert_names(&error, &["replication", keyspace.address.keyspace()], false);
    let same = InitSettings { replication: Some(copies), ..SETTINGS };
    init(&keyspace.address, same).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_init_did_not_make_is_refused_with_the_remedy() {
    if is_absent() {
        return;
    }
    let keyspace = Keyspace::new();
    let (address, name) = (&keyspace.address, keyspace.address.keyspace());
    let node = address.nodes()[0].clone();
    let words = [name, &node, "agon init"];
    assert_names(&refusal(address, LOG).await, &words, true);

    let session = keyspace.session().await;
    let cql = format!(
        "CREATE KEYSPACE {name} WITH replication = {{'class': 'SimpleStrategy', \
         'replication_factor': 1}}"
    );
    session.query_unpaged(cql, ()).await.unwrap();
    assert_names(&refusal(address, LOG).await, &words, true);

    // A table of this name that is another one.
    let cql = format!("CREATE TABLE {name}.progress (topic text PRIMARY KEY, applied bigint)");
    session.query_unpaged(cql, ()).await.unwrap();
    let error = init(address, SETTINGS).await.unwrap_err();
    assert_names(&error, &[name, &node, "progress", "topic text", "topic tinyint"], false);
    session.query_unpaged(format!("DROP TABLE {name}.progress"), ()).await.unwrap();

    keyspace.init().await;
    keyspace.open().await;
    session.query_unpaged(format!("DROP TABLE {name}.history"), ()).await.unwrap();
    let words = [name, &node, "agon init", "history"];
    assert_names(&refusal(address, LOG).await, &words, false);
    assert_names(&init(address, SETTINGS).await.unwrap_err(), &words, false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_log_is_refused_until_a_new_epoch_gives_the_old_one_up() {
    if is_absent() {
        return;
    }
    let keyspace = Keyspace::new();
    keyspace.init().await;
    let address = &keyspace.address;
    keyspace.open().await.flush(flush(None, 60)).await.unwrap();

    let other = LogFacts { id: LogId(Uuid::from_u128(8)), ..LOG };
    let words = [LOG.id.to_string(), other.id.to_string()];
    let words = [&*words[0], &*words[1], address.keyspace(), "--new-epoch"];
    assert_names(&refusal(address, other).await, &words, false);
    let error = init(address, InitSettings { log: other, ..SETTINGS }).await.unwrap_err();
    assert_names(&error, &words, false);
    let more = LogFacts { partitions: 32, ..LOG };
    assert_names(&refusal(address, more).await, &["16", "32"], false);

    let raised = InitSettings { log: other, new_epoch: true, ..SETTINGS };
    assert_eq!(init(address, raised).await.unwrap().log_epoch, 1);
    assert_names(&refusal(address, LOG).await, &words, false);
    let store = ScyllaStore::open(address, other, StoreSettings::default()).await.unwrap();
    for table in Table::ALL {
        assert_eq!(scan_all(&store, Prefix::Table(table)).await.unwrap(), [], "{}", table.name());
    }
    // Its facts bear later stamps than any of the log before.
    store.flush(flush(None, 25)).await.unwrap();
    check_whole(&store, 25).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_may_come() {
    // Nothing listens on this port of the loopback, so no server is needed.
    let address: CqlAddress = "cql://127.0.0.1:1/agon".parse().unwrap();
    assert_names(&refusal(&address, LOG).await, &["cql://127.0.0.1:1/agon"], true);
    let error = init(&address, SETTINGS).await.unwrap_err();
    assert_names(&error, &["cql://127.0.0.1:1/agon"], true);
}
