//! Tags and cached bodies: they change with the content and with nothing else.

use agon_schema::event::{Aggregation, Direction};

use crate::fold::{benchmark, environment, game, submission};
use crate::site::Site;

const READS: [&str; 11] = [
    "/leaderboard?environment=go",
    "/leaderboard?environment=go&around=a&fields=rank",
    "/api/v1/leaderboard?benchmark=tasks",
    "/api/v1/environments",
    "/api/v1/environments/go",
    "/api/v1/benchmarks",
    "/api/v1/benchmarks/tasks",
    "/matches?environment=go",
    "/api/v1/agents/a/ratings",
    "/api/v1/agents/a/history?environment=go",
    "/api/v1/agents/a/history?benchmark=tasks",
];

async fn site() -> (Site, String) {
    Site::of(&[
        environment("go"),
        game("go", "m1", 1, &["a", "b"]),
        benchmark("tasks", Direction::Higher, Aggregation::Best),
        submission("tasks", "s1", "a", Some(1.0)),
        environment("chess"),
    ])
    .await
}

/// The path with `min_position`.
fn at(path: &str, position: &str) -> String {
    let join = if path.contains('?') { '&' } else { '?' };
    format!("{path}{join}min_position={position}")
}

#[tokio::test]
async fn a_held_body_is_304_until_the_content_changes() {
    let (site, last) = site().await;
    for path in READS {
        let first = site.get(&at(path, &last)).await;
        assert_eq!(first.status, 200, "{path}: {}", first.text());
        for path in [path.to_owned(), at(path, &last), path.to_owned()] {
            let held = site.get_with(&path, &[("if-none-match", first.header("etag"))]).await;
            assert_eq!((held.status, held.body.len()), (304, 0), "{path}");
            assert_eq!(held.header("etag"), first.header("etag"), "{path}");
            let again = site.get(&path).await;
            assert_eq!(
                (again.body, again.headers["etag"].clone()),
                (first.body.clone(), first.headers["etag"].clone()),
                "{path}"
            );
        }
        let other = site.get_with(path, &[("if-none-match", "\"other\"")]).await;
        assert_eq!(other.status, 200, "{path}");
    }
}

#[tokio::test]
async fn what_happens_elsewhere_changes_no_tag() {
    let (site, last) = site().await;
    let go = ["/leaderboard?environment=go", "/api/v1/environments/go", "/matches?environment=go"];
    let mut tags = Vec::new();
    for path in go {
        tags.push(site.get(&at(path, &last)).await.header("etag").to_owned());
    }
    // The same match once more folds to nothing.
    let last = site.tell(&[game("chess", "m1", 1, &["a", "b"])]).await;
    let last = [last, site.tell(&[game("go", "m1", 1, &["a", "b"])]).await];
    for (path, tag) in go.iter().zip(tags) {
        for last in &last {
            assert_eq!(site.get(&at(path, last)).await.header("etag"), tag, "{path}");
        }
    }
}

#[tokio::test]
async fn what_moves_a_board_changes_body_and_tag() {
    let (site, last) = site().await;
    for path in READS {
        site.get(&at(path, &last)).await;
    }
    let mut before = Vec::new();
    for path in READS {
        before.push(site.get(path).await);
    }
    let last = site
        .tell(&[game("go", "m2", 2, &["b", "a"]), submission("tasks", "s2", "a", Some(2.0))])
        .await;
    for (path, before) in READS.iter().zip(before) {
        for path in [at(path, &last), (*path).to_owned()] {
            let held = [("if-none-match", before.header("etag"))];
            let after = site.get_with(&path, &held).await;
            assert_eq!(after.status, 200, "{path}");
            assert_ne!(after.body, before.body, "{path}");
            assert_ne!(after.header("etag"), before.header("etag"), "{path}");
        }
    }
}

#[tokio::test]
async fn different_questions_have_different_tags() {
    let (site, last) = site().await;
    let mut tags = std::collections::BTreeSet::new();
    let queries = ["", "&limit=1", "&limit=2", "&ties=dense", "&fields=rank", "&around=a"];
    for query in queries {
        let path = at(&format!("/leaderboard?environment=go{query}"), &last);
        tags.insert(site.get(&path).await.header("etag").to_owned());
    }
    assert_eq!(tags.len(), queries.len());
    let same = ["&limit=50", "&ties=competition", "&min_position=1f2e3d4c"];
    for query in same {
        let path = format!("/leaderboard?environment=go{query}");
        tags.insert(site.get(&path).await.header("etag").to_owned());
    }
    assert_eq!(tags.len(), queries.len(), "the defaults said aloud ask the same");
}

#[tokio::test]
async fn a_body_is_rendered_once_a_version() {
    let (site, last) = site().await;
    site.get(&at("/leaderboard?environment=go", &last)).await;
    for path in ["/leaderboard?environment=go", "/api/v1/leaderboard?environment=go"] {
        site.get(path).await;
        site.get_with(path, &[("if-none-match", "*")]).await;
    }
    let head = axum::http::Request::head("/leaderboard?environment=go");
    let head = site.call(head.body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(site.sample("agon_rendered_bodies_total{result=\"rendered\"}"), 1.0);
    assert_eq!(site.sample("agon_rendered_bodies_total{result=\"cached\"}"), 5.0);
    let last = site.tell(&[game("go", "m2", 2, &["b", "a"])]).await;
    site.get(&at("/leaderboard?environment=go", &last)).await;
    assert_eq!(site.sample("agon_rendered_bodies_total{result=\"rendered\"}"), 2.0);
}
