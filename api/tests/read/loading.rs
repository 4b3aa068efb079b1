//! Loading from a store that moves or is away, one load for many, and the limits of memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agon_api::ApiConfig;
use agon_ports::Heard;
use agon_projections::CellKey;
use agon_schema::event::{Aggregation, Direction};
use agon_schema::{BenchmarkId, Event};

use crate::fold::{benchmark, environment, game, submission};
use crate::following::stored_body;
use crate::leaderboard::environment_cell;
use crate::site::{Site, Source};

const BOARD: &str = "/leaderboard?benchmark=large";

/// A benchmark that takes two pages to read.
fn large() -> Vec<Event> {
    let mut events = vec![benchmark("large", Direction::Higher, Aggregation::Last)];
    let one = |n: u32| {
        submission("large", &format!("s{n}"), &format!("a{n:05}"), Some(f64::from(n % 100)))
    };
    events.extend((0..5000).map(one));
    events
}

async fn check(site: &Site) {
    let answer = site.get(BOARD).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let cell = CellKey::Benchmark(BenchmarkId::new("large").unwrap());
    assert_eq!(answer.text(), String::from_utf8(stored_body(site, cell).await).unwrap());
}

/// Two moves before each page: one in the page that comes, one in a page that was read.
fn writes(n: u32) -> [Event; 2] {
    let one = |name: &str, agent: String| {
        submission("large", &format!("{name}{n}"), &agent, Some(1000.0 + f64::from(n)))
    };
    [one("x", format!("a{:05}", 4990 - n)), one("y", format!("a{n:05}"))]
}

/// Writes before each page, at most `writes_max` times, and gives the news to `tell`.
fn race(
    site: &Site,
    writes_max: u32,
    tell: impl Fn(Arc<Source>, Vec<Heard>) + Clone + Send + Sync + 'static,
) {
    let source = Arc::clone(&site.source);
    let count = Arc::new(AtomicU32::new(0));
    site.source.store.before_each_page(Some(Box::new(move || {
        let (source, tell, n) =
            (Arc::clone(&source), tell.clone(), count.fetch_add(1, Ordering::SeqCst));
        Box::pin(async move {
            if n < writes_max {
                let (news, _) = source.store(&writes(n)).await;
                tell(source, news);
            }
        })
    })));
}

fn scans(site: &Site) -> usize {
    site.source.store.scans.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn news_that_come_while_loading_are_caught_up_with() {
    let (site, _) = Site::of(&large()).await;
    tokio::task::yield_now().await;
    let before = scans(&site);
    race(&site, 2, |source, news| source.say(news));
    check(&site).await;
    assert_eq!(scans(&site) - before, 2, "one load of two pages");
    assert_eq!(site.get(BOARD).await.json()["entries"][0]["score"], 1001.0);
}

#[tokio::test(start_paused = true)]
async fn news_that_come_late_are_waited_for() {
    let (site, _) = Site::of(&large()).await;
    tokio::task::yield_now().await;
    let before = scans(&site);
    race(&site, 2, |source, news| {
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            source.say(news);
        });
    });
    check(&site).await;
    assert_eq!(scans(&site) - before, 2, "one load of two pages");
}

#[tokio::test(start_paused = true)]
async fn news_that_never_come_make_the_load_begin_again() {
    let (site, _) = Site::of(&large()).await;
    tokio::task::yield_now().await;
    let before = scans(&site);
    race(&site, 2, |_, _| {});
    check(&site).await;
    assert_eq!(scans(&site) - before, 4, "two loads of two pages");
}

