//! `min_position` on every read: it waits, and its two errors.

use std::sync::Arc;

use agon_api::ApiConfig;
use agon_schema::event::{Aggregation, Direction};

use crate::fold::{benchmark, environment, game, submission};
use crate::site::Site;

const READS: [&str; 10] = [
    "/leaderboard?environment=go",
    "/api/v1/environments?limit=1",
    "/api/v1/environments/go?",
    "/api/v1/benchmarks?limit=1",
    "/api/v1/benchmarks/tasks?",
    "/matches?environment=go",
    "/api/v1/environments/go/matches/m1?",
    "/api/v1/benchmarks/tasks/submissions/s1?",
    "/api/v1/agents/a/ratings?limit=1",
    "/api/v1/agents/a/history?environment=go",
];

fn all() -> [agon_schema::Event; 4] {
    [
        environment("go"),
        game("go", "m1", 1, &["a", "b"]),
        benchmark("tasks", Direction::Higher, Aggregation::Best),
        submission("tasks", "s1", "a", Some(1.0)),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_read_waits_for_its_position() {
    for path in READS {
        let site = Site::new().await;
        let (news, position) = site.source.store(&all()).await;
        let source = Arc::clone(&site.source);
        let told = async move {
            tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
            source.say(news);
        };
        let path = format!("{path}&min_position={position}");
        let (answer, ()) = tokio::join!(site.get(&path), told);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
}

#[tokio::test(start_paused = true)]
async fn a_position_that_does_not_come_is_504() {
    let (site, last) = Site::of(&all()).await;
    let later = last.replace(".1", ".9");
    assert_ne!(later, last);
    let wait_ms = ApiConfig::default().position_wait_ms_max;
    for path in READS {
        let began = tokio::time::Instant::now();
        let answer = site.get(&format!("{path}&min_position={later}")).await;
        assert_eq!(answer.problem(), (504, "position_not_reached".to_owned()), "{path}");
        assert_eq!(began.elapsed().as_millis() as u64 / 10, wait_ms / 10, "{path}");
    }
    let answer = site.stats(&format!("?min_position={later}")).await;
    assert_eq!(answer.problem(), (504, "position_not_reached".to_owned()));
}

#[tokio::test]
async fn positions_of_elsewhere_and_of_nothing_are_400() {
    let (site, last) = Site::of(&all()).await;
    for path in READS {
        let check = async |position: &str, code: &str| {
            let answer = site.get(&format!("{path}&min_position={position}")).await;
            assert_eq!(answer.problem(), (400, code.to_owned()), "{path} {position}");
        };
        check(&last.replace("1f2e3d4c", "ffffffff"), "position_of_another_log").await;
        check("ffffffff", "position_of_another_log").await;
        check("latest", "invalid_parameter").await;
        check("", "invalid_parameter").await;
        check("1f2e3d4c-m99.0", "invalid_parameter").await;
        check(&format!("{last}&min_position={last}"), "invalid_parameter").await;
    }
}

#[tokio::test]
async fn a_position_is_reached_by_what_the_store_held_at_the_start() {
    let site = Site::new().await;
    let (_, position) = site.source.store(&all()).await;
    site.source.say([agon_ports::Heard::Missed]);
    for path in READS {
        site.read(path, &position).await;
    }
}
