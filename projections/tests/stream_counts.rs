//! Counts of the recent-change stream over sixteen partitions, against figures counted elsewhere
//! and a plain count of the same lines.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use agon_projections::row::{HeadDetail, RowKey, StreamTotals, Value};
use agon_projections::stream::{OTHER_SERVERS, SERVERS_MAX};
use agon_projections::{Cell, Outcome, Reason, invariants};
use agon_schema::codec::encode_malformed_change;
use agon_schema::wikimedia::{Line, parse};
use agon_schema::{Event, Topic, encode};
use serde::Deserialize;
use support::{Fold, World, at, change, differences, own_rows, text};

/// What the intake does with a line: changes become events, canary events are dropped, and what
/// cannot be read is appended as it is.
fn feed(world: &mut World, line: &str) {
    let record = match parse(line.as_bytes()) {
        Ok(Line::Change(change)) => encode(&Event::RecentChange(change), "test", 0),
        Ok(Line::Canary) => return,
        Err(_) => encode_malformed_change(line.as_bytes(), "test", 0),
    };
    world.feed(Topic::RecentChange, &record);
}

fn totals_of(cell: &Cell) -> StreamTotals {
    match cell.head_row().map(|row| row.value) {
        Some(Value::Head(head)) => match head.detail {
            HeadDetail::Stream(totals) => totals,
            other => panic!("{other:?}"),
        },
        _ => StreamTotals::default(),
    }
}

/// Totals and messages by server over all partitions.
fn sums(world: &World) -> (StreamTotals, BTreeMap<String, u64>) {
    let (mut sum, mut servers) = (StreamTotals::default(), BTreeMap::new());
    for fold in world.cells.values() {
        let totals = totals_of(&fold.cell);
        assert!(invariants::totals_are_bounded(&totals));
        sum.messages += totals.messages;
        sum.bots += totals.bots;
        sum.distinct_users += totals.distinct_users;
        sum.rejected += totals.rejected;
        for row in own_rows(&fold.cell) {
            if let (RowKey::Server(_, name), Value::Server(messages)) = (row.key, row.value) {
                *servers.entry(name).or_insert(0) += messages;
            }
        }
    }
    (sum, servers)
}

#[test]
fn twenty_thousand_edits() {
    let Some(lines) = text("wikimedia-edits-2015/recentchange_shaped.jsonl.gz") else { return };
    let mut world = World::default();
    lines.lines().for_each(|line| feed(&mut world, line));
    let (sum, servers) = sums(&world);
    let want = StreamTotals {
        messages: 20_000,
        bots: 8_773,
        distinct_users: 5_850,
        ..StreamTotals::default()
    };
    assert_eq!(sum, want);
    assert_eq!(sum.messages - sum.bots, 11_227);
    assert_eq!(servers.len(), 49);
    assert_eq!(servers.values().sum::<u64>(), 20_000);
    assert_eq!(world.cells.len(), 16, "users spread over all partitions");
    assert_eq!(servers, plain_count(&lines));

    let before: Vec<_> = world.cells.values().map(Fold::bytes).collect();
    lines.lines().for_each(|line| feed(&mut world, line));
    let after: Vec<_> = world.cells.values().map(Fold::bytes).collect();
    assert!(before == after, "the same file again changes nothing");
    assert_eq!((world.counted, world.duplicates, world.dead.len()), (20_000, 20_000, 0));
}

