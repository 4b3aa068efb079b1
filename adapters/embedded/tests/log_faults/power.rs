//! Power lost, or the process killed, between any two changes of the disk: the log always opens
//! again, with all it acknowledged.

use agon_embedded::files::{Crash, SimFiles};

use crate::support::{Model, World, open, reopen, segments, watermark};

const CRASHES: [Crash; 4] =
    [Crash::KillProcess, Crash::LoseUnsynced, Crash::KeepPrefix, Crash::KeepSectors];

/// Makes a log and appends to it until the power goes.
fn work(world: &World, files: &SimFiles, model: &mut Model) {
    let Ok(log) = open(files) else { return };
    for count in [1, 2, 5, 1, 3, 1] {
        if world.append(&log, model, count).is_err() {
            return;
        }
    }
}

/// Changes that the whole work makes.
fn changes(world: &World) -> u64 {
    let files = SimFiles::new(0);
    work(world, &files, &mut Model::default());
    files.changes()
}

#[test]
fn power_lost_at_any_change_loses_nothing_acknowledged() {
    let world = World::new();
    let changes = changes(&world);
    assert!(changes > 40, "{changes} changes are too few to say anything");
    for crash in CRASHES {
        for cut in 0..=changes {
            let when = format!("{crash:?} after {cut} changes");
            let files = SimFiles::new(cut);
            let mut model = Model::default();
            files.cut_power_after(cut);
            work(&world, &files, &mut model);
            files.crash(crash);
            let log = reopen(&files, &when);
            world.check(&log, &model, &when);
            world.append(&log, &mut model, 4).unwrap();
            world.check(&log, &model, &when);
            drop(log);
            files.crash(Crash::LoseUnsynced);
            world.check(&reopen(&files, &when), &model, &when);
        }
    }
}

#[test]
fn power_lost_again_at_the_next_start_loses_nothing_either() {
    let world = World::new();
    for first in CRASHES {
        for (cut, again) in (0..=changes(&world)).flat_map(|cut| (0..12).map(move |a| (cut, a))) {
            let second = CRASHES[(cut + again) as usize % CRASHES.len()];
            let when = format!("{first:?} after {cut} changes, {second:?} after {again} more");
            let files = SimFiles::new(cut * 12 + again);
            let mut model = Model::default();
            files.cut_power_after(cut);
            work(&world, &files, &mut model);
            files.crash(first);
            files.cut_power_after(again);
            if let Ok(log) = open(&files) {
                world.append(&log, &mut model, 2).ok();
            }
            files.crash(second);
            world.check(&reopen(&files, &when), &model, &when);
        }
    }
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_whole_records_in_it_are_kept() {
    let world = World::new();
    let (files, mut model) = world.filled();
    let before = files.fork(1);
    let log = reopen(&files, "filled");
    world.append(&log, &mut model.clone(), 3).unwrap();
    drop(log);
    let path = segments(&files).pop().unwrap();
    let whole = files.contents(&path).unwrap();
    let acknowledged = before.contents(&path).map_or(0, |bytes| bytes.len());
    assert!(whole.len() > acknowledged + 100);
    for cut in acknowledged..=whole.len() {
        for garbage in [&b""[..], b"garbage", &[0; 100]] {
            let when = format!("cut at {cut}, then {} bytes", garbage.len());
            let torn = before.fork(1);
            torn.put(&path, [&whole[..cut], garbage].concat());
            // Numbers of the torn batch are sent and not acknowledged.
            let mut model = model.clone();
            model.send_in_vain(3);
            let log = reopen(&torn, &when);
            world.check(&log, &model, &when);
            let read = world.read(&log).unwrap().len();
            let all = cut == whole.len();
            assert_eq!(read == model.sent_count(), all, "{when}: {read} records");
            world.append(&log, &mut model, 2).unwrap();
            drop(log);
            world.check(&reopen(&torn, &when), &model, &when);
        }
    }
    model.send_in_vain(3);
    world.check(&reopen(&files, "not torn"), &model, "not torn");
}

#[test]
fn a_directory_that_acknowledged_nothing_opens_empty() {
    let world = World::new();
    let (whole, _) = world.filled();
    let header = whole.contents(&segments(&whole)[0]).unwrap()[..56].to_vec();
    for length in 0..=header.len() {
        for mark in [None, Some(Vec::new())] {
            let files = SimFiles::new(1);
            drop(open(&files));
            files.put(&segments(&files)[0], header[..length].to_vec());
            match mark {
                None => agon_embedded::files::Files::remove(&files, &watermark()).unwrap(),
                Some(bytes) => files.put(&watermark(), bytes),
            }
            let when = format!("{length} bytes of a header");
            let log = reopen(&files, &when);
            let mut model = Model::default();
            world.check(&log, &model, &when);
            world.append(&log, &mut model, 3).unwrap();
            drop(log);
            world.check(&reopen(&files, &when), &model, &when);
        }
    }
}
