//! Seeded mixtures of appends, kills, power losses, full disks and failing syncs.

use agon_embedded::files::{Crash, SimFiles};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::{Model, World, open};

const CRASHES: [Crash; 4] =
    [Crash::KillProcess, Crash::LoseUnsynced, Crash::KeepPrefix, Crash::KeepSectors];

/// One life of a log: some appends with faults around them, then an end of some kind.
fn live(world: &World, files: &SimFiles, model: &mut Model, chance: &mut StdRng, when: &str) {
    files.cut_power_after(if chance.random_bool(0.5) { chance.random_range(0..60) } else { 1000 });
    if let Ok(log) = open(files) {
        world.check(&log, model, when);
        for _ in 0..chance.random_range(0..8) {
            let room = chance.random_range(0..300);
            let full = chance.random_bool(0.2);
            files.set_capacity_bytes(full.then(|| files.used_bytes() + room));
            if chance.random_bool(0.1) {
                files.tear_write_after(chance.random_range(0..4));
            }
            files.set_syncs_fail(chance.random_bool(0.03));
            world.append(&log, model, chance.random_range(1..9)).ok();
        }
        files.set_capacity_bytes(None);
        // Even after faults, those who read see what was acknowledged, while there is power.
        if files.has_power() {
            world.check(&log, model, when);
        }
    }
    files.crash(CRASHES[chance.random_range(0..CRASHES.len())]);
}

#[test]
fn whatever_happens_what_was_acknowledged_is_there() {
    let world = World::new();
    for seed in 0..300 {
        let mut chance = StdRng::seed_from_u64(seed);
        let files = SimFiles::new(seed);
        let mut model = Model::default();
        for life in 0..chance.random_range(2..8) {
            let when = format!("seed {seed}, life {life}");
            live(&world, &files, &mut model, &mut chance, &when);
        }
        let when = format!("seed {seed}, at the end");
        let log = crate::support::reopen(&files, &when);
        world.check(&log, &model, &when);
        world.append(&log, &mut model, 3).unwrap();
        world.check(&log, &model, &when);
    }
}
