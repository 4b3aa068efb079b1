//! The suite of [`ControlStore`].

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::assert_refused;
use crate::control_store::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::{ControlStore, Put, Versioned};

/// Gives the suite one control store, which is empty at first.
#[async_trait]
pub trait ControlStoreFixture: Send {
    /// Opens the store: new and empty at the first call, the same one again at later calls.
    /// Nothing that an earlier call answered is in use any more.
    async fn open(&mut self) -> Arc<dyn ControlStore>;

    /// Closes the store, as the end of the process does, and opens it again.
    async fn reopen(&mut self, store: Arc<dyn ControlStore>) -> Arc<dyn ControlStore> {
        drop(store);
        self.open().await
    }
}

/// Makes the tests that every [`ControlStore`] passes: `control_store_conformance!(make_fixture);`,
/// where the function answers a
/// [`ControlStoreFixture`](crate::conformance::control_store::ControlStoreFixture).
#[macro_export]
macro_rules! control_store_conformance {
    ($make:expr $(, skipped_when: $is_absent:expr)?) => {
        $crate::conformance_cases! {
            control_store_conformance,
            $make $(, skipped_when: $is_absent)?;
            control_store::a_new_store_has_nothing,
            control_store::a_value_is_read_as_it_was_put,
            control_store::only_the_expected_version_is_replaced,
            control_store::versions_grow_by_one_and_apart,
            control_store::a_list_has_the_keys_of_a_prefix_in_the_order_of_their_bytes,
            control_store::of_equal_expectations_exactly_one_wins,
            control_store::no_increment_is_lost,
            control_store::stored_values_are_kept_over_reopen,
            control_store::a_key_over_its_limit_is_refused,
            control_store::a_value_over_its_limit_is_refused,
        }
    };
}

/// What the store must hold.
type Expected = BTreeMap<String, Versioned>;

/// Stores a value that must be accepted.
async fn put(store: &dyn ControlStore, expected: &mut Expected, key: &str, value: &[u8]) {
    let before = expected.get(key).map_or(0, |before| before.version);
    let version = before + 1;
    let answer = store.put(key, value, before).await.expect("put answers");
    assert_eq!(answer, Put::Stored(version), "{key:?}");
    expected.insert(key.to_owned(), Versioned { version, value: value.to_vec() });
}

/// The store holds this and nothing else.
async fn check(store: &dyn ControlStore, expected: &Expected) {
    let list = store.list("").await.expect("list answers");
    let all: Vec<_> = expected.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    assert_eq!(list, all);
    for (key, value) in expected {
        assert_eq!(store.get(key).await.expect("get answers").as_ref(), Some(value), "{key:?}");
    }
}

/// Nothing is there before it was put.
pub async fn a_new_store_has_nothing(mut fixture: impl ControlStoreFixture) {
    let mut store = fixture.open().await;
    for _ in 0..2 {
        assert_eq!(store.get("users/anna").await.expect("get answers"), None);
        assert_eq!(store.list("users/").await.expect("list answers"), []);
        check(&*store, &Expected::new()).await;
        store = fixture.reopen(store).await;
    }
}

/// Text, nothing and any bytes come back, and a `get` after the `put` sees them.
pub async fn a_value_is_read_as_it_was_put(mut fixture: impl ControlStoreFixture) {
    let store = fixture.open().await;
    let mut expected = Expected::new();
    let every_byte: Vec<u8> = (0..=255).collect();
    let values: [&[u8]; 6] =
        [b"", b"\0", b"{\"role\":\"admin\"}", "対局 \"\\\n".as_bytes(), b"\xff\xfe", &every_byte];
    for (number, value) in values.into_iter().enumerate() {
        put(&*store, &mut expected, &format!("shape/{number}"), value).await;
        check(&*store, &expected).await;
    }
    for key in ["k", "with space", "quote\"\\", "line\nbreak", "клю/ч", "\u{10ffff}"] {
        put(&*store, &mut expected, key, b"value").await;
    }
    for value in values {
        put(&*store, &mut expected, "one key", value).await;
    }
    let store = fixture.reopen(store).await;
    check(&*store, &expected).await;
}

/// Another version than the stored one is a conflict that names the stored one, and changes
/// nothing.
pub async fn only_the_expected_version_is_replaced(mut fixture: impl ControlStoreFixture) {
    let mut store = fixture.open().await;
    let mut expected = Expected::new();
    put(&*store, &mut expected, "lease", b"1").await;
    put(&*store, &mut expected, "lease", b"2").await;
    for _ in 0..2 {
        for (key, version, stored) in [
            ("lease", 0, 2),
            ("lease", 1, 2),
            ("lease", 3, 2),
            ("lease", u64::MAX, 2),
            ("no", 1, 0),
        ] {
            let answer = store.put(key, b"other", version).await.expect("put answers");
            assert_eq!(answer, Put::Conflict(stored), "{key} expected at {version}");
        }
        check(&*store, &expected).await;
        store = fixture.reopen(store).await;
    }
}

/// Every change is a version of its own, the same bytes too, and keys do not share them.
pub async fn versions_grow_by_one_and_apart(mut fixture: impl ControlStoreFixture) {
    let mut store = fixture.open().await;
    let mut expected = Expected::new();
    for round in 0..10 {
        put(&*store, &mut expected, "often", b"same").await;
        if round % 3 == 0 {
            put(&*store, &mut expected, "seldom", b"same").await;
            store = fixture.reopen(store).await;
        }
    }
    let version = |key: &str| expected.get(key).map(|value| value.version);
    assert_eq!((version("often"), version("seldom")), (Some(10), Some(4)));
    check(&*store, &expected).await;
}

