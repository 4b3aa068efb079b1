//! The store away, slow, or not there at all: writes go on, and the fold judges what the intake
//! could not see.

use std::time::Duration;

use agon_memory::FaultRates;
use agon_producer::IntakeConfig;
use agon_producer::OnConflict::{Append as Keep, Refuse};
use serde_json::json;
use tokio::time::Instant;

use crate::site::{MATCHES, Site, match_body};
use crate::world::{Setup, World, a_match, benchmark, environment, run, submission};

/// Longer than nobody looks at a store that failed.
const LATER: Duration = Duration::from_millis(600);

async fn reasons(world: &World) -> Vec<&'static str> {
    let mut codes: Vec<_> = world.folder.reasons().await.iter().map(|r| r.code()).collect();
    codes.sort_unstable();
    codes
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_from_the_start_holds_nothing_up() {
    let mut world = World::new();
    world.store_faults.crash();
    let began = Instant::now();
    let defined = vec![environment("e"), benchmark("b", "m")];
    assert_eq!(world.submit(defined, Refuse).await, ["+", "+"]);
    assert_eq!(world.submit(vec![a_match("e", "m", "ann")], Refuse).await, ["+"]);
    // What it took itself it knows.
    assert_eq!(world.submit(vec![a_match("e", "m", "ann")], Refuse).await, ["="]);
    assert_eq!(world.submit(vec![a_match("e", "m", "bob")], Refuse).await, ["!"]);
    assert_eq!(world.submit(vec![a_match("e", "m", "bob")], Keep).await, ["!+"]);
    assert_eq!(world.submit(vec![environment("e")], Refuse).await, ["="]);
    // What it cannot see it lets through.
    let unknown = vec![a_match("f", "m", "ann"), run("b", "none", "r", json!({"m":1}))];
    assert_eq!(world.submit(unknown, Refuse).await, ["+", "+"]);
    assert!(world.intake.is_store_away());
    assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());

    world.store_faults.heal();
    world.folder.fold().await;
    let expected = ["conflicting_duplicate", "unknown_environment", "unknown_submission"];
    assert_eq!(reasons(&world).await, expected);
    tokio::time::sleep(LATER).await;
    assert_eq!(world.submit(vec![a_match("e", "m", "ann")], Refuse).await, ["="]);
    let refused = world.submit(vec![a_match("f", "m2", "ann")], Refuse).await;
    assert_eq!(refused, ["unknown_environment"]);
    assert!(!world.intake.is_store_away());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_goes_away_and_comes_back_is_noticed() {
    let mut world = World::new();
    world.define(vec![environment("e"), benchmark("b", "m")]).await;
    assert_eq!(world.submit(vec![submission("b", "s", json!({"m":1}))], Refuse).await, ["+"]);
    world.folder.fold().await;
    tokio::task::yield_now().await;
    world.store_faults.crash();
    // The store alone knows of this one by now; the fold finds out.
    let known = vec![submission("b", "s", json!({"m":1}))];
    assert_eq!(world.submit(known, Refuse).await, ["+"]);
    // A definition that was seen is remembered.
    let missing = vec![submission("b", "s2", json!({"n":1}))];
    assert_eq!(world.submit(missing, Refuse).await, ["missing_metric"]);
    let defined_again = vec![benchmark("b", "other")];
    assert_eq!(world.submit(defined_again, Refuse).await, ["+"]);
    world.store_faults.heal();
    tokio::time::sleep(LATER).await;
    world.folder.fold().await;
    tokio::task::yield_now().await;
    let known = vec![submission("b", "s", json!({"m":1}))];
    assert_eq!(world.submit(known, Refuse).await, ["="]);
    assert_eq!(reasons(&world).await, ["conflicting_duplicate"]);
    let counts = world.folder.counts();
    assert_eq!((counts.counted, counts.duplicates), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_waited_for_once() {
    let hour_ms = 3_600_000;
    let store_rates =
        FaultRates { delay_per_mille: 1000, delay_ms_max: hour_ms, ..FaultRates::default() };
    let world = World::build(Setup { store_rates, seed: 7, ..Setup::default() });
    let look = Duration::from_millis(IntakeConfig::default().view_look_ms_max);
    let mut longest = Duration::ZERO;
    let (began, mut calls) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(60) {
        let call = Instant::now();
        let event = environment(&format!("e{calls}"));
        assert_eq!(world.submit(vec![event], Refuse).await, ["+"]);
        longest = longest.max(call.elapsed());
        calls += 1;
    }
    // The queue's age and nothing else comes on top.
    assert!(longest <= look + Duration::from_millis(10), "{longest:?}");
    assert!(calls > 1000, "{calls} calls in a minute");
}

/// Whatever the store does, every write is acknowledged, and each counts once.
#[tokio::test(start_paused = true)]
async fn no_write_is_refused_because_of_the_store() {
    for seed in 0..20 {
        let config = IntakeConfig { view_wait_ms_max: 5, ..IntakeConfig::default() };
        let store_rates = FaultRates::all(200, 0);
        let mut world = World::build(Setup { config, store_rates, seed, ..Setup::default() });
        world.submit(vec![environment("e")], Refuse).await;
        for n in 0..60 {
            let events = vec![a_match("e", &format!("m{}", n % 40), "ann")];
            let outcome = world.submit(events, Refuse).await;
            assert!(["+", "="].contains(&outcome[0].as_str()), "seed {seed}: {outcome:?}");
            if n % 7 == 0 {
                world.folder.fold().await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        world.folder.fold().await;
        let counts = world.folder.counts();
        assert_eq!((counts.counted, counts.rejected), (41, 0), "seed {seed}");
    }
}

#[tokio::test]
async fn over_http_a_store_that_is_away_is_not_seen() {
    let site = Site::new().await;
    site.world.store_faults.crash();
    assert_eq!(site.post("/api/v1/environments", r#"{"id":"e"}"#).await.status, 202);
    let first = site.post(MATCHES, match_body("m", "ann")).await;
    assert_eq!((first.status, &first.json["duplicate"]), (202, &json!(false)));
    let again = site.post(MATCHES, match_body("m", "ann")).await;
    assert_eq!((again.status, &again.json["duplicate"]), (202, &json!(true)));
    assert_eq!(again.json["position"], first.json["position"]);
    assert_eq!(site.post(MATCHES, match_body("m", "bob")).await.problem().0, 409);
    // With the log away as well nothing can be promised.
    site.world.log_faults.crash();
    let away = site.post(MATCHES, match_body("n", "ann")).await;
    assert_eq!(away.problem(), (503, "log_unavailable", ""));
}

#[tokio::test(start_paused = true)]
async fn without_a_view_what_was_taken_is_known_and_the_rest_is_the_folds() {
    let mut world = World::build(Setup { has_view: false, ..Setup::default() });
    let began = Instant::now();
    let events = vec![a_match("e", "m", "ann"), environment("e"), a_match("e", "m2", "ann")];
    assert_eq!(world.submit(events, Refuse).await, ["+", "+", "+"]);
    let events = vec![a_match("e", "m2", "ann"), a_match("e", "m2", "bob"), environment("e")];
    assert_eq!(world.submit(events, Refuse).await, ["=", "!", "="]);
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    world.folder.fold().await;
    assert_eq!(reasons(&world).await, ["unknown_environment"]);
    assert!(!world.intake.is_store_away());
    let World { intake, task, .. } = world;
    intake.close().await;
    drop(intake);
    task.await.unwrap();
}
