//! POST /dead-letters/{id}/replay: what a record missed may be there by now.

use agon_api::{ReplayError, replay};
use agon_edge::Role;
use agon_ports::{Append, EventLog, ReadLimits};
use agon_schema::codec::encode_malformed_change;
use agon_schema::{Event, Position, PositionToken, Record, Topic, TopicPartition, decode, encode};
use axum::http::Method;
use std::time::Duration;

use crate::fold::{PARTITIONS, environment, game};
use crate::records::Operated;
use crate::site::Answer;

/// Appends an event, and folds, stores and tells it.
async fn tell(it: &Operated, event: &Event) -> Position {
    let record = encode(event, "test", 1_000);
    let target = TopicPartition::of_key(event.topic(), &record.key, PARTITIONS);
    let positions = it.log.append(vec![Append { target, record }]).await.unwrap();
    fold(it, positions[0]).await;
    positions[0]
}

/// Folds the record that stands there.
async fn fold(it: &Operated, position: Position) {
    let event = decode(&record_at(it, position).await).unwrap();
    let token = it.site.tell(&[event]).await;
    assert_eq!(token.parse::<PositionToken>().unwrap().positions().next(), Some(position));
}

async fn record_at(it: &Operated, position: Position) -> Record {
    let mut reader = it.log.read([(position.source, position.offset)].into()).await.unwrap();
    let limits = ReadLimits { records_max: 1, bytes_max: 1 };
    reader.next(limits, Duration::from_secs(1)).await.unwrap().remove(0).record
}

fn path(position: Position) -> String {
    let TopicPartition { topic, partition } = position.source;
    format!("/dead-letters/{}%2F{partition}%2F{}/replay", topic.name(), position.offset)
}

async fn post(it: &Operated, path: &str) -> Answer {
    it.call_as(Method::POST, Some(Role::Operator), path).await
}

async fn records(it: &Operated) -> u64 {
    it.log.ends().await.unwrap().values().sum()
}

/// A match of an environment that is defined too late.
async fn too_early(it: &Operated) -> Position {
    let early = tell(it, &game("go", "m1", 1, &["a", "b"])).await;
    let letters = it.read("/dead-letters").await;
    assert_eq!(letters["items"][0]["reason"], "unknown_environment", "{letters}");
    tell(it, &environment("go")).await;
    early
}

#[tokio::test]
async fn a_match_that_came_too_early_counts_after_its_replay_and_once() {
    let it = Operated::new().await;
    let early = too_early(&it).await;
    for round in 0..3 {
        let answer = post(&it, &path(early)).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let body = answer.json();
        let place: PositionToken = body["position"].as_str().unwrap().parse().unwrap();
        let position = place.positions().next().unwrap();
        assert_eq!(position, Position { offset: 2 + round, ..early });
        let (first, again) = (record_at(&it, early).await, record_at(&it, position).await);
        let id = String::from_utf8_lossy(first.header("ce_id").unwrap()).into_owned();
        assert_eq!(body["event_id"], id);
        assert_eq!(again.appended_at_ms, 1_800_000_001_500);
        assert_eq!(again, Record { appended_at_ms: again.appended_at_ms, ..first });
        fold(&it, position).await;
        let token = body["position"].as_str().unwrap();
        let board = it.site.read("/leaderboard?environment=go", token).await;
        assert_eq!(board["entries"][0]["games"], 1, "{board}");
    }
}

#[tokio::test]
async fn only_operators_replay() {
    let it = Operated::new().await;
    let early = too_early(&it).await;
    assert_eq!(it.call_as(Method::POST, None, &path(early)).await.status, 401);
    for (role, status) in [
        (Role::Viewer, 403),
        (Role::Author, 403),
        (Role::Producer, 403),
        (Role::Operator, 202),
        (Role::Admin, 202),
    ] {
        let answer = it.call_as(Method::POST, Some(role), &path(early)).await;
        assert_eq!(answer.status, status, "{role}");
    }
    assert_eq!(records(&it).await, 4);
}

#[tokio::test]
async fn what_would_only_fail_again_is_refused() {
    let it = Operated::new().await;
    tell(&it, &environment("go")).await;
    tell(&it, &game("go", "m1", 1, &["a", "b"])).await;
    let other = tell(&it, &game("go", "m1", 1, &["b", "a"])).await;
    let answer = post(&it, &path(other)).await;
    assert_eq!(answer.problem(), (422, "invalid_field".to_owned()));
    assert!(answer.text().contains("conflicting_duplicate"), "{}", answer.text());

    // A record that is no event, and one that stands where its key does not belong; both are dead
    // letters for another reason, so the record itself is looked at.
    let home = TopicPartition::of_key(Topic::Matches, b"go", PARTITIONS);
    let away = TopicPartition { partition: (home.partition + 1) % PARTITIONS, ..home };
    let stray = encode(&game("go", "m2", 1, &["a", "b"]), "test", 0);
    let broken = encode_malformed_change(b"not json", "test", 0);
    for (record, reason) in [(stray, "wrong_partition"), (broken, "malformed")] {
        let appended = it.log.append(vec![Append { target: away, record }]).await.unwrap();
        it.site.source.store_letter(appended[0]).await;
        let answer = post(&it, &path(appended[0])).await;
        assert_eq!(answer.problem(), (422, "invalid_field".to_owned()));
        assert!(answer.text().contains(reason), "{}", answer.text());
        let store = &it.site.source.store.inner;
        let error = replay(it.log.as_ref(), store, appended[0], 0).await.unwrap_err();
        assert!(matches!(error, ReplayError::Hopeless { .. }), "{error}");
        assert!(error.to_string().contains("it would only be rejected again"), "{error}");
    }
    assert_eq!(records(&it).await, 5);
}

#[tokio::test]
async fn what_is_no_dead_letter_is_404_and_what_is_away_503() {
    let it = Operated::new().await;
    let early = too_early(&it).await;
    let counted = Position { offset: 1, ..early };
    for path in
        [path(counted), path(Position { offset: 7, ..early }), "/dead-letters/x/replay".into()]
    {
        assert_eq!(post(&it, &path).await.problem(), (404, "not_found".to_owned()), "{path}");
    }
    let unknown = format!("{}?force=1", path(early));
    assert_eq!(post(&it, &unknown).await.problem(), (400, "unknown_parameter".to_owned()));
    it.faults.crash();
    assert_eq!(post(&it, &path(early)).await.problem(), (503, "log_unavailable".to_owned()));
    it.faults.heal();
    it.site.source.store.is_away.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(post(&it, &path(early)).await.problem(), (503, "store_unavailable".to_owned()));
    assert_eq!(records(&it).await, 2);
}
