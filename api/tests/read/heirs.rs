//! Whoever folded is gone between a flush and the news of it: the heir's reload notice makes every
//! board right, and only those of its partition are read again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use agon_api::ApiConfig;
use agon_ports::{Change, Heard};
use agon_schema::{PositionToken, Topic, TopicPartition};

use crate::fold::{PARTITIONS, change, environment, game};
use crate::following::stored_body;
use crate::leaderboard::environment_cell;
use crate::site::Site;

fn source(environment: &str) -> TopicPartition {
    TopicPartition::of_key(Topic::Matches, environment.as_bytes(), PARTITIONS)
}

/// Two environments whose matches stand in different partitions.
fn two_apart() -> (&'static str, String) {
    let other = (0..).map(|n| format!("e{n}")).find(|id| source(id) != source("go"));
    ("go", other.unwrap())
}

/// What the heir of a partition says first: read it again, and how far it is.
fn inherited(position: &str) -> Vec<Heard> {
    let token: PositionToken = position.parse().unwrap();
    let of = |position: agon_schema::Position| {
        let (source, applied) = (position.source, position.offset);
        let appended_at_ms = 1_800_000_000_000;
        [Change::Reload { source }, Change::Progress { source, applied, appended_at_ms }]
    };
    token.positions().flat_map(of).map(Heard::Change).collect()
}

async fn board(site: &Site, id: &str) -> String {
    let answer = site.get(&format!("/leaderboard?environment={id}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().to_owned()
}

async fn stored(site: &Site, id: &str) -> String {
    String::from_utf8(stored_body(site, environment_cell(id)).await).unwrap()
}

fn loads(site: &Site) -> f64 {
    site.sample("agon_board_loads_total{result=\"loaded\"}")
}

#[tokio::test(start_paused = true)]
async fn a_flush_whose_news_were_never_told_is_shown_after_the_heirs_notice() {
    let (one, other) = two_apart();
    let (site, last) = Site::of(&[
        environment(one),
        game(one, "m1", 1, &["a", "b"]),
        environment(&other),
        game(&other, "m1", 1, &["a", "b"]),
    ])
    .await;
    for id in [one, &other] {
        site.read(&format!("/leaderboard?environment={id}"), &last).await;
    }
    assert_eq!(loads(&site), 2.0);
    let (_never_told, position) = site.source.store(&[game(one, "m2", 2, &["b", "a"])]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_ne!(board(&site, one).await, stored(&site, one).await, "nothing was told");

    site.source.say(inherited(&position));
    let path = format!("/leaderboard?environment={one}&min_position={position}");
    assert_eq!(site.get(&path).await.text(), stored(&site, one).await);
    assert_eq!(board(&site, &other).await, stored(&site, &other).await);
    assert_eq!(loads(&site), 3.0, "the other partition's board was not read again");

    // From here on it follows by the heir's news alone, which also repeat what was stored.
    for n in 3..9 {
        let last = site.tell(&[game(one, &format!("m{n}"), n, &["a", "b"])]).await;
        let path = format!("/leaderboard?environment={one}&min_position={last}");
        assert_eq!(site.get(&path).await.text(), stored(&site, one).await);
    }
    assert_eq!(loads(&site), 3.0);
}

#[tokio::test(start_paused = true)]
async fn statistics_are_read_again_too() {
    let (site, _) = Site::of(&[change("c1", Some("ann"), None, Some("en"))]).await;
    assert_eq!(site.stats("").await.json()["messages"], 1);
    let more: Vec<_> =
        (2..40).map(|n| change(&format!("c{n}"), Some(&format!("u{n}")), None, None)).collect();
    let (_never_told, position) = site.source.store(&more).await;
    assert_eq!(site.stats("").await.json()["messages"], 1);
    site.source.say(inherited(&position));
    let answer = site.stats(&format!("?min_position={position}")).await;
    assert_eq!(answer.json()["messages"], 39, "{}", answer.text());
}

/// The notice may come while the store is away, twice, and while a load is under way.
#[tokio::test(start_paused = true)]
async fn a_notice_while_the_store_is_away_is_kept() {
    let (site, last) = Site::of(&[environment("go"), game("go", "m1", 1, &["a", "b"])]).await;
    let before = site.read("/leaderboard?environment=go", &last).await;
    let (_never_told, position) = site.source.store(&[game("go", "m2", 2, &["b", "a"])]).await;
    site.source.store.is_away.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        site.source.say(inherited(&position));
        tokio::time::sleep(Duration::from_secs(20)).await;
        let answer = site.get("/leaderboard?environment=go").await;
        assert_eq!((answer.status, answer.json()), (200, before.clone()));
    }
    assert_eq!(site.api.readiness().cells_stale, 1);
    site.source.store.is_away.store(false, Ordering::SeqCst);
    let path = format!("/leaderboard?environment=go&min_position={position}");
    let mut answer = site.get(&path).await;
    if answer.status == 504 {
        // The pause between two attempts may be as long as a read waits.
        answer = site.get(&path).await;
    }
    assert_eq!(answer.text(), stored(&site, "go").await);
    assert_eq!(site.api.readiness().cells_stale, 0);
}

/// A process that starts on a store that others filled needs no news to know how far it is.
#[tokio::test(start_paused = true)]
async fn a_fresh_process_answers_for_every_position_of_the_store() {
    let (site, _) = Site::of(&[environment("go"), game("go", "m1", 1, &["a", "b"])]).await;
    let (_told_to_others, position) = site.source.store(&[game("go", "m2", 2, &["b", "a"])]).await;
    let fresh = Site::over(site.source.store.clone(), ApiConfig::default()).await;
    let began = tokio::time::Instant::now();
    let path = format!("/leaderboard?environment=go&min_position={position}");
    let answer = fresh.get(&path).await;
    assert_eq!((answer.status, answer.text()), (200, stored(&site, "go").await.as_str()));
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());

    // What was folded while it started comes by the heartbeat; the board is not held yet.
    let fresh = Site::over(site.source.store.clone(), ApiConfig::default()).await;
    assert_eq!(fresh.get("/api/v1/environments").await.status, 200);
    let (_told_to_others, position) = site.source.store(&[game("go", "m3", 3, &["b", "a"])]).await;
    let heartbeat = inherited(&position).pop();
    fresh.source.say(heartbeat);
    let path = format!("/leaderboard?environment=go&min_position={position}");
    let answer = fresh.get(&path).await;
    assert_eq!((answer.status, answer.text()), (200, stored(&site, "go").await.as_str()));
}