#[tokio::test(start_paused = true)]
async fn news_that_were_missed_make_the_load_begin_again() {
    let (site, _) = Site::of(&large()).await;
    race(&site, 2, |source, _| source.say([Heard::Missed]));
    let last = site.source.store(&[]).await.1;
    site.read(BOARD, &last).await;
    site.source.store.before_each_page(None);
    check(&site).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_rests_is_503_and_later_served() {
    let (site, _) = Site::of(&large()).await;
    race(&site, u32::MAX, |_, _| {});
    let answer = site.get(BOARD).await;
    assert_eq!(answer.problem(), (503, "overloaded".to_owned()));
    assert!(answer.text().contains("moved 8 times"), "{}", answer.text());
    site.source.store.before_each_page(None);
    check(&site).await;
}

#[tokio::test]
async fn many_who_ask_at_once_cause_one_load() {
    let (site, last) = Site::of(&large()).await;
    site.read("/api/v1/benchmarks", &last).await;
    let before = scans(&site);
    let asks: Vec<_> =
        (0..50).map(|n| site.get_owned(format!("{BOARD}&limit={}", n + 1))).collect();
    for ask in asks {
        assert_eq!(ask.await.unwrap(), 200);
    }
    assert_eq!(scans(&site) - before, 2, "one load of two pages");
    assert_eq!(site.sample("agon_board_loads_total{result=\"loaded\"}"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_memory_is_served_and_the_rest_is_503() {
    let (site, last) =
        Site::of(&[environment("go"), game("go", "m", 1, &["a", "b"]), environment("chess")]).await;
    site.read("/leaderboard?environment=go", &last).await;
    let away = &site.source.store.is_away;
    away.store(true, Ordering::SeqCst);
    let held = [
        "/leaderboard?environment=go",
        "/leaderboard?environment=go&limit=1",
        "/api/v1/environments/go",
    ];
    let gone = [
        "/leaderboard?environment=chess",
        "/api/v1/environments",
        "/matches?environment=go",
        "/api/v1/agents/a/history?environment=go",
        "/api/v1/agents/a/ratings",
        "/api/v1/environments/go/matches/m",
        "/leaderboard?environment=never",
    ];
    for path in held {
        assert_eq!(site.get(path).await.status, 200, "{path}");
    }
    for path in gone {
        let answer = site.get(path).await;
        assert_eq!(answer.problem(), (503, "store_unavailable".to_owned()), "{path}");
        assert_eq!(answer.header("retry-after"), "1", "{path}");
    }
    assert_eq!(site.stats("").await.problem(), (503, "store_unavailable".to_owned()));
    away.store(false, Ordering::SeqCst);
    for path in held.iter().chain(&gone[..6]) {
        assert_eq!(site.get(path).await.status, 200, "{path}");
    }
    assert_eq!(site.stats("").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_board_that_lost_its_place_is_shown_as_it_was_until_the_store_is_back() {
    let (site, last) = Site::of(&[environment("go"), game("go", "m1", 1, &["a", "b"])]).await;
    let before = site.read("/leaderboard?environment=go", &last).await;
    site.source.store(&[game("go", "m2", 1, &["a", "b"])]).await;
    let (gap, position) = site.source.store(&[game("go", "m3", 1, &["a", "b"])]).await;
    site.source.store.is_away.store(true, Ordering::SeqCst);
    site.source.say(gap);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(site.get("/leaderboard?environment=go").await.json(), before);
    assert_eq!(site.api.readiness().cells_stale, 1);
    let path = format!("/leaderboard?environment=go&min_position={position}");
    assert_eq!(site.get(&path).await.problem(), (504, "position_not_reached".to_owned()));
    site.source.store.is_away.store(false, Ordering::SeqCst);
    let after = site.get(&path).await;
    let stored = stored_body(&site, environment_cell("go")).await;
    assert_eq!((after.status, after.body), (200, stored));
    assert_eq!(site.api.readiness().cells_stale, 0);
}

#[tokio::test]
async fn the_board_that_was_asked_for_longest_ago_goes_first() {
    let config = ApiConfig { boards_max: 2, ..ApiConfig::default() };
    let site = Site::with(config).await;
    let mut events = Vec::new();
    for id in ["one", "two", "three"] {
        events.extend([environment(id), game(id, "m", 1, &["a", "b"])]);
    }
    let last = site.tell(&events).await;
    let ask = async |id: &str| site.read(&format!("/leaderboard?environment={id}"), &last).await;
    let loads = || site.sample("agon_board_loads_total{result=\"loaded\"}");
    ask("one").await;
    ask("two").await;
    assert_eq!(loads(), 2.0);
    // From the cache of bodies: that is asking too.
    site.get("/leaderboard?environment=one").await;
    site.get("/leaderboard?environment=one").await;
    ask("three").await;
    assert_eq!((loads(), site.sample("agon_board_evictions_total")), (3.0, 1.0));
    assert_eq!(site.sample("agon_board_entries{board_kind=\"environment\"}"), 4.0);
    ask("one").await;
    assert_eq!(loads(), 3.0, "one stayed");
    let moved = site.tell(&[game("two", "m2", 2, &["b", "a"])]).await;
    let two = site.read("/leaderboard?environment=two", &moved).await;
    assert_eq!((loads(), &two["entries"][0]["games"]), (4.0, &serde_json::json!(2)));
}

#[tokio::test]
async fn a_body_of_a_board_that_went_is_not_served_from_the_cache() {
    let site = Site::with(ApiConfig { boards_max: 1, ..ApiConfig::default() }).await;
    let game = |id: &str, n: u32| game(id, &format!("m{n}"), n, &["a", "b"]);
    let last =
        site.tell(&[environment("one"), game("one", 1), environment("two"), game("two", 1)]).await;
    site.read("/leaderboard?environment=one", &last).await;
    site.get("/leaderboard?environment=one").await;
    site.read("/leaderboard?environment=two", &last).await;
    let last = site.tell(&[game("one", 2)]).await;
    site.read("/leaderboard?environment=two", &last).await;
    let one = site.get("/leaderboard?environment=one").await;
    assert_eq!(one.json()["entries"][0]["games"], 2);
}

#[tokio::test]
async fn a_board_over_the_limit_of_entrants_is_refused_or_let_go() {
    let site = Site::with(ApiConfig { entrants_max: 4, ..ApiConfig::default() }).await;
    let mut events = vec![environment("five"), environment("go")];
    for agent in ["b", "c", "d", "e"] {
        events.push(game("five", agent, 1, &["a", agent]));
    }
    events.push(game("go", "m", 1, &["a", "b", "c"]));
    let last = site.tell(&events).await;
    let path = format!("/leaderboard?environment=five&min_position={last}");
    let answer = site.get(&path).await;
    assert_eq!(answer.problem(), (503, "overloaded".to_owned()));
    assert!(answer.text().contains("entrants_max"), "{}", answer.text());
    site.read("/leaderboard?environment=go", &last).await;
    assert_eq!(site.sample("agon_board_entries{board_kind=\"environment\"}"), 3.0);
    let last = site.tell(&[game("go", "m2", 1, &["d", "e"])]).await;
    let path = format!("/leaderboard?environment=go&min_position={last}");
    assert_eq!(site.get(&path).await.problem(), (503, "overloaded".to_owned()));
    assert_eq!(site.sample("agon_board_entries{board_kind=\"environment\"}"), 0.0);
}
