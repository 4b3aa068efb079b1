//! The harness bites: with one rule broken on purpose, the suites that guard it fail.

use std::process::{Command, Stdio};

use agon_consumer::controls::CONTROLS;

/// Which suite notices which broken rule.
const NOTICED_BY: [(&str, &str); CONTROLS.len()] = [
    ("commit_before_flush", "share::nothing_is_committed_before_it_is_stored"),
    ("memory_kept_after_revoke", "group::what_others_folded_meanwhile"),
    ("no_replay_skip", "partition::what_the_stored_cells_hold_is_counted"),
    ("no_record_hash", "refusals::the_store_of_another_log_is_refused"),
    ("resume_from_broker", "restart::a_store_that_was_put_back"),
];

/// Runs a suite of this very binary with a rule broken, or with none. Whether it went well.
fn goes_well(suite: &str, broken: Option<&str>) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(suite).env_remove("AGON_BREAK").stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(broken) = broken {
        command.env("AGON_BREAK", broken);
    }
    command.status().unwrap().success()
}

#[test]
#[expect(clippy::print_stdout, reason = "how many were caught is what one runs this for")]
fn each_broken_rule_is_noticed() {
    assert_eq!(NOTICED_BY.map(|(control, _)| control), CONTROLS);
    let caught: Vec<_> = NOTICED_BY
        .iter()
        .filter(|(control, suite)| goes_well(suite, None) && !goes_well(suite, Some(control)))
        .map(|(control, _)| control)
        .collect();
    println!("controls caught {}/{}", caught.len(), CONTROLS.len());
    assert_eq!(caught.len(), CONTROLS.len(), "only {caught:?}");
}
