//! What does not belong together is refused with words that help, and so is a second process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agon_embedded::files::{Crash, DataDir, DiskFiles, Files, SimFiles};
use agon_embedded::log::{EmbeddedLog, OpenOptions};
use agon_ports::EventLog;

use crate::support::{DIR, World, open, segments, small, watermark};

/// What opening with so many partitions says; empty when it opens.
fn open_with(files: &SimFiles, partitions: Option<u32>) -> String {
    let options = OpenOptions { partitions, config: small(), progress: None };
    match EmbeddedLog::open(Arc::new(files.clone()), DIR, options) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let world = World::new();
    let (files, model) = world.filled();
    let (other, _) = world.filled();
    let segment = |number: usize| PathBuf::from(format!("{DIR}/{number:020}.seg"));
    let last = segments(&files).len();
    let read = |files: &SimFiles, path: &Path| files.contents(path).unwrap();
    type Change<'a> = Box<dyn Fn(&SimFiles) + 'a>;
    let cases: Vec<(&str, Change, Vec<String>)> = vec![
        (
            "a segment of another log",
            Box::new(|files| files.put(&segment(2), read(&other, &segment(2)))),
            vec!["2.seg belongs to the log ".into(), "the watermark to the log ".into()],
        ),
        (
            "the watermark of another log",
            Box::new(|files| files.put(&watermark(), read(&other, &watermark()))),
            vec!["1.seg belongs to the log ".into(), "the watermark to the log ".into()],
        ),
        (
            "two segments exchanged",
            Box::new(|files| {
                files.put(&segment(1), read(files, &segment(2)));
                files.put(&segment(2), read(files, &segment(1)));
            }),
            vec!["1.seg holds segment 2".into()],
        ),
        (
            "a segment renamed",
            Box::new(|files| {
                files.rename(&segment(last), &Path::new(DIR).join("old.seg")).unwrap();
            }),
            vec!["old.seg is named like no segment".into()],
        ),
        (
            "a segment in the middle gone",
            Box::new(|files| files.remove(&segment(2)).unwrap()),
            vec!["2.seg is missing".into()],
        ),
        (
            "the last segment gone",
            Box::new(|files| files.remove(&segment(last)).unwrap()),
            vec![format!("{last}.seg is missing")],
        ),
        (
            "a segment too many",
            Box::new(|files| files.put(&segment(last + 2), read(files, &segment(last)))),
            vec![format!("{}.seg is there", last + 2), format!("last segment is {DIR}")],
        ),
        (
            "a copy as the next segment",
            Box::new(|files| files.put(&segment(last + 1), read(files, &segment(last)))),
            vec![format!("{}.seg holds segment {last}", last + 1)],
        ),
        (
            "another version",
            Box::new(|files| files.set_byte(&segment(1), 8, 9)),
            vec!["1.seg has format version 9".into(), "reads version 1".into()],
        ),
        (
            "no watermark",
            Box::new(|files| files.remove(&watermark()).unwrap()),
            vec!["1.seg holds records, but the file watermark is missing".into()],
        ),
    ];
    for (what, change, expected) in cases {
        let fork = files.fork(1);
        change(&fork);
        let text = open_with(&fork, None);
        for words in expected {
            assert!(text.contains(&words), "{what}: {text:?} lacks {words:?}");
        }
    }
    world.check(&open(&files).unwrap(), &model, "unchanged");
}

#[test]
fn the_partition_count_stays() {
    let (files, _) = World::new().filled();
    assert_eq!(open_with(&files, None), "");
    let text = open_with(&files, Some(3));
    assert!(text.contains("made with 2 partitions a topic and 3 were asked for"), "{text}");
    for partitions in [0, 1025] {
        let text = open_with(&SimFiles::new(1), Some(partitions));
        assert!(text.contains("a topic has 1 to 1024"), "{text}");
    }
    let options = OpenOptions::default();
    let log = EmbeddedLog::open(Arc::new(SimFiles::new(1)), DIR, options).unwrap();
    assert_eq!(log.partitions(), agon_schema::topic::PARTITIONS_DEFAULT);
}

#[test]
fn opening_tells_how_far_it_is() {
    let (files, _) = World::new().filled();
    let total: usize =
        segments(&files).iter().map(|path| files.contents(path).unwrap().len() - 56).sum();
    let done = Arc::new(AtomicU64::new(0));
    let seen = done.clone();
    let progress = move |bytes: u64, bytes_total: u64| {
        assert!(bytes > seen.load(Ordering::Relaxed) && bytes <= bytes_total);
        seen.store(bytes, Ordering::Relaxed);
    };
    let options =
        OpenOptions { partitions: None, config: small(), progress: Some(Box::new(progress)) };
    EmbeddedLog::open(Arc::new(files), DIR, options).unwrap();
    assert_eq!(done.load(Ordering::Relaxed), total as u64);
}

/// A second opener is refused and told who holds the directory.
fn check_lock(files: Arc<dyn Files>, dir: &Path) {
    let held = DataDir::open(files.clone(), dir).unwrap();
    let Err(error) = DataDir::open(files.clone(), dir) else { panic!("opened twice") };
    let expected = format!(
        "{} is in use by another agon process (pid {}); stop it or use --server URL",
        dir.display(),
        std::process::id()
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(held.log_dir(), dir.join("log"));
    drop(held);
    DataDir::open(files, dir).unwrap();
}

#[test]
fn a_second_opener_is_refused() {
    let files = SimFiles::new(1);
    check_lock(Arc::new(files.clone()), Path::new("some/data"));
    let held = DataDir::open(Arc::new(files.clone()), "some/data").unwrap();
    files.crash(Crash::KillProcess);
    let next = DataDir::open(Arc::new(files.clone()), "some/data").unwrap();
    drop(held);
    assert!(DataDir::open(Arc::new(files), "some/data").is_err(), "an old guard freed a new lock");
    drop(next);
    let dir = tempfile::tempdir().unwrap();
    check_lock(Arc::new(DiskFiles), &dir.path().join("a/b"));
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let Err(error) = DataDir::open(Arc::new(DiskFiles), file.join("data")) else {
        panic!("a file is no directory")
    };
    let text = error.to_string();
    assert!(text.contains("file/data") && text.contains("--data"), "{text}");
}
