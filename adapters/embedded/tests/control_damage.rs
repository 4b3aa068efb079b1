//! What the control store does about power losses, damage and a disk that refuses: what was
//! acknowledged is there, or the start is refused with the file and a remedy.

use std::path::Path;
use std::sync::Arc;

use agon_embedded::control::{ControlError, ControlSettings, EmbeddedControl};
use agon_embedded::files::{Crash, DataDir, DiskFiles, SimFiles};
use agon_ports::{ControlStore, Put, Retry, Versioned};

const FILE: &str = "/data/control.json";
const NEW_FILE: &str = "/data/control.json.new";
const CRASHES: [Crash; 3] = [Crash::LoseUnsynced, Crash::KeepPrefix, Crash::KeepSectors];

fn try_open(files: &SimFiles) -> Result<EmbeddedControl, ControlError> {
    let dir = DataDir::open(Arc::new(files.clone()), "/data").expect("the directory is free");
    EmbeddedControl::open(Arc::new(dir), ControlSettings::default())
}

async fn contents(store: &EmbeddedControl) -> Vec<(String, Versioned)> {
    store.list("").await.expect("list answers")
}

/// A disk on which the store holds two values.
async fn filled() -> SimFiles {
    let files = SimFiles::new(1);
    let store = try_open(&files).expect("the store opens");
    store.put("users/anna", b"{\"role\":\"admin\"}", 0).await.expect("put answers");
    store.put("keys/1", b"\x00\xff", 0).await.expect("put answers");
    files
}

/// Puts until the disk refuses; what was acknowledged, and the change that was not.
async fn put_until_refused(files: &SimFiles) -> (u64, Option<u64>) {
    let Ok(dir) = DataDir::open(Arc::new(files.clone()), "/data") else { return (0, None) };
    let Ok(store) = EmbeddedControl::open(Arc::new(dir), ControlSettings::default()) else {
        return (0, None);
    };
    for version in 0..6 {
        // Large enough for several sectors, so that a tear can fall between them.
        let value = [version as u8; 1500];
        match store.put("count", &value, version).await {
            Ok(answer) => assert_eq!(answer, Put::Stored(version + 1)),
            Err(error) => {
                assert_eq!(error.retry, Retry::Later);
                return (version, Some(version + 1));
            }
        }
    }
    (6, None)
}

#[tokio::test]
async fn power_lost_after_any_change_keeps_what_was_acknowledged() {
    let mut cut = 0;
    for crash in CRASHES {
        for seed in 0..6 {
            for changes in 0..60 {
                let files = SimFiles::new(seed * 1_000 + changes);
                files.cut_power_after(changes);
                let (acknowledged, pending) = put_until_refused(&files).await;
                cut += u64::from(pending.is_some());
                files.crash(crash);
                // The power goes once more while the store recovers.
                files.cut_power_after(changes % 5);
                if let Ok(dir) = DataDir::open(Arc::new(files.clone()), "/data") {
                    let _ = EmbeddedControl::open(Arc::new(dir), ControlSettings::default());
                }
                files.crash(crash);
                let at = format!("{crash:?}, seed {seed}, after {changes} changes");
                let store = try_open(&files).unwrap_or_else(|error| panic!("{at}: {error}"));
                let held = store.get("count").await.expect("get answers");
                let version = held.as_ref().map_or(0, |held| held.version);
                let fits = version == acknowledged || Some(version) == pending;
                assert!(fits, "{at}: {version}, acknowledged {acknowledged}");
                let value = held.map_or(vec![], |held| held.value);
                assert!(value.iter().all(|byte| u64::from(*byte) + 1 == version), "{at}");
                assert!(files.contents(Path::new(NEW_FILE)).is_none(), "{at}: a leftover");
            }
        }
    }
    assert!(cut > 200, "the power was lost during {cut} changes only");
}