/// Messages by server, counted from the JSON alone.
fn plain_count(lines: &str) -> BTreeMap<String, u64> {
    let mut servers = BTreeMap::new();
    for line in lines.lines() {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        *servers.entry(json["server_name"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    servers
}

#[test]
fn recorded_events() {
    let Some(lines) = text("wikimedia-recentchange/events.jsonl") else { return };
    let mut world = World::default();
    lines.lines().for_each(|line| feed(&mut world, line));
    let (sum, servers) = sums(&world);
    let json: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: BTreeSet<_> = json.iter().map(|event| event["meta"]["id"].as_str()).collect();
    let users: BTreeSet<_> = json.iter().filter_map(|event| event["user"].as_str()).collect();
    let bots = json.iter().filter(|event| event["bot"] == true).count();
    assert_eq!(ids.len(), 20, "all recorded events have an id of their own");
    let want = StreamTotals {
        messages: 20,
        bots: bots as u64,
        distinct_users: users.len() as u64,
        ..StreamTotals::default()
    };
    assert_eq!(sum, want);
    assert_eq!(servers, plain_count(&lines));
}

#[test]
fn every_edge_case_counts_or_is_rejected_with_a_reason() {
    #[derive(Deserialize)]
    struct Case {
        name: String,
        line: String,
        valid_by_schema_1_0_0: bool,
    }
    let Some(text) = text("wikimedia-recentchange/edge_cases.jsonl") else { return };
    let mut malformed = 0;
    for line in text.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let mut world = World::default();
        feed(&mut world, &case.line);
        feed(&mut world, &case.line);
        let (sum, _) = sums(&world);
        let found = (sum.messages, sum.rejected, world.duplicates);
        if case.name == "canary" {
            assert_eq!(found, (0, 0, 0), "canary");
        } else if case.valid_by_schema_1_0_0 {
            assert_eq!(found, (1, 0, 1), "{}", case.name);
        } else {
            // A malformed line has no identity: whoever appends it twice is told so twice.
            assert_eq!(found, (0, 2, 0), "{}", case.name);
            malformed += 1;
            let (_, rejection) = &world.dead[0];
            assert_eq!(rejection.reason, Reason::Malformed, "{}", case.name);
            assert!(rejection.detail.len() > 5, "{}: {rejection:?}", case.name);
            assert_eq!(world.rows.len(), 3, "{}: two letters and one mark", case.name);
        }
    }
    assert_eq!(malformed, 7);
}

fn servers_of(fold: &Fold) -> usize {
    own_rows(&fold.cell).iter().filter(|row| matches!(row.key, RowKey::Server(..))).count()
}

#[test]
fn what_an_event_leaves_out_is_not_guessed() {
    let mut fold = Fold::new(agon_projections::CellKey::Stream(0));
    for (event, totals, servers) in [
        (change("1", None, None, None), (1, 0, 0), 0),
        (change("2", Some("u"), Some(false), None), (2, 0, 1), 0),
        (change("3", Some("u"), Some(true), Some("s")), (3, 1, 1), 1),
        (change("4", Some("U"), None, Some("s")), (4, 1, 2), 1),
        // Equal: a duplicate. Not equal: rejected, and the first stands.
        (change("4", Some("U"), None, Some("s")), (4, 1, 2), 1),
        (change("4", Some("V"), Some(true), Some("t")), (4, 1, 2), 1),
    ] {
        fold.step(&event);
        let got = totals_of(&fold.cell);
        assert_eq!((got.messages, got.bots, got.distinct_users), totals, "{event:?}");
        assert_eq!(servers_of(&fold), servers, "{event:?}");
    }
    assert_eq!(totals_of(&fold.cell).rejected, 1);
    let Some(Value::Head(head)) = fold.cell.head_row().map(|row| row.value) else { panic!() };
    // What is rejected moves the position, but not the time of what counted last.
    assert_eq!((head.applied, head.counted, head.last), (5, 4, Some(at(0))));
}

#[test]
fn servers_beyond_the_limit_count_together_also_after_loading() {
    let mut fold = Fold::new(agon_projections::CellKey::Stream(0));
    for n in 0..SERVERS_MAX + 3 {
        fold.step(&change(&n.to_string(), None, None, Some(&format!("server {n}"))));
    }
    assert_eq!(servers_of(&fold), SERVERS_MAX + 1);
    let mut loaded = fold.reloaded();
    assert_eq!(differences(&loaded, &fold), [""; 0]);
    for (id, server) in [("a", "server 7"), ("b", "late"), ("c", OTHER_SERVERS)] {
        let event = change(id, None, None, Some(server));
        for fold in [&mut loaded, &mut fold] {
            assert!(matches!(fold.step(&event), Outcome::Counted(_)), "{server}");
        }
    }
    assert_eq!(differences(&loaded, &fold), [""; 0]);
    let other = own_rows(&loaded.cell).into_iter().find_map(|row| match (row.key, row.value) {
        (RowKey::Server(_, name), Value::Server(count)) if name == OTHER_SERVERS => Some(count),
        _ => None,
    });
    assert_eq!(other, Some(5));
}
