//! The roles as processes on real servers: shared partitions, one consumer killed, one paused for
//! longer than its session, one joining late; what must be refused; what must go on.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use agon_ports::{Append, EventLog};
use agon_schema::json::{Filling, MatchBody};
use agon_schema::{Event, NaturalId, Position, Record, Timestamp, Topic, TopicPartition, encode};
use serde_json::{Value, json};
use support::servers::{Deployment, Role};
use support::{expect, shared, stderr, stdout, text, verify};

/// A member that is silent for so long loses its share; the least that a broker allows.
const SESSION: [&str; 2] = ["--session-timeout", "6s"];
/// The best of football, and how many stand beside it.
const FOOTBALL: (u64, f64) = (333, 2064.965);

/// All recorded data by three consumers of which one dies and one sleeps, and by one process: the
/// same boards, the same statistics, the same hash.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_data_come_out_the_same_whoever_dies_or_sleeps() {
    let Some(deployment) = Deployment::new() else { return };
    let Some(football) = shared("football-international/matches.csv.gz") else { return };
    let Some(submissions) = shared("swebench-submissions/submissions.csv") else { return };
    let Some(stream) = shared("wikimedia-recentchange/stream.sse") else { return };
    let swe =
        ["--benchmark", "swe", "--map", "submission_id=submission,agent=name,submitted_at=date"];
    deployment.init(4);
    let first = deployment.role("consumer", &SESSION).await;
    let victim = deployment.role("consumer", &SESSION).await;
    let api = deployment.role("api", &[]).await;
    std::thread::scope(|scope| {
        let (deployment, file) = (&deployment, text(&football));
        // One after the other: they may share a partition, and its order is what is folded.
        scope.spawn(move || {
            for environment in ["f1", "f2"] {
                deployment.import("matches", file, &["--environment", environment]);
            }
        });
        deployment.import("submissions", text(&submissions), &swe);
    });
    victim.kill();
    let sleeper = deployment.role("consumer", &SESSION).await;
    sleeper.signal("STOP");
    api.board("f1", FOOTBALL.0, FOOTBALL.1).await;
    api.board("f2", FOOTBALL.0, FOOTBALL.1).await;
    // Whatever the sleeper still holds is written late now, and changes nothing.
    sleeper.signal("CONT");
    tokio::time::sleep(Duration::from_secs(2)).await;
    drained(&[&first, &sleeper]).await;
    let report = deployment.verified();

    let alone = tempfile::tempdir().unwrap();
    let data = ["--data", text(alone.path()), "--partitions", "4"];
    for environment in ["f1", "f2"] {
        let import = ["import", "matches", text(&football), "--environment", environment];
        expect(0, &[&import[..], &data[..]].concat());
    }
    let import = ["import", "submissions", text(&submissions)];
    expect(0, &[&import[..], &swe[..], &data[..]].concat());
    let expected = verify(alone.path());
    assert_eq!(
        (&report["rows"], &report["hash"]),
        (&expected["rows"], &expected["hash"]),
        "one process folds otherwise"
    );

    deployment.import("recentchange", text(&stream), &[]);
    drained(&[&first, &sleeper]).await;
    deployment.verified();
    expect(0, &[&["import", "recentchange", text(&stream)][..], &data[..]].concat());
    let counted = |body: &str| {
        let mut stats: Value = serde_json::from_str(body).unwrap();
        stats["as_of"].take();
        stats
    };
    let stats = ["stats", "--format", "json"];
    let there = stdout(&deployment.expect(0, &stats));
    let here = stdout(&expect(0, &[&stats[..], &data[..2]].concat()));
    assert_eq!(counted(&there), counted(&here));
    assert_eq!(sleeper.terminate().await, Some(0));
    assert_eq!(first.terminate().await, Some(0));
}

/// Waits until nobody is behind; a partition may be on its way from one to the other meanwhile.
async fn drained(consumers: &[&Role]) {
    for _ in 0..2 {
        for consumer in consumers {
            consumer.ready().await;
            consumer.drained().await;
        }
    }
}

/// One address for reads and writes, and one for writes alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_posted_is_read_on_every_side() {
    let Some(deployment) = Deployment::new() else { return };
    deployment.init(2);
    let consumer = deployment.role("consumer", &SESSION).await;
    let api = deployment.role("api", &["--intake"]).await;
    let producer = deployment.role("producer", &[]).await;
    let token = deployment.operator(&api).await;
    let (status, _) = api.post("/api/v1/environments", &token, json!({"id": "go"})).await;
    assert_eq!(status, 202);
    let (status, answer) = producer.post("/matches", &token, game("go", "ann", "bob")).await;
    assert_eq!(status, 202, "{answer}");
    let position = answer["position"].as_str().unwrap();
    let board = api.get(&format!("/leaderboard?environment=go&min_position={position}")).await;
    assert_eq!(board["entries"][0]["agent"], "ann", "{board}");
    let (_, again) = api.post("/matches", &token, game("go", "ann", "bob")).await;
    assert_eq!(again["duplicate"], true, "{again}");
    consumer.drained().await;
    let status = consumer.get("/status").await;
    assert!(status["partitions"].to_string().contains(Topic::Matches.name()), "{status}");
    assert_eq!(deployment.verified()["cells"], 1);
}