#[tokio::test]
async fn what_was_read_after_a_recovery_is_not_lost_again() {
    for changes in 0..60 {
        for seed in 0..10 {
            let files = SimFiles::new(seed);
            files.cut_power_after(changes);
            put_until_refused(&files).await;
            if seed == 0 {
                // The process alone died: what it had not synced is seen, and not yet kept.
                files.cut_power_after(u64::MAX);
            } else {
                files.crash(Crash::KeepPrefix);
            }
            let read = contents(&try_open(&files).expect("the store opens")).await;
            files.crash(Crash::LoseUnsynced);
            let again = contents(&try_open(&files).expect("the store opens")).await;
            assert_eq!(again, read, "seed {seed}, after {changes} changes");
        }
    }
}

#[tokio::test]
async fn every_flipped_byte_is_refused_or_changes_nothing() {
    let files = filled().await;
    let whole = files.contents(Path::new(FILE)).expect("the file is there");
    let expected = contents(&try_open(&files).expect("the store opens")).await;
    let (mut refused, mut harmless) = (0, 0);
    for place in 0..whole.len() {
        for flip in [0x01, 0x20, 0x80, 0xff] {
            let damaged = files.fork(1);
            damaged.set_byte(Path::new(FILE), place, whole[place] ^ flip);
            match try_open(&damaged) {
                Err(error) => {
                    assert!(error.to_string().contains(FILE), "{error}");
                    let bytes = damaged.contents(Path::new(FILE)).expect("the file is left");
                    assert_eq!(bytes[place], whole[place] ^ flip, "a refusal changes nothing");
                    refused += 1;
                }
                Ok(store) => {
                    assert_eq!(contents(&store).await, expected, "byte {place}");
                    harmless += 1;
                }
            }
        }
    }
    assert!(refused > harmless * 3, "{refused} refused, {harmless} harmless");
}

#[tokio::test]
async fn every_cut_is_refused() {
    let files = filled().await;
    let whole = files.contents(Path::new(FILE)).expect("the file is there");
    // Without its last byte, a line's end, it still says all.
    for length in 0..whole.len() - 1 {
        files.put(Path::new(FILE), whole[..length].to_vec());
        let Err(error) = try_open(&files) else { panic!("{length} bytes were accepted") };
        assert!(error.to_string().starts_with(&format!("{FILE} is damaged: ")), "{error}");
    }
}

/// What a start with these two files says; `Ok` with the number of values.
async fn start(stored: Option<&[u8]>, new: Option<&[u8]>) -> Result<usize, String> {
    let files = SimFiles::new(1);
    drop(DataDir::open(Arc::new(files.clone()), "/data"));
    for (path, bytes) in [(FILE, stored), (NEW_FILE, new)] {
        if let Some(bytes) = bytes {
            files.put(Path::new(path), bytes.to_vec());
        }
    }
    let store = try_open(&files).map_err(|error| error.to_string())?;
    let count = contents(&store).await.len();
    assert!(files.contents(Path::new(NEW_FILE)).is_none(), "a leftover stays");
    files.crash(Crash::LoseUnsynced);
    drop(store);
    let again = try_open(&files).map_err(|error| error.to_string())?;
    assert_eq!(contents(&again).await.len(), count, "what a start found is durable");
    Ok(count)
}