/// A prefix has its keys and no others; the order is that of the bytes, not of a language.
pub async fn a_list_has_the_keys_of_a_prefix_in_the_order_of_their_bytes(
    mut fixture: impl ControlStoreFixture,
) {
    let store = fixture.open().await;
    let mut expected = Expected::new();
    let keys =
        ["users/b", "users", "users/a", "users/Z", "users0", "users/é", "users/a/1", "keys/a"];
    for key in keys {
        put(&*store, &mut expected, key, key.as_bytes()).await;
    }
    for (prefix, listed) in [
        ("users/", vec!["users/Z", "users/a", "users/a/1", "users/b", "users/é"]),
        ("users/a", vec!["users/a", "users/a/1"]),
        ("users", vec!["users", "users/Z", "users/a", "users/a/1", "users/b", "users/é", "users0"]),
        ("k", vec!["keys/a"]),
        ("users/a/1/", vec![]),
        ("\u{10ffff}", vec![]),
    ] {
        let list = store.list(prefix).await.expect("list answers");
        let found: Vec<_> = list.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(found, listed, "{prefix:?}");
        assert!(list.iter().all(|(key, value)| expected.get(key) == Some(value)));
    }
    check(&*store, &expected).await;
}

/// Of many writers at the same time that expect the same version one is told that it stored, the
/// others that they did not, and the value is the winner's.
pub async fn of_equal_expectations_exactly_one_wins(mut fixture: impl ControlStoreFixture) {
    let store = fixture.open().await;
    let mut expected = Expected::new();
    for version in 0..10 {
        let mut writers = Vec::new();
        for writer in 0..8_u8 {
            let store = Arc::clone(&store);
            writers.push(tokio::spawn(async move { store.put("lease", &[writer], version).await }));
        }
        let mut winners = Vec::new();
        for (writer, task) in (0..).zip(writers) {
            match task.await.expect("writer ends").expect("put answers") {
                Put::Stored(stored) => {
                    assert_eq!(stored, version + 1);
                    winners.push(writer);
                }
                Put::Conflict(stored) => assert_eq!(stored, version + 1),
            }
        }
        assert_eq!(winners.len(), 1, "winners of version {version}: {winners:?}");
        let winner = Versioned { version: version + 1, value: winners };
        expected.insert("lease".to_owned(), winner);
        check(&*store, &expected).await;
    }
    let store = fixture.reopen(store).await;
    check(&*store, &expected).await;
}

/// Writers that read, add one and try again on a conflict count right.
pub async fn no_increment_is_lost(mut fixture: impl ControlStoreFixture) {
    let store = fixture.open().await;
    let mut writers = Vec::new();
    for _ in 0..4 {
        let store = Arc::clone(&store);
        writers.push(tokio::spawn(async move {
            let mut stored = 0;
            while stored < 25 {
                let before = store.get("count").await.expect("get answers");
                let (version, count) = before.map_or((0, 0), |before| {
                    (before.version, before.value.first().copied().unwrap_or_default())
                });
                let answer = store.put("count", &[count + 1], version).await;
                if let Put::Stored(_) = answer.expect("put answers") {
                    stored += 1;
                }
            }
        }));
    }
    for writer in writers {
        writer.await.expect("writer ends");
    }
    let store = fixture.reopen(store).await;
    let count = store.get("count").await.expect("get answers");
    assert_eq!(count, Some(Versioned { version: 100, value: vec![100] }));
}

/// What was stored is there after the store was closed and opened, and changing goes on.
pub async fn stored_values_are_kept_over_reopen(mut fixture: impl ControlStoreFixture) {
    let mut store = fixture.open().await;
    let mut expected = Expected::new();
    for life in 0..5 {
        for user in 0..=life {
            let value = format!("user {user} in life {life}");
            put(&*store, &mut expected, &format!("users/{user}"), value.as_bytes()).await;
        }
        store = fixture.reopen(store).await;
        check(&*store, &expected).await;
    }
}

/// The limit itself may be reached; one byte more is refused, and nothing changes.
pub async fn a_key_over_its_limit_is_refused(mut fixture: impl ControlStoreFixture) {
    let store = fixture.open().await;
    let mut expected = Expected::new();
    put(&*store, &mut expected, &"k".repeat(KEY_BYTES_MAX), b"value").await;
    put(&*store, &mut expected, &"é".repeat(KEY_BYTES_MAX / 2), b"value").await;
    for key in ["k".repeat(KEY_BYTES_MAX + 1), "é".repeat(KEY_BYTES_MAX / 2 + 1)] {
        assert_refused(store.put(&key, b"value", 0).await, "a long key");
    }
    let store = fixture.reopen(store).await;
    check(&*store, &expected).await;
}

/// The limit itself may be reached; one byte more is refused, and nothing changes.
pub async fn a_value_over_its_limit_is_refused(mut fixture: impl ControlStoreFixture) {
    let store = fixture.open().await;
    let mut expected = Expected::new();
    put(&*store, &mut expected, "text", "v".repeat(VALUE_BYTES_MAX).as_bytes()).await;
    put(&*store, &mut expected, "bytes", &vec![0xff; VALUE_BYTES_MAX]).await;
    for (key, version) in [("text", 1), ("new", 0)] {
        let value = vec![b'v'; VALUE_BYTES_MAX + 1];
        assert_refused(store.put(key, &value, version).await, "a large value");
    }
    let store = fixture.reopen(store).await;
    check(&*store, &expected).await;
}