fn game(environment: &str, winner: &str, loser: &str) -> Value {
    json!({"environment": environment, "match_id": format!("{winner}-{loser}"), "players": [
        {"agent": winner, "placement": 1}, {"agent": loser, "placement": 2}]})
}

/// Whatever stands in the log, the stream goes on: each bad record is a dead letter by its place
/// and reason, and one that missed something counts once it is replayed behind it.
#[tokio::test(flavor = "multi_thread")]
async fn bad_records_are_dead_letters_and_can_be_replayed() {
    let Some(deployment) = Deployment::new() else { return };
    deployment.init(2);
    let log = deployment.kafka().await;
    let early = match_between("late", "ann", "bob");
    let good = encode(&early, "test", 0);
    let source = |record: &Record| TopicPartition::of_key(Topic::Matches, &record.key, 2);
    let typed = |name: &str| {
        let mut record = good.clone();
        record.headers.iter_mut().filter(|(key, _)| key == "ce_type").for_each(|(_, value)| {
            *value = name.as_bytes().to_vec().into();
        });
        record
    };
    let home = source(&good);
    let elsewhere = TopicPartition { partition: 1 - home.partition, ..home };
    let bad = [
        ("unknown_environment", home, good.clone()),
        ("malformed", home, Record { value: vec![0xff; 40], ..good.clone() }),
        ("unknown_type", home, typed("agon.match.finished.v2")),
        ("unknown_type", home, typed("somebody.else.v1")),
        ("wrong_partition", elsewhere, good.clone()),
        ("malformed", home, Record { headers: Vec::new(), ..good.clone() }),
        ("malformed", home, Record { value: Vec::new(), headers: Vec::new(), ..good.clone() }),
    ];
    let appends =
        bad.iter().map(|(_, target, record)| Append { target: *target, record: record.clone() });
    let placed = log.append(appends.collect()).await.unwrap();
    let consumer = deployment.role("consumer", &SESSION).await;
    consumer.drained().await;
    let listed = stdout(&deployment.expect(0, &["events", "dead-letters", "list"]));
    for ((reason, ..), position) in bad.iter().zip(&placed) {
        let id = format!("{}/{}", position.source, position.offset);
        assert!(listed.contains(&format!("{id}\t{reason}\t")), "{id} {reason}: {listed}");
        deployment.expect(0, &["events", "dead-letters", "show", &id]);
    }
    assert_eq!(listed.lines().count(), bad.len(), "{listed}");

    let replay = |position: &Position| format!("{}/{}", position.source, position.offset);
    let [missed, hopeless, ..] = &placed[..] else { unreachable!("seven were appended") };
    deployment.expect(1, &["events", "dead-letters", "replay", &replay(hopeless)]);
    let more = deployment.file("more.jsonl", &format!("{}\n", game("late", "cat", "dan")));
    deployment.import("matches", &more, &["--environment", "late"]);
    deployment.expect(0, &["events", "dead-letters", "replay", &replay(missed)]);
    deployment.expect(0, &["events", "dead-letters", "replay", &replay(missed)]);
    consumer.drained().await;
    let board = deployment.expect(0, &["board", "--environment", "late", "--format", "json"]);
    let board: Value = serde_json::from_str(&stdout(&board)).unwrap();
    assert_eq!(board["total"], 4, "{board}");
    assert_eq!(board["entries"][0]["games"], 1, "twice replayed counts once: {board}");
    deployment.verified();
}

fn match_between(environment: &str, winner: &str, loser: &str) -> Event {
    let body: MatchBody = serde_json::from_value(game(environment, winner, loser)).unwrap();
    let natural_id = NaturalId::new("unused").unwrap();
    let filling = Filling { natural_id, now: Timestamp::now() };
    Event::MatchFinished(body.into_event(&filling).unwrap())
}

/// A store of another log, servers that are away, tables that nobody made: one message that names
/// the address and the remedy, code 3, and nothing is made.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_belong_together_is_refused() {
    let Some(deployment) = Deployment::new() else { return };
    let now = ["consumer", "--wait", "0s", "--listen", "127.0.0.1:0"];
    let missing = deployment.expect(3, &now);
    assert!(stderr(&missing).contains("agon init"), "{}", stderr(&missing));
    deployment.init(2);
    deployment.expect(3, &["init", "--partitions", "3"]);
    deployment.init(2);

    let other = Deployment::new().unwrap();
    let elsewhere = deployment.with(&other.prefix, &other.store);
    elsewhere.init(2);
    let strange = deployment.with(&other.prefix, &deployment.store);
    for role in ["producer", "consumer", "api"] {
        let refused = strange.expect(3, &[role, "--wait", "0s", "--listen", "127.0.0.1:0"]);
        let said = stderr(&refused);
        assert!(said.contains(&deployment.store), "{said}");
    }
    let nobody = deployment.with("x.", "cql://127.0.0.1:9/agon");
    let away = nobody.expect(3, &["user", "list", "--wait", "0s"]);
    assert!(stderr(&away).contains("cql://127.0.0.1:9/agon"), "{}", stderr(&away));
    deployment.expect(0, &["doctor", "--listen", "127.0.0.1:0"]);
    elsewhere.verified();
}