#[tokio::test]
async fn a_start_is_judged_by_both_files() {
    let two = filled().await.contents(Path::new(FILE)).expect("the file is there");
    let first = SimFiles::new(1);
    drop(try_open(&first));
    let none = first.contents(Path::new(FILE)).expect("the file is there");
    let torn = &two[..two.len() / 2];
    let other = String::from_utf8(two.clone()).expect("it is text");
    let other = other.replace("\"format\": 1", "\"format\": 7").into_bytes();
    let zeros = vec![0; none.len()];
    for (stored, new, count) in [
        (None, None, 0),
        (None, Some(&two[..]), 2),
        (None, Some(&none[..10]), 0),
        (None, Some(&zeros[..]), 0),
        (None, Some(&[][..]), 0),
        (Some(&two[..]), None, 2),
        (Some(&two[..]), Some(torn), 2),
        (Some(&two[..]), Some(&none[..]), 2),
        (Some(&none[..]), Some(&two[..]), 0),
    ] {
        assert_eq!(start(stored, new).await, Ok(count), "{stored:?} {new:?}");
    }
    for (stored, new, words) in [
        (Some(torn), None, "control.json is damaged: EOF while parsing"),
        (Some(torn), None, "; restore control.json from a backup, or remove it"),
        (Some(torn), Some(torn), "; restore control.json from a backup, or remove it"),
        (Some(torn), Some(&two[..]), "control.json.new is whole and at most one change newer"),
        (Some(&other[..]), None, "control.json has format 7, this agon reads format 1; start it"),
        (None, Some(torn), "control.json.new is damaged: EOF while parsing"),
        (None, Some(torn), "and control.json is gone; restore control.json from a backup"),
        (None, Some(&other[..]), "control.json.new has format 7"),
    ] {
        let said = start(stored, new).await.expect_err("the start is refused");
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_changes_until_there_is_room() {
    let files = filled().await;
    let store = try_open(&files).expect("the store opens");
    let before = contents(&store).await;
    let used = files.used_bytes();
    for free in [0, 1, 200, 2_000] {
        files.set_capacity_bytes(Some(used + free));
        let error = store.put("new", &[b'x'; 5_000], 0).await.expect_err("the disk is full");
        assert_eq!(error.retry, Retry::Later);
        let said = error.to_string();
        assert!(said.starts_with("store control value \"new\": cannot write /data/control.json"));
        assert_eq!(contents(&store).await, before);
    }
    files.set_capacity_bytes(None);
    assert_eq!(store.put("new", b"x", 0).await.expect("put answers"), Put::Stored(1));
    let after = contents(&store).await;
    drop(store);
    files.crash(Crash::LoseUnsynced);
    assert_eq!(contents(&try_open(&files).expect("the store opens")).await, after);
}

#[tokio::test]
async fn a_sync_that_fails_acknowledges_nothing() {
    let files = filled().await;
    let store = try_open(&files).expect("the store opens");
    files.set_syncs_fail(true);
    let error = store.put("users/anna", b"lost", 1).await.expect_err("the sync failed");
    assert_eq!(error.retry, Retry::Later);
    files.set_syncs_fail(false);
    let put = store.put("users/anna", b"kept", 1).await.expect("put answers");
    assert_eq!(put, Put::Stored(2));
    drop(store);
    files.crash(Crash::LoseUnsynced);
    let store = try_open(&files).expect("the store opens");
    let anna = store.get("users/anna").await.expect("get answers");
    assert_eq!(anna, Some(Versioned { version: 2, value: b"kept".to_vec() }));
}

#[tokio::test]
async fn a_store_over_its_bytes_refuses_changes_and_goes_on() {
    let files = SimFiles::new(1);
    let dir = DataDir::open(Arc::new(files.clone()), "/data").expect("the directory is free");
    let settings = ControlSettings { bytes_max: 100 };
    let store = EmbeddedControl::open(Arc::new(dir), settings).expect("the store opens");
    store.put("a", &[b'x'; 60], 0).await.expect("put answers");
    let error = store.put("b", &[b'x'; 39], 0).await.expect_err("101 bytes");
    assert_eq!(error.retry, Retry::Later);
    assert_eq!(
        error.to_string(),
        "store control value \"b\": /data/control.json would hold 101 bytes of 100"
    );
    store.put("a", &[b'x'; 20], 1).await.expect("a smaller value fits");
    store.put("b", &[b'x'; 39], 0).await.expect("now there is room");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("control.json");
    std::fs::create_dir(&path).expect("a directory in its place");
    let dir = DataDir::open(Arc::new(DiskFiles), directory.path()).expect("it is free");
    let Err(error) = EmbeddedControl::open(Arc::new(dir), ControlSettings::default()) else {
        panic!("a directory was opened")
    };
    let said = error.to_string();
    assert!(said.starts_with(&format!("cannot use {}: ", path.display())), "{said}");
    assert!(said.ends_with("must be readable and writable for this user"), "{said}");
}
