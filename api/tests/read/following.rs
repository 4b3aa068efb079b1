//! Whatever becomes of the news, the board is the store's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agon_api::{BoardQuery, leaderboard_body};
use agon_ports::{Heard, scan_all};
use agon_projections::board::Board;
use agon_projections::row_bytes::Prefix;
use agon_projections::{CellKey, Table};
use agon_schema::Event;
use agon_schema::event::{Aggregation, Direction};
use proptest::prelude::*;

use crate::fold::{benchmark, environment, game, submission};
use crate::leaderboard::environment_cell;
use crate::site::{LOG, Site};

/// The body that the rows of the store give.
pub async fn stored_body(site: &Site, cell: CellKey) -> Vec<u8> {
    let mut rows = Vec::new();
    for table in [Table::Heads, Table::Entrants] {
        let prefix = Prefix::Cell(table, cell.clone());
        rows.extend(scan_all(&site.source.store.inner, prefix).await.unwrap());
    }
    let board = Board::from_rows(cell.clone(), rows);
    leaderboard_body(&board, LOG, &BoardQuery::of(cell)).unwrap()
}

/// What becomes of the news of one flush.
#[derive(Clone, Copy, Debug)]
enum Way {
    Told,
    Twice,
    Late,
    Lost,
    Missed,
}

#[derive(Clone, Debug)]
struct Step {
    players: Vec<(u8, u8)>,
    way: Way,
    is_asked: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let way = prop_oneof![
        4 => Just(Way::Told),
        1 => Just(Way::Twice),
        2 => Just(Way::Late),
        1 => Just(Way::Lost),
        1 => Just(Way::Missed),
    ];
    let players = prop::collection::vec((0..12_u8, 0..12_u8), 1..6);
    let step = (players, way, any::<bool>());
    let step = step.prop_map(|(players, way, is_asked)| Step { players, way, is_asked });
    prop::collection::vec(step, 1..24)
}

async fn check(site: &Site, position: &str, ids: &[&str]) {
    for id in ids {
        let path = format!("/leaderboard?environment={id}&min_position={position}");
        let answer = site.get(&path).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let stored = stored_body(site, environment_cell(id)).await;
        assert_eq!(answer.text(), String::from_utf8(stored).unwrap());
    }
}

async fn play(steps: Vec<Step>) {
    let (site, position) = Site::of(&[environment("go"), environment("chess")]).await;
    let both = ["go", "chess"];
    check(&site, &position, &both).await;
    let mut late: Vec<Heard> = Vec::new();
    let mut n = 0;
    for step in steps {
        let (mut events, mut moved): (Vec<Event>, Vec<&str>) = (Vec::new(), Vec::new());
        for (one, other) in step.players.iter().filter(|(one, other)| one != other) {
            n += 1;
            let id = if one % 3 == 0 { "chess" } else { "go" };
            let players = [format!("p{one}"), format!("p{other}")];
            let players: Vec<&str> = players.iter().map(String::as_str).collect();
            events.push(game(id, &format!("m{n}"), n, &players));
            moved.push(id);
        }
        // Without an event there is no position to wait for.
        if events.is_empty() {
            continue;
        }
        let (news, position) = site.source.store(&events).await;
        match step.way {
            Way::Told => site.source.say(news),
            Way::Twice => {
                site.source.say(news.clone());
                site.source.say(news);
            }
            Way::Late => late.extend(news),
            Way::Lost => {}
            Way::Missed => site.source.say([Heard::Missed]),
        }
        match step.way {
            Way::Told | Way::Twice if step.is_asked => check(&site, &position, &moved).await,
            Way::Missed if step.is_asked => check(&site, &position, &both).await,
            // Asked without waiting: whatever it shows, it must not break what comes.
            _ if step.is_asked => drop(site.get("/leaderboard?environment=go").await),
            _ => {}
        }
        if step.is_asked {
            site.source.say(late.drain(..));
        }
    }
    site.source.say(late);
    let end = [game("go", "end", n, &["p0", "p1"]), game("chess", "end", n, &["p0", "p1"])];
    let position = site.tell(&end).await;
    check(&site, &position, &both).await;
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn gaps_repeats_and_late_news_end_in_the_stores_board(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(play(steps));
    }
}

