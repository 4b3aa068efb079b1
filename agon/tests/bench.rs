//! `agon bench` with little to do: each side comes to its figure, and nothing is left.
#![allow(clippy::unwrap_used)]

mod support;

use support::{agon, expect, stderr, stdout};

/// What a bench prints, run where nothing else lies.
fn printed(args: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let output = agon(&[&["bench"], args].concat()).current_dir(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{args:?} left something");
    stdout(&output)
}

/// The numbers behind some words of a line that begins with others.
fn number(text: &str, begin: &str, words: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(begin));
    let rest = line.and_then(|line| line[begin.len()..].split_once(words));
    let number = rest.and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no {words:?} behind {begin:?}: {text}"))
}

#[test]
fn the_source_comes_to_figures_beside_bare_readers() {
    let text = printed(&["source", "--events", "3000", "--rounds", "2"]);
    let event_bytes = number(&text, "3000 recent changes", "of ");
    assert!((1_100.0..1_500.0).contains(&event_bytes), "{text}");
    for side in [
        "source, into the embedded log",
        "bare reader of the bytes",
        "bare reader that splits and parses JSON",
        "agon serve, which folds too",
    ] {
        assert!(number(&text, side, " ") > 0.0, "{text}");
    }
    let ratios = text.lines().filter(|line| line.starts_with("ratio "));
    assert!(ratios.clone().all(|line| line.ends_with("2 rounds)")), "{text}");
    assert_eq!(ratios.count(), 3, "{text}");
    resident(&text, "agon serve: ");
    let help = stdout(&expect(0, &["bench", "source", "--help"]));
    assert!(help.contains("server-sent events") && help.contains("--log"), "{help}");
}

#[test]
fn servers_under_load_say_what_memory_they_take() {
    let text = printed(&["http", "--events", "500", "--rounds", "1"]);
    assert_eq!(text.lines().filter(|line| line.starts_with("ratio ")).count(), 2, "{text}");
    resident(&text, "agon serve: idle ");
}

/// A process takes some memory, and never more than at most.
fn resident(text: &str, begin: &str) {
    let line = text.lines().find_map(|line| line.strip_prefix(begin)).unwrap();
    let resident: f64 = line.split(' ').next().unwrap().parse().unwrap();
    let most = number(line, "", "at most ");
    assert!(resident > 1.0 && most >= resident, "{text}");
}
