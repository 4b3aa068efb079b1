//! Owners that come late, twice or at once, and flushes that end half way: nothing that is newer
//! changes, and every cell is the fold up to its own `applied`.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use agon_ports::{ProjectionStore, Retry};
use agon_scylla::ScyllaStore;

use self::support::fold::{Chance, check, check_whole, flush};
use self::support::{Keyspace, is_absent};

async fn made() -> Keyspace {
    let keyspace = Keyspace::new();
    keyspace.init().await;
    keyspace
}

/// An owner that was paused wakes and sends its flush, cut in another way, long after another one
/// went on; so do a stale one and one that overlaps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_flush_through_another_handle_changes_nothing_newer() {
    if is_absent() {
        return;
    }
    let keyspace = made().await;
    let [sleeper, heir, reader] =
        [keyspace.open().await, keyspace.open().await, keyspace.open().await];
    sleeper.flush(flush(None, 20)).await.unwrap();
    heir.flush(flush(Some(20), 40)).await.unwrap();
    heir.flush(flush(Some(40), 70)).await.unwrap();
    check_whole(&reader, 70).await;
    // It believes that the store stands at 20.
    sleeper.flush(flush(Some(20), 25)).await.unwrap();
    check_whole(&reader, 70).await;
    sleeper.flush(flush(Some(25), 61)).await.unwrap();
    check_whole(&reader, 70).await;
    // Past the heir: newer facts than the heir's, and the heir goes on behind it.
    sleeper.flush(flush(Some(61), 90)).await.unwrap();
    check_whole(&reader, 90).await;
    heir.flush(flush(Some(70), 85)).await.unwrap();
    check_whole(&reader, 90).await;
    heir.flush(flush(Some(85), 120)).await.unwrap();
    check_whole(&reader, 120).await;
    // A handle that knows nothing reads where the store stands before it judges.
    let newcomer = keyspace.open().await;
    newcomer.flush(flush(Some(20), 40)).await.unwrap();
    for refused in [flush(Some(100), 130), flush(Some(121), 130)] {
        let error = newcomer.flush(refused).await.unwrap_err();
        assert_eq!(error.retry, Retry::Never, "{error}");
    }
    check_whole(&reader, 120).await;
    newcomer.flush(flush(Some(120), 130)).await.unwrap();
    check_whole(&reader, 130).await;
}

/// Two owners with one flush, of whom the later one is not told that the other has stored it: as a
/// flush is sent again whose answer was lost. Its events count once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_is_sent_twice_counts_once() {
    if is_absent() {
        return;
    }
    let keyspace = made().await;
    let [one, other, reader] =
        [keyspace.open().await, keyspace.open().await, keyspace.open().await];
    // Either knows where the store stands.
    for owner in [&one, &other] {
        owner.flush(flush(None, 20)).await.unwrap();
    }
    for (from, to) in [(20, 45), (45, 80)] {
        let sent = flush(Some(from), to);
        one.flush(Arc::clone(&sent)).await.unwrap();
        check_whole(&reader, to).await;
        other.flush(sent).await.unwrap();
        check_whole(&reader, to).await;
    }
}

/// One owner: where it believes that it stands.
struct Owner {
    store: ScyllaStore,
    at: Option<u64>,
}

/// Three owners of one partition, none of whom knows of the others, with flushes that are cut off
/// after a moment and lives that begin where the store stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_at_once_and_flushes_cut_off_converge() {
    if is_absent() {
        return;
    }
    const END: u64 = 400;
    let keyspace = made().await;
    let reader = keyspace.open().await;
    let mut chance = Chance(4);
    let mut owners = Vec::new();
    for _ in 0..3 {
        owners.push(Owner { store: keyspace.open().await, at: None });
    }
    let (mut cut_off, mut refused, mut rounds) = (0, 0, 0);
    while owners.iter().any(|owner| owner.at != Some(END)) {
        let owner = &mut owners[chance.below(3) as usize];
        let to = (owner.at.map_or(0, |at| at + 1) + chance.below(40)).min(END);
        if owner.at >= Some(to) {
            continue;
        }
        let sent = owner.store.flush(flush(owner.at, to));
        let moment = match chance.below(3) {
            0 => Duration::from_micros(chance.below(3_000)),
            _ => Duration::from_secs(60),
        };
        match tokio::time::timeout(moment, sent).await {
            Ok(Ok(())) => owner.at = Some(to),
            // Another one went on, and a new life begins where the store stands.
            Ok(Err(error)) => {
                assert_eq!(error.retry, Retry::Never, "{error}");
                refused += 1;
                owner.at = check(&owner.store).await;
            }
            Err(_) => cut_off += 1,
        }
        if chance.below(8) == 0 {
            owner.store = keyspace.open().await;
            owner.at = check(&owner.store).await;
        }
        rounds += 1;
        check(&reader).await;
    }
    check_whole(&reader, END).await;
    assert!(cut_off > 3 && rounds > 30, "{cut_off} of {rounds} cut off, {refused} refused");
}
