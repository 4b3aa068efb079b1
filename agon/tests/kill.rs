//! kill -9 at twenty random moments of an import, and under load over HTTP: nothing acknowledged
//! is lost, and what is stored is always the fold of the log.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use support::{Server, add_user, agon, expect, matches_csv, text, verify};

const SEED: u64 = 20_261_121;

fn folded(report: &Value) -> (Value, Value) {
    (report["rows"].clone(), report["hash"].clone())
}

#[test]
fn an_import_killed_at_twenty_moments_is_completed_by_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("matches.csv");
    matches_csv(&file, 8_000, SEED);
    let import = |data: &Path| {
        let fixed = ["import", "matches", text(&file), "--environment", "e", "--data", text(data)];
        fixed.map(str::to_owned)
    };
    let import_to = |data: &Path| {
        let args = import(data);
        expect(0, &args.each_ref().map(String::as_str));
    };
    let whole = dir.path().join("whole");
    let started = Instant::now();
    import_to(&whole);
    let took = started.elapsed();
    let whole = verify(&whole);
    assert_eq!(whole["differences"], 0);
    let mut random = StdRng::seed_from_u64(SEED);
    let (mut in_the_middle, mut moments) = (0, 0);
    for round in 0..20 {
        let data = dir.path().join(format!("k{round}"));
        let args = import(&data);
        let mut child = agon(&args.each_ref().map(String::as_str)).spawn().unwrap();
        std::thread::sleep(took.mul_f64(random.random_range(0.05..0.95)));
        child.kill().unwrap();
        let was_killed = child.wait().unwrap().code().is_none();
        moments += 1;
        if data.is_dir() {
            let report = verify(&data);
            assert_eq!(report["differences"], 0, "seed {SEED}, kill {round}: {report}");
            let is_part = report["rows"].as_u64() < whole["rows"].as_u64();
            in_the_middle += u32::from(was_killed && is_part);
        }
        import_to(&data);
        let completed = verify(&data);
        assert_eq!(folded(&completed), folded(&whole), "seed {SEED}, kill {round}");
        std::fs::remove_dir_all(&data).unwrap();
    }
    println!("{moments} kills, {in_the_middle} in mid-import of {took:?}: 0 differences");
    assert!(in_the_middle >= 10, "only {in_the_middle} kills fell inside an import of {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_match_survives_kill_9_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    add_user(&data, "writer", "operator");
    let mut random = StdRng::seed_from_u64(SEED);
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..6 {
        let server = Server::start(&data, &[]);
        let token = server.login("writer").await;
        let (status, answer) =
            server.post("/api/v1/environments", &token, &json!({"id": "e"})).await;
        assert_eq!(status, 202, "{answer}");
        let deadline = Instant::now() + Duration::from_millis(random.random_range(150..600));
        let mut posts = tokio::task::JoinSet::new();
        for writer in 0..4 {
            let (base, token) = (server.base.clone(), token.clone());
            posts.spawn(async move {
                let mut known = Vec::new();
                for number in 0.. {
                    let id = format!("{round}-{writer}-{number}");
                    let body = json!({"match_id": id, "environment": "e", "players": [
                        {"agent": format!("a{}", number % 7), "placement": 1},
                        {"agent": "b", "placement": 2}]});
                    let post = support::http().post(format!("{base}/matches"));
                    match post.bearer_auth(&token).json(&body).send().await {
                        Ok(answer) if answer.status() == 202 => known.push(id),
                        Ok(answer) => panic!("{}", answer.status()),
                        Err(_) => break,
                    }
                }
                known
            });
        }
        tokio::time::sleep_until(deadline.into()).await;
        server.kill();
        while let Some(known) = posts.join_next().await {
            acknowledged.extend(known.unwrap());
        }
        let report = verify(&data);
        assert_eq!(report["differences"], 0, "seed {SEED}, round {round}: {report}");
    }
    let server = Server::start(&data, &[]);
    let token = server.login("writer").await;
    let probe = json!({"match_id": "probe", "environment": "e", "players": [
        {"agent": "x", "placement": 1}, {"agent": "y", "placement": 2}]});
    let (_, answer) = server.post("/matches", &token, &probe).await;
    let position = answer["position"].as_str().unwrap().to_owned();
    for id in &acknowledged {
        let path = format!("/api/v1/environments/e/matches/{id}?min_position={position}");
        assert_eq!(server.get(&path).await.0, 200, "acknowledged match {id} is lost");
    }
    assert_eq!(server.terminate(), Some(0));
    println!("6 kills, {} acknowledged matches: all there", acknowledged.len());
    assert!(acknowledged.len() > 50);
}
