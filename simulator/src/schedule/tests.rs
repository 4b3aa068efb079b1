//! A schedule is the same for the same plan, deals every kind evenly, and never two faults at once
//! to one target.

use std::collections::BTreeSet;

use super::*;

const PLAN: Plan =
    Plan { seed: 7, duration_ms: 300_000, consumers: 3, nodes: 1, session_timeout_ms: 6_000 };
const OF_THREE: Plan = Plan { nodes: 3, ..PLAN };

#[test]
fn one_seed_has_one_schedule_and_another_seed_another() {
    assert_eq!(schedule(&PLAN), schedule(&PLAN));
    assert_ne!(schedule(&PLAN), schedule(&Plan { seed: 8, ..PLAN }));
}

#[test]
fn a_longer_run_begins_like_a_shorter_one() {
    let (short, long) =
        (schedule(&PLAN), schedule(&Plan { duration_ms: 2 * PLAN.duration_ms, ..PLAN }));
    assert!(long.len() > short.len());
    assert_eq!(short, long[..short.len()]);
}

/// Any machine, any day: a changed schedule makes old seeds say something else.
#[test]
fn the_first_steps_of_a_seed_stay_what_they_are() {
    let first: Vec<String> = schedule(&PLAN)
        .iter()
        .take(3)
        .map(|step| serde_json::to_string(step).unwrap_or_default())
        .collect();
    let expected = [
        r#"{"at_ms":6032,"fault":"cut","link":"store"}"#,
        r#"{"at_ms":8286,"fault":"kill_api","down_ms":2245}"#,
        r#"{"at_ms":11933,"fault":"pause_broker","node":1,"for_ms":3526}"#,
    ];
    assert_eq!(first, expected);
}

#[test]
fn every_kind_comes_and_nearly_as_often_as_any_other() {
    for (plan, kinds) in [(PLAN, &KINDS[..KINDS_OF_ONE]), (OF_THREE, &KINDS[..])] {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for step in schedule(&Plan { duration_ms: 3_600_000, ..plan }) {
            *counts.entry(step.fault.kind()).or_default() += 1;
        }
        let seen: BTreeSet<&str> = counts.keys().copied().collect();
        assert_eq!(seen, kinds.iter().copied().collect());
        let (least, most) = (counts.values().min(), counts.values().max());
        assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{counts:?}");
    }
}

#[test]
fn steps_are_in_order_and_one_target_has_one_fault_at_a_time() {
    for seed in 0..50 {
        let steps = schedule(&Plan { seed, ..OF_THREE });
        assert!(steps.is_sorted_by_key(|step| step.at_ms));
        let mut free_at: BTreeMap<Target, u64> = BTreeMap::new();
        for step in steps {
            let free = free_at.entry(step.fault.target()).or_default();
            assert!(*free <= step.at_ms, "seed {seed}: {step:?}");
            *free = step.at_ms + step.fault.busy_ms();
        }
    }
}

#[test]
fn a_sleeper_sleeps_longer_than_its_session() {
    for seed in 0..50 {
        for step in schedule(&Plan { seed, ..PLAN }) {
            if let Fault::PauseConsumer { for_ms, consumer } = step.fault {
                assert!(for_ms > PLAN.session_timeout_ms && consumer < PLAN.consumers);
            }
        }
    }
}

#[test]
fn every_node_has_every_fault_and_no_other_node_has_one() {
    let mut hit: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for plan in [PLAN, OF_THREE] {
        for step in (0..50).flat_map(|seed| schedule(&Plan { seed, ..plan })) {
            let Some(node) = step.fault.node() else { continue };
            assert!((1..=plan.nodes).contains(&node), "{step:?}");
            hit.entry(step.fault.kind()).or_default().insert(node);
        }
    }
    assert_eq!(hit.len(), 10, "{hit:?}");
    assert!(hit.values().all(|nodes| nodes.len() == 3), "{hit:?}");
}