#[tokio::test(start_paused = true)]
async fn progress_never_runs_ahead_of_a_board() {
    let (site, last) = Site::of(&[environment("go"), game("go", "m1", 1, &["a", "b"])]).await;
    site.read("/leaderboard?environment=go", &last).await;
    // A flush lands while the progress is read again, and its news are not told.
    let (source, position) = (Arc::clone(&site.source), Arc::new(Mutex::new(None)));
    let (stored, is_first) = (Arc::clone(&position), Arc::new(AtomicBool::new(true)));
    site.source.store.before_each_page(Some(Box::new(move || {
        let (source, stored) = (Arc::clone(&source), Arc::clone(&stored));
        let is_first = is_first.swap(false, Ordering::SeqCst);
        Box::pin(async move {
            if is_first {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let (_, position) = source.store(&[game("go", "m2", 2, &["a", "b"])]).await;
                *stored.lock().unwrap() = Some(position);
            }
        })
    })));
    site.source.say([Heard::Missed]);
    tokio::time::sleep(Duration::from_millis(15)).await;
    let position = position.lock().unwrap().clone().unwrap();
    let body = site.read("/leaderboard?environment=go", &position).await;
    assert_eq!(body["entries"][0]["games"], 2, "{body}");
}

#[tokio::test]
async fn a_board_follows_without_being_read_again() {
    let (site, last) = Site::of(&[environment("go"), game("go", "m0", 0, &["a", "b"])]).await;
    site.read("/leaderboard?environment=go", &last).await;
    for n in 1..30 {
        let last = site.tell(&[game("go", &format!("m{n}"), n, &["b", "c"])]).await;
        let body = site.read("/leaderboard?environment=go&agent=b", &last).await;
        assert_eq!(body["entries"][0]["games"], n + 1, "{body}");
    }
    assert_eq!(site.sample("agon_board_loads_total{result=\"loaded\"}"), 1.0);
}

#[tokio::test]
async fn a_benchmarks_first_score_brings_its_agent_onto_the_board() {
    let (site, last) = Site::of(&[
        benchmark("tasks", Direction::Lower, Aggregation::Last),
        submission("tasks", "s1", "a", None),
    ])
    .await;
    let body = site.read("/leaderboard?benchmark=tasks", &last).await;
    assert_eq!(body["total"], 0);
    let last = site.tell(&[submission("tasks", "s2", "a", Some(2.0))]).await;
    let last_too = site.tell(&[submission("tasks", "s3", "b", Some(1.0))]).await;
    site.read("/leaderboard?benchmark=tasks", &last).await;
    let body = site.read("/leaderboard?benchmark=tasks", &last_too).await;
    assert_eq!(body["entries"][0]["agent"], "b");
    assert_eq!(site.sample("agon_board_entries{board_kind=\"benchmark\"}"), 2.0);
}

#[tokio::test]
async fn the_end_of_the_feed_is_said_and_what_is_there_is_served() {
    let (site, last) = Site::of(&[environment("go"), game("go", "m0", 0, &["a", "b"])]).await;
    site.read("/leaderboard?environment=go", &last).await;
    assert!(site.api.readiness().is_ready());
    site.source.say([Heard::Closed]);
    let Site { source, api, router, registry, token, follower } = site;
    follower.await.unwrap();
    assert!(!api.readiness().feed_is_open && !api.readiness().is_ready());
    let follower = tokio::spawn(async {});
    let site = Site { source, api, router, registry, token, follower };
    assert_eq!(site.read("/leaderboard?environment=go", &last).await["total"], 2);
    let other = site.get("/api/v1/environments").await;
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn visible_latency_is_from_appending_to_now() {
    let site = Site::new().await;
    // What was folded before the process started is nothing that became visible now.
    tokio::task::yield_now().await;
    let last = site.tell(&[environment("go")]).await;
    site.read("/leaderboard?environment=go", &last).await;
    assert_eq!(site.sample("agon_visible_latency_seconds_count"), 1.0);
    // The clock stands 1.5 s after the time of appending that the source tells.
    assert_eq!(site.sample("agon_visible_latency_seconds_sum"), 1.5);
}
