//! Cursors: a walk meets everyone once, also while ratings change, and forged ones are refused.

use std::collections::BTreeMap;

use agon_schema::Event;
use serde_json::Value;

use crate::fold::{environment, game};
use crate::site::Site;

fn agents(body: &Value) -> Vec<String> {
    let entries = body["entries"].as_array().unwrap().iter();
    entries.map(|entry| entry["agent"].as_str().unwrap().to_owned()).collect()
}

/// Forty agents in pairs, so that many are equal.
fn forty() -> Vec<Event> {
    let mut events = vec![environment("go")];
    for pair in 0..20 {
        let (one, other) = (format!("p{:02}", pair * 2), format!("p{:02}", pair * 2 + 1));
        events.push(game("go", &format!("m{pair}"), pair, &[&one, &other]));
    }
    events
}

#[tokio::test]
async fn pages_join_to_the_whole_board() {
    let (site, last) = Site::of(&forty()).await;
    let whole = site.read("/leaderboard?environment=go", &last).await;
    for (limit, ties) in [(1, "competition"), (7, "dense"), (20, "ordinal"), (39, "dense")] {
        let whole = site.read(&format!("/leaderboard?environment=go&ties={ties}"), &last).await;
        let mut entries = Vec::new();
        let mut cursor = String::new();
        loop {
            let query = format!("/leaderboard?environment=go&limit={limit}&ties={ties}{cursor}");
            let page = site.read(&query, &last).await;
            entries.extend(page["entries"].as_array().unwrap().clone());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(Value::from(entries), whole["entries"], "{limit} {ties}");
    }
    assert_eq!(agents(&whole).len(), 40);
}

#[tokio::test]
async fn a_walk_meets_those_who_stay_once_while_others_move() {
    let (site, mut last) = Site::of(&forty()).await;
    let mut met: BTreeMap<String, u32> = BTreeMap::new();
    let (mut cursor, mut round) = (String::new(), 0);
    loop {
        let query = format!("/leaderboard?environment=go&limit=3{cursor}");
        let page = site.read(&query, &last).await;
        for agent in agents(&page) {
            *met.entry(agent).or_default() += 1;
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
        // Two go on moving: one up from the bottom, one down from the top, past every cursor.
        round += 1;
        last = site.tell(&[game("go", &format!("x{round}"), 100, &["p39", "p00"])]).await;
    }
    assert!(round >= 10);
    for stays in (1..39).map(|n| format!("p{n:02}")) {
        assert_eq!(met.get(&stays), Some(&1), "{stays}");
    }
}

#[tokio::test]
async fn the_entrant_of_a_cursor_may_be_gone_from_its_place() {
    let (site, last) = Site::of(&forty()).await;
    let page = site.read("/leaderboard?environment=go&limit=3", &last).await;
    assert_eq!(agents(&page), ["p00", "p02", "p04"]);
    let cursor = page["next_cursor"].as_str().unwrap().to_owned();
    let last = site.tell(&[game("go", "x", 1, &["p01", "p04"])]).await;
    let next = format!("/leaderboard?environment=go&limit=2&cursor={cursor}");
    assert_eq!(agents(&site.read(&next, &last).await), ["p06", "p08"]);
}

#[tokio::test]
async fn what_is_no_cursor_of_the_list_is_refused() {
    let mut events = forty();
    events.push(environment("chess"));
    events.push(game("chess", "m", 1, &["p00", "p01"]));
    let (site, last) = Site::of(&events).await;
    let page = site.read("/leaderboard?environment=go&limit=3", &last).await;
    let good = page["next_cursor"].as_str().unwrap().to_owned();
    let matches = site.read("/matches?environment=go&limit=3", &last).await;
    let of_matches = matches["next_cursor"].as_str().unwrap().to_owned();
    let cut = good[..good.len() - 1].to_owned();
    for cursor in ["x", "", "%00", "AAAA", &cut, &of_matches, &"A".repeat(5000)] {
        for list in ["/leaderboard?environment=go", "/leaderboard?environment=chess"] {
            let answer = site.get(&format!("{list}&cursor={cursor}")).await;
            assert_eq!(answer.problem(), (400, "invalid_parameter".to_owned()), "{cursor}");
            assert!(answer.text().contains("?cursor"), "{}", answer.text());
        }
    }
    for list in ["/leaderboard?environment=chess", "/matches?environment=go"] {
        let answer = site.get(&format!("{list}&cursor={good}")).await;
        assert_eq!(answer.problem(), (400, "invalid_parameter".to_owned()), "{list}");
    }
}
