//! Loading from a store of several copies: a page may show a flush that the head read after it
//! does not show yet. What is then answered is never a mixture.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agon_schema::Event;
use agon_schema::event::{Aggregation, Direction};

use crate::fold::{benchmark, change, environment, game, submission};
use crate::following::stored_body;
use crate::leaderboard::environment_cell;
use crate::site::Site;

/// Before the first page the first events land without their heads; a while later the second ones
/// land whole, and the news of both are told.
fn tear(site: &Site, torn: Vec<Event>, whole: Vec<Event>) {
    let source = Arc::clone(&site.source);
    let is_first = Arc::new(AtomicBool::new(true));
    let (torn, whole) = (Arc::new(torn), Arc::new(whole));
    site.source.store.before_each_page(Some(Box::new(move || {
        let (source, torn, whole) = (Arc::clone(&source), Arc::clone(&torn), Arc::clone(&whole));
        let is_first = is_first.swap(false, Ordering::SeqCst);
        Box::pin(async move {
            if !is_first {
                return;
            }
            let first = source.store_without_heads(&torn).await;
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let (second, _) = source.store(&whole).await;
                source.say(first);
                source.say(second);
            });
        })
    })));
}

#[tokio::test(start_paused = true)]
async fn a_rating_that_is_newer_than_the_head_waits_for_its_news() {
    let site = Site::new().await;
    site.tell(&[environment("go"), game("go", "m1", 1, &["a", "b"])]).await;
    tokio::task::yield_now().await;
    let torn = vec![game("go", "m2", 2, &["a", "b"])];
    tear(&site, torn, vec![game("go", "m3", 3, &["b", "a"])]);
    let answer = site.get("/leaderboard?environment=go").await;
    assert_eq!(answer.json()["entries"][0]["games"], 3, "{}", answer.text());
    let stored = stored_body(&site, environment_cell("go")).await;
    assert_eq!(answer.text(), String::from_utf8(stored).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_score_that_is_newer_than_the_head_waits_for_its_news() {
    let site = Site::new().await;
    let of = |id: &str, score: f64| submission("tasks", id, "a", Some(score));
    let defined = benchmark("tasks", Direction::Higher, Aggregation::Last);
    site.tell(&[defined, of("s1", 1.0)]).await;
    tokio::task::yield_now().await;
    tear(&site, vec![of("s2", 2.0)], vec![of("s3", 3.0)]);
    let answer = site.get("/leaderboard?benchmark=tasks").await;
    assert_eq!(answer.json()["entries"][0]["submissions"], 3, "{}", answer.text());
}

#[tokio::test(start_paused = true)]
async fn servers_that_hold_more_than_the_head_counts_are_read_again() {
    let site = Site::new().await;
    let of = |id: &str| change(id, Some("ann"), None, Some("en"));
    site.tell(&[of("c1")]).await;
    tokio::task::yield_now().await;
    tear(&site, vec![of("c2"), of("c3")], vec![of("c4")]);
    let body = site.stats("").await.json();
    assert_eq!((&body["messages"], &body["by_server_name"]["en"]), (&4.into(), &4.into()));
}

/// A flush that stays half seen is not shown: the reader is told to come again.
#[tokio::test(start_paused = true)]
async fn what_stays_torn_is_503() {
    let site = Site::new().await;
    site.tell(&[environment("go"), game("go", "m1", 1, &["a", "b"])]).await;
    site.source.store_without_heads(&[game("go", "m2", 2, &["a", "b"])]).await;
    let answer = site.get("/leaderboard?environment=go").await;
    assert_eq!(answer.problem(), (503, "overloaded".to_owned()));
    assert_eq!(answer.header("retry-after"), "1");
    let last = site.tell(&[game("go", "m3", 3, &["b", "a"])]).await;
    assert_eq!(site.read("/leaderboard?environment=go", &last).await["total"], 2);
}
