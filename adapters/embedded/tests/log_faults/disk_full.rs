//! A disk that is full, at each byte of capacity in turn, and one whose syncs fail.

use agon_embedded::files::{Crash, SimFiles};
use agon_ports::Retry;

use crate::support::{Model, World, open, reopen};

#[test]
fn a_disk_full_at_any_byte_refuses_and_goes_on_when_there_is_room() {
    let world = World::new();
    let (whole, _) = world.filled();
    let mut refused = 0;
    // Before the first record there are a header and 8 KiB of watermark, mostly zeros.
    let creation = (0..150).chain((150..8192).step_by(97));
    for capacity in creation.chain(8192..=whole.used_bytes()) {
        let when = format!("{capacity} bytes of room");
        let files = SimFiles::new(capacity);
        files.set_capacity_bytes(Some(capacity));
        let mut model = Model::default();
        let log = match open(&files) {
            Ok(log) => log,
            Err(error) => {
                assert!(error.to_string().contains("no storage space"), "{when}: {error}");
                files.set_capacity_bytes(None);
                reopen(&files, &when)
            }
        };
        for count in [1, 2, 3, 1, 4, 1, 1, 2] {
            if let Err(error) = world.append(&log, &mut model, count) {
                assert!(error.reason.contains("make room"), "{when}: {error}");
                refused += 1;
            }
        }
        world.check(&log, &model, &when);
        // What was acknowledged can be opened on the full disk too, after a power loss.
        let full = files.fork(1);
        full.set_capacity_bytes(Some(capacity));
        world.check(&reopen(&full, &when), &model, &when);
        files.set_capacity_bytes(None);
        world.append(&log, &mut model, 5).unwrap();
        world.check(&log, &model, &when);
        drop(log);
        files.crash(Crash::LoseUnsynced);
        world.check(&reopen(&files, &when), &model, &when);
    }
    assert!(refused > 1000, "{refused} refusals");
}

#[test]
fn after_a_failed_sync_nothing_is_taken_until_the_log_is_opened_again() {
    let world = World::new();
    for crash in [Crash::KillProcess, Crash::LoseUnsynced, Crash::KeepSectors] {
        let (files, mut model) = world.filled();
        let log = reopen(&files, "filled");
        files.set_syncs_fail(true);
        let error = world.append(&log, &mut model, 2).expect_err("the sync fails");
        assert!(error.reason.contains("restart agon"), "{error}");
        // The kernel forgot what failed: a sync that succeeds now proves nothing.
        files.set_syncs_fail(false);
        for _ in 0..3 {
            let error = world.append(&log, &mut model, 1).expect_err("nothing more is taken");
            assert_eq!(error.retry, Retry::Later);
            assert!(error.reason.contains("restart agon"), "{error}");
        }
        world.check(&log, &model, "readers go on");
        drop(log);
        files.crash(crash);
        let when = format!("opened again after {crash:?}");
        let log = reopen(&files, &when);
        world.check(&log, &model, &when);
        world.append(&log, &mut model, 3).unwrap();
        drop(log);
        world.check(&reopen(&files, &when), &model, &when);
    }
}

#[test]
fn a_failed_sync_at_any_point_loses_nothing_acknowledged() {
    let world = World::new();
    for steps in 0..12 {
        let files = SimFiles::new(steps);
        let mut model = Model::default();
        let log = reopen(&files, "new");
        for _ in 0..steps {
            world.append(&log, &mut model, 1).unwrap();
        }
        files.set_syncs_fail(true);
        world.append(&log, &mut model, 1).expect_err("the sync fails");
        drop(log);
        let when = format!("after {steps} appends and a failed sync");
        files.crash(Crash::LoseUnsynced);
        let log = reopen(&files, &when);
        world.check(&log, &model, &when);
        world.append(&log, &mut model, 1).unwrap();
        world.check(&log, &model, &when);
    }
}

#[test]
fn a_write_that_fails_half_done_at_any_point_is_undone() {
    let world = World::new();
    for (writes, changes) in (0..20).flat_map(|writes| (0..10).map(move |more| (writes, more))) {
        let when = format!("write {writes} torn, power lost {changes} changes later");
        let (files, mut model) = world.filled();
        let log = reopen(&files, "filled");
        files.tear_write_after(writes);
        let failed = (0..20).any(|_| match world.append(&log, &mut model, 1) {
            Ok(()) => false,
            Err(error) => error.reason.contains("simulated failure of a write"),
        });
        assert!(failed, "{when}: no write failed");
        files.cut_power_after(changes);
        let went_on = world.append(&log, &mut model, 2).is_ok();
        assert!(went_on || changes < 8, "{when}: nothing is taken");
        if went_on {
            world.check(&log, &model, &when);
        }
        drop(log);
        files.crash(Crash::KeepPrefix);
        let log = reopen(&files, &when);
        world.check(&log, &model, &when);
        world.append(&log, &mut model, 2).unwrap();
        world.check(&log, &model, &when);
    }
}
