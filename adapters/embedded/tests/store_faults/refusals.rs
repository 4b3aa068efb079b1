//! A store that is another's, another version's, half made or in use is told from a good one.

use std::fs;
use std::path::Path;

use agon_embedded::store::{EmbeddedStore, OpenError, StoreConfig};
use agon_schema::LogId;
use uuid::Uuid;

use super::support::{LOG, flush_until, flushes_of, open};

/// A closed store of so many flushes.
async fn closed(dir: &Path, flushes: u64) {
    let store = open(dir).unwrap();
    flush_until(&store, flushes).await;
}

#[tokio::test]
async fn a_store_of_another_log_is_refused_until_it_is_wiped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    closed(&path, 9).await;
    let other = LogId(Uuid::from_u128(8));
    let opened = EmbeddedStore::open(&path, other, StoreConfig::default());
    let error = opened.err().unwrap();
    assert!(error.is_mended_by_folding_anew(), "{error}");
    let OpenError::OtherLog { found, expected, .. } = error else { panic!("{error}") };
    assert_eq!((found, expected), (LOG, other));
    // Looking changed nothing.
    let store = open(&path).unwrap();
    assert_eq!(flushes_of(&store).await.unwrap(), 9);
    drop(store);

    EmbeddedStore::wipe(&path).unwrap();
    assert!(!path.exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "wiping leaves nothing behind");
    EmbeddedStore::wipe(&path).expect("nothing to wipe is no error");
    let store = EmbeddedStore::open(&path, other, StoreConfig::default()).unwrap();
    assert_eq!(flushes_of(&store).await.unwrap(), 0);
}

#[tokio::test]
async fn an_open_store_is_not_opened_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let error = open(dir.path()).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(!error.is_mended_by_folding_anew());
    flush_until(&store, 3).await;
    drop(store);
    let store = open(dir.path()).expect("closed with its last handle");
    assert_eq!(flushes_of(&store).await.unwrap(), 3);
}

#[tokio::test]
async fn a_wipe_that_was_cut_off_is_ended_at_the_next_opening() {
    let dir = tempfile::tempdir().unwrap();
    let (path, aside) = (dir.path().join("store"), dir.path().join("store.wiped"));
    closed(&path, 9).await;
    fs::rename(&path, &aside).unwrap();
    let store = open(&path).unwrap();
    assert_eq!(flushes_of(&store).await.unwrap(), 0);
    assert!(!aside.exists());
}

/// Whatever file is lost, the store opens as one that it once was, or is to be folded anew.
#[tokio::test]
async fn a_lost_file_is_no_silent_loss() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("good");
    closed(&good, 400).await;
    let mut refused = 0;
    for file in super::damage::files_of(&good) {
        let path = dir.path().join("store");
        super::damage::copy(&good, &path);
        fs::remove_file(path.join(&file)).unwrap();
        match open(&path) {
            // The journal's end is what may be lost without a word.
            Ok(store) => match flushes_of(&store).await {
                Ok(flushes) => assert!(flushes <= 400),
                Err(error) => super::support::assert_damage(&error),
            },
            Err(error) => {
                assert!(error.is_mended_by_folding_anew(), "{}: {error}", file.display());
                refused += 1;
            }
        }
        EmbeddedStore::wipe(&path).unwrap();
    }
    assert!(refused > 3, "{refused} refused");
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "no directory").unwrap();
    let error = open(&file.join("store")).err().unwrap();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    assert!(!error.is_mended_by_folding_anew());
}
