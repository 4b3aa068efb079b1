//! Heartbeats keep the feed fresh and change nothing else; without them readiness says how old
//! what is shown may be, and it is shown all the same.

use std::sync::atomic::Ordering;
use std::time::Duration;

use agon_api::ApiConfig;
use agon_ports::{Change, Heard};
use agon_schema::{Position, PositionToken};

use crate::fold::{environment, game};
use crate::site::Site;

fn heartbeats(position: &str) -> Vec<Heard> {
    let token: PositionToken = position.parse().unwrap();
    let beat = |Position { source, offset }| {
        let appended_at_ms = 1_800_000_000_000;
        Heard::Change(Change::Progress { source, applied: offset, appended_at_ms })
    };
    token.positions().map(beat).collect()
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_it_fresh_and_count_for_nothing() {
    let site = Site::new().await;
    tokio::task::yield_now().await;
    let last = site.tell(&[environment("go"), game("go", "m", 1, &["a", "b"])]).await;
    let body = site.read("/leaderboard?environment=go", &last).await;
    let flushes = site.sample("agon_visible_latency_seconds_count");
    assert_eq!(site.sample("agon_api_behind_seconds"), 1.5);
    for _ in 0..60 {
        pass(1).await;
        site.source.say(heartbeats(&last));
        tokio::task::yield_now().await;
        let readiness = site.api.readiness();
        assert!(readiness.is_fresh() && readiness.is_ready(), "{readiness:?}");
        assert_eq!((readiness.heard_ms, readiness.silence_ms), (Some(0), 0));
    }
    assert_eq!(site.sample("agon_visible_latency_seconds_count"), flushes);
    assert_eq!(site.sample("agon_board_loads_total{result=\"loaded\"}"), 1.0);
    assert_eq!(site.get("/leaderboard?environment=go").await.json(), body);
}

#[tokio::test(start_paused = true)]
async fn silence_is_told_and_boards_are_served() {
    let config = ApiConfig { staleness_ms_max: 3_000, ..ApiConfig::default() };
    let site = Site::with(config).await;
    assert_eq!(site.api.readiness().heard_ms, None);
    assert!(site.api.readiness().is_fresh(), "nothing is folded, so nothing is old");
    let last = site.tell(&[environment("go"), game("go", "m", 1, &["a", "b"])]).await;
    site.read("/leaderboard?environment=go", &last).await;
    pass(3).await;
    assert!(site.api.readiness().is_fresh());
    pass(1).await;
    let readiness = site.api.readiness();
    assert!(!readiness.is_fresh() && readiness.is_ready(), "{readiness:?}");
    assert_eq!((readiness.heard_ms, readiness.silence_ms), (Some(4_000), 4_000));
    assert_eq!((readiness.partitions_silent, readiness.staleness_ms_max), (1, 3_000));
    assert_eq!(site.sample("agon_feed_silence_seconds"), 4.0);
    // With the store away as well.
    site.source.store.is_away.store(true, Ordering::SeqCst);
    let path = format!("/leaderboard?environment=go&min_position={last}");
    assert_eq!(site.get(&path).await.status, 200);
    site.source.say(heartbeats(&last));
    tokio::task::yield_now().await;
    assert!(site.api.readiness().is_fresh());
    assert_eq!(site.sample("agon_feed_silence_seconds"), 0.0);
}

/// One owner of partitions is gone while another goes on speaking.
#[tokio::test(start_paused = true)]
async fn one_partition_alone_may_be_silent() {
    let events: Vec<_> = (0..16).map(|n| environment(&format!("e{n}"))).collect();
    let (site, _) = Site::of(&events).await;
    let one = site.tell(&[game("e0", "m", 1, &["a", "b"])]).await;
    tokio::task::yield_now().await;
    for _ in 0..10 {
        pass(1).await;
        site.source.say(heartbeats(&one));
    }
    tokio::task::yield_now().await;
    let readiness = site.api.readiness();
    assert_eq!((readiness.heard_ms, readiness.silence_ms), (Some(0), 10_000));
    // Sixteen environments stand in all four partitions.
    assert_eq!(readiness.partitions_silent, 3);
}

/// A process that was started while nobody folds says so after the limit, though it heard nothing.
#[tokio::test(start_paused = true)]
async fn what_the_store_holds_is_to_be_heard_of() {
    let (site, _) = Site::of(&[environment("go")]).await;
    tokio::task::yield_now().await;
    let fresh = Site::over(site.source.store.clone(), ApiConfig::default()).await;
    tokio::task::yield_now().await;
    assert!(fresh.api.readiness().is_fresh() && fresh.api.readiness().is_loaded);
    pass(6).await;
    let readiness = fresh.api.readiness();
    assert_eq!((readiness.heard_ms, readiness.partitions_silent), (None, 1));
}
