//! Who may read a data directory: the account that made it, nobody else.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use agon_embedded::control::{ControlSettings, EmbeddedControl};
use agon_embedded::files::{DataDir, DiskFiles};
use agon_embedded::log::{EmbeddedLog, OpenOptions};
use agon_ports::ControlStore;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Every file and directory under this one has the mode of its kind; how many files there are.
fn check_below(dir: &Path) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let is_dir = path.is_dir();
        assert_eq!(mode(&path), if is_dir { 0o700 } else { 0o600 }, "{}", path.display());
        files += if is_dir { check_below(&path) } else { 1 };
    }
    files
}

async fn fill(path: &Path) {
    let dir = Arc::new(DataDir::open(Arc::new(DiskFiles), path).unwrap());
    let options = OpenOptions::default();
    let log = EmbeddedLog::open(Arc::clone(dir.files()), dir.log_dir(), options).unwrap();
    let control = EmbeddedControl::open(Arc::clone(&dir), ControlSettings::default()).unwrap();
    control.put("users/ana", b"a hash", 0).await.unwrap();
    drop(log);
}

#[tokio::test]
async fn what_is_made_is_for_its_owner_alone() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("deep/data");
    fill(&data).await;
    assert_eq!((mode(&home.path().join("deep")), mode(&data)), (0o700, 0o700));
    for file in ["lock", "control.json"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
    let names = fs::read_dir(data.join("log")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    let is_there = |part: &str| names.iter().any(|name| name.to_string_lossy().contains(part));
    assert!(is_there(".seg") && is_there("watermark"), "{names:?}");
    assert!(check_below(&data) >= 4);
}

#[tokio::test]
async fn what_the_owner_has_chosen_stays() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o750)).unwrap();
    fill(&data).await;
    assert_eq!((mode(&data), mode(&data.join("log"))), (0o750, 0o700));
    check_below(&data);
    fs::set_permissions(data.join("lock"), fs::Permissions::from_mode(0o640)).unwrap();
    fill_again(&data).await;
    assert_eq!(mode(&data.join("lock")), 0o640);
}

async fn fill_again(path: &Path) {
    let dir = Arc::new(DataDir::open(Arc::new(DiskFiles), path).unwrap());
    let control = EmbeddedControl::open(dir, ControlSettings::default()).unwrap();
    let stored = control.list("").await.unwrap();
    assert_eq!(stored.len(), 1);
}
