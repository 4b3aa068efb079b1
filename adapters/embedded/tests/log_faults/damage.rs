//! Every byte of a small log damaged in turn, every file cut at every length: all that was
//! acknowledged is read back, or the opening refuses and names the file and the byte.

use std::path::Path;

use agon_embedded::files::{Files, SimFiles};
use agon_embedded::log::OpenError;
use agon_ports::Retry;

use crate::support::{Model, World, open, reopen, segments, watermark};

/// Opens a damaged log; answers whether it opened.
fn check(world: &World, files: &SimFiles, model: &Model, when: &str) -> bool {
    match open(files) {
        Ok(log) => {
            world.check(&log, model, when);
            true
        }
        Err(error) => {
            let text = error.to_string();
            let named = files.paths().iter().any(|path| text.contains(path.to_str().unwrap()));
            match &error {
                OpenError::Damaged { byte, .. } => {
                    assert!(named && text.contains(&format!("at byte {byte}")), "{when}: {text}");
                }
                OpenError::Refused { .. } => {
                    let short = text.contains("watermark") || text.contains(".seg");
                    assert!(named || short, "{when}: {text}");
                }
                OpenError::Io { .. } => panic!("{when}: {text}"),
            }
            let again = open(files).map(drop).map_err(|error| error.to_string());
            assert_eq!(again, Err(text), "{when}: the second try differs");
            false
        }
    }
}

/// Whether a byte is one of the zeros between the slots of the watermark, all of which are alike.
fn padding(path: &Path, place: usize) -> bool {
    path == watermark() && place % 4096 >= 64
}

#[test]
fn every_damaged_byte_is_harmless_or_refused() {
    let world = World::new();
    let (files, model) = world.filled();
    for path in segments(&files).into_iter().chain([watermark()]) {
        let bytes = files.contents(&path).unwrap();
        for (place, byte) in bytes.iter().enumerate() {
            let damages = [!byte, 0, byte ^ 1, byte ^ 0x80];
            for damaged in &damages[..if padding(&path, place) { 1 } else { damages.len() }] {
                let when = format!("{} byte {place} made {damaged:#x}", path.display());
                let fork = files.fork(1);
                fork.set_byte(&path, place, *damaged);
                let opened = check(&world, &fork, &model, &when);
                let harmless = path == watermark() || damaged == byte;
                assert_eq!(opened, harmless, "{when}: opened {opened}");
            }
        }
    }
}

#[test]
fn every_damaged_byte_above_the_watermark_loses_only_what_was_not_acknowledged() {
    let world = World::new();
    let (files, model) = world.filled();
    let before = files.fork(1);
    world.append(&reopen(&files, "filled"), &mut model.clone(), 3).unwrap();
    let path = segments(&files).pop().unwrap();
    let acknowledged = before.contents(&path).map_or(0, |bytes| bytes.len());
    let bytes = files.contents(&path).unwrap();
    before.put(&path, bytes.clone());
    let mut model = model.clone();
    model.send_in_vain(3);
    for (place, byte) in bytes.iter().enumerate().skip(acknowledged) {
        for damaged in [!byte, 0, byte ^ 1] {
            let when = format!("byte {place} made {damaged:#x}");
            let fork = before.fork(1);
            fork.set_byte(&path, place, damaged);
            assert!(check(&world, &fork, &model, &when), "{when}");
        }
    }
}

#[test]
fn every_file_cut_at_any_length_is_refused_or_whole() {
    let world = World::new();
    let (files, model) = world.filled();
    for path in segments(&files).into_iter().chain([watermark()]) {
        let bytes = files.contents(&path).unwrap();
        for length in (0..bytes.len()).filter(|length| !padding(&path, *length) || length % 89 == 0)
        {
            let when = format!("{} cut at {length}", path.display());
            let fork = files.fork(1);
            fork.put(&path, bytes[..length].to_vec());
            let opened = check(&world, &fork, &model, &when);
            // One whole slot of the watermark is enough.
            assert_eq!(opened, path == watermark() && length >= 64, "{when}: opened {opened}");
        }
        let fork = files.fork(1);
        fork.remove(&path).unwrap();
        assert!(!check(&world, &fork, &model, &format!("{} removed", path.display())));
    }
}

#[test]
fn a_damaged_slot_and_a_torn_tail_together_are_refused() {
    let world = World::new();
    let (files, model) = world.filled();
    let path = segments(&files).pop().unwrap();
    let bytes = files.contents(&path).unwrap();
    for slot in [0, 4096] {
        for length in 1..bytes.len() {
            let when = format!("slot at {slot} damaged, {} cut at {length}", path.display());
            let fork = files.fork(1);
            fork.set_byte(&watermark(), slot, 0);
            assert!(check(&world, &fork, &model, &when));
            let fork = files.fork(1);
            fork.set_byte(&watermark(), slot, 0);
            fork.put(&path, bytes[..length].to_vec());
            // A cut between two records above the older slot's end is the one that looks whole.
            match open(&fork) {
                Err(OpenError::Damaged { .. }) => {}
                Err(error) => panic!("{when}: {error}"),
                Ok(log) => assert!(between_records(&world, &log, &bytes, length), "{when}"),
            }
        }
    }
}

#[test]
fn a_damaged_slot_is_mended_at_the_next_opening() {
    let world = World::new();
    for (first, second) in [(0, 4096), (4096, 0)] {
        let (files, model) = world.filled();
        for slot in [first, second, first] {
            files.set_byte(&watermark(), slot, 0);
            let when = format!("slot at {slot} damaged");
            assert!(check(&world, &files, &model, &when), "{when}");
        }
    }
}

/// Whether a cut left nothing torn, so that no reader of the files could notice it.
fn between_records(
    world: &World,
    log: &agon_embedded::log::EmbeddedLog,
    bytes: &[u8],
    length: usize,
) -> bool {
    let mut place = 56;
    while place < length {
        let mut word = [0; 4];
        word.copy_from_slice(&bytes[place + 4..place + 8]);
        place += u32::from_le_bytes(word) as usize;
    }
    length > 56 && place == length && world.read(log).is_ok()
}

#[test]
fn damage_after_the_opening_is_told_and_never_skipped() {
    let world = World::new();
    let (files, model) = world.filled();
    for path in segments(&files) {
        for place in (56..files.contents(&path).unwrap().len()).step_by(3) {
            let fork = files.fork(1);
            let log = reopen(&fork, "whole");
            world.check(&log, &model, "whole");
            let byte = fork.contents(&path).unwrap()[place];
            fork.set_byte(&path, place, !byte);
            let error = world.read(&log).expect_err("damage must be told");
            assert_eq!(error.retry, Retry::Never, "{error}");
            let file = path.file_name().map(Path::new).unwrap().display().to_string();
            assert!(error.reason.contains(&file), "{error}");
        }
    }
}
