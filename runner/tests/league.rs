//! The league against an intake on a real socket that fails now and then: what is delivered, how
//! often, in which shape, and how a league ends.

mod intake;

use agon_runner::agents::ROSTER;
use agon_runner::games::{ConnectFour, Game, Outcome, Side, TicTacToe};
use agon_runner::schedule::{Schedule, run_name};
use agon_runner::{Bearer, Error, LeagueConfig, LeagueReport, RetryPolicy, Tally, run};
use intake::{Fate, Intake, rough};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tokio_util::sync::CancellationToken;

const SEED: u64 = 0xa90;

/// The fastest league there is, with pauses that a test can wait for.
fn config(intake: &Intake) -> LeagueConfig {
    LeagueConfig {
        matches_per_second: 1_000.0,
        retry: RetryPolicy {
            attempts_max: 5,
            backoff_ms: 2,
            backoff_ms_max: 4,
            retry_after_ms_max: 60_000,
        },
        ..LeagueConfig::demo(&intake.base_url, Bearer::fixed("secret"), SEED)
    }
}

async fn play(intake: &Intake) -> LeagueReport {
    run(config(intake), intake.stop.clone()).await.expect("a league that goes well")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Match {
    match_id: String,
    environment: String,
    players: Vec<Player>,
    context: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Player {
    agent: String,
    placement: u32,
}

/// Plays the recorded moves over: the placements must be what the rules say.
fn check_moves<G: Game>(moves: &str, placements: [u32; 2]) {
    let game = moves.bytes().fold(G::start(), |game, digit| {
        game.play(digit - b'0').expect("a legal move of the record")
    });
    let expected = match game.outcome() {
        Outcome::Won(Side::First) => [1, 2],
        Outcome::Won(Side::Second) => [2, 1],
        Outcome::Draw => [1, 1],
        Outcome::Ongoing => panic!("the record {moves} ends too early"),
    };
    assert_eq!(placements, expected, "{moves}");
}

fn check_match(number: usize, body: &Value) -> [String; 2] {
    let played: Match = serde_json::from_value(body.clone()).expect("the shape of a match");
    assert_eq!(played.match_id, format!("demo-0000000000000a90-{number:06}"));
    let [first, second] = played.players.try_into().ok().expect("two players");
    assert_ne!(first.agent, second.agent, "each player once");
    for agent in [&first.agent, &second.agent] {
        assert!(ROSTER.iter().any(|known| known.name == agent), "{agent}");
    }
    assert_eq!(played.context["first_to_move"], first.agent);
    let placements = [first.placement, second.placement];
    match played.environment.as_str() {
        "tic-tac-toe" => check_moves::<TicTacToe>(&played.context["moves"], placements),
        "connect-four" => check_moves::<ConnectFour>(&played.context["moves"], placements),
        other => panic!("no such environment: {other}"),
    }
    [first.agent, second.agent]
}

#[tokio::test]
async fn every_match_is_taken_once_in_shape_whatever_fails() {
    for seed in 0..2 {
        let intake = Intake::start(110, rough(seed)).await;
        let report = play(&intake).await;
        intake.seen(|seen| {
            let matches = seen.taken_at("/matches");
            let mut agents = BTreeSet::new();
            for (number, body) in matches.iter().enumerate() {
                agents.extend(check_match(number, body));
            }
            assert_eq!(agents.len(), ROSTER.len());
            let failed = seen.requests.iter().filter(|request| request.status >= 400).count();
            assert!(failed > 0, "seed {seed} is not rough");
            assert_eq!(report.retries, failed as u64, "seed {seed}");
            assert!(seen.requests.iter().all(|r| r.authorization == "Bearer secret"));
            // An attempt whose answer was lost is followed by one with the very same bytes.
            for pair in seen.requests.windows(2).filter(|pair| pair[0].status >= 400) {
                assert_eq!((&pair[0].path, &pair[0].body), (&pair[1].path, &pair[1].body));
            }
            let Tally { accepted, duplicates, refused, undelivered } = report.matches;
            assert_eq!((accepted + duplicates, refused, undelivered), (matches.len() as u64, 0, 0));
        });
    }
}

#[tokio::test]
async fn definitions_come_first_and_the_benchmark_is_scored_both_ways() {
    let intake = Intake::start(101, |_, _| Fate::Taken).await;
    let config = LeagueConfig { burst_matches: 0, matches_per_second: 500.0, ..config(&intake) };
    let report = run(config, intake.stop.clone()).await.expect("a league that goes well");
    intake.seen(|seen| {
        let defined: Vec<String> = seen.taken[..3].iter().map(|t| t.2.to_string()).collect();
        let benchmark: Value = serde_json::from_str(&defined[2]).expect("JSON");
        assert_eq!(defined[..2], [r#"{"id":"tic-tac-toe"}"#, r#"{"id":"connect-four"}"#]);
        assert_eq!(
            benchmark,
            serde_json::json!({"id": "connect-four-tactics", "metric": "accuracy",
                "direction": "higher", "aggregation": "best"})
        );
        let submissions = seen.taken_at("/submissions");
        let waiting: BTreeSet<Option<&str>> = submissions
            .iter()
            .filter(|submission| submission.get("metrics").is_none())
            .map(|submission| submission["submission_id"].as_str())
            .collect();
        let scores = seen.taken_at("/scores");
        let scored = scores.iter().map(|score| score["submission_id"].as_str()).collect();
        assert_eq!(waiting, scored, "what waits for a score gets it");
        assert!(!waiting.is_empty() && waiting.len() < submissions.len());
        let mut accuracy = BTreeMap::new();
        for body in submissions.iter().chain(&scores) {
            let agent = body["submission_id"].as_str().expect("an id");
            if let Some(value) = body["metrics"]["accuracy"].as_f64() {
                accuracy.insert(agent.to_owned(), value);
            }
        }
        assert_eq!(accuracy["demo-0000000000000a90-searcher-0007"], 1.0);
        assert!(accuracy["demo-0000000000000a90-random-0000"] < 0.4);
        assert_eq!(report.submissions.accepted, submissions.len() as u64);
        assert_eq!(report.scores.accepted, scores.len() as u64);
        assert_eq!(report.definitions.accepted, 3);
        assert!(submissions.len() > ROSTER.len(), "submissions go on while matches do");
    });
}

#[tokio::test]
async fn one_seed_gives_one_league() {
    let calm = Intake::start(60, |_, _| Fate::Taken).await;
    let stormy = Intake::start(60, rough(9)).await;
    play(&calm).await;
    play(&stormy).await;
    let first_60 = |intake: &Intake| {
        intake.seen(|s| s.taken_at("/matches")[..60].iter().map(|m| m.to_string()).collect())
    };
    let (calm, stormy): (Vec<String>, Vec<String>) = (first_60(&calm), first_60(&stormy));
    assert_eq!(calm, stormy);
}

#[tokio::test]
async fn a_second_run_with_the_seed_counts_nothing_twice() {
    let intake = Intake::start(60, |_, _| Fate::Taken).await;
    play(&intake).await;
    let taken = intake.seen(|seen| seen.taken.len());
    let stop = CancellationToken::new();
    stop.cancel();
    let again = run(config(&intake), stop).await.expect("a league that goes well");
    assert_eq!(again.definitions, Tally { duplicates: 3, ..Tally::default() });
    assert_eq!(intake.seen(|seen| seen.taken.len()), taken);
}

#[tokio::test]
async fn an_outage_costs_only_what_was_given_up() {
    // Away for two whole deliveries and a bit of the third.
    let fates = |request: &intake::Request, before| match before {
        10..22 if request.path == "/matches" => Fate::Away(0),
        _ => Fate::Taken,
    };
    let intake = Intake::start(200, fates).await;
    let slow = LeagueConfig { burst_matches: 300, ..config(&intake) };
    let report = run(slow, intake.stop.clone()).await.expect("a league that goes well");
    assert_eq!(report.matches.undelivered, 40, "{report:?}");
    assert_eq!(report.matches.refused, 0);
    intake.seen(|seen| {
        let ids: Vec<&str> =
            seen.taken_at("/matches").iter().filter_map(|m| m["match_id"].as_str()).collect();
        let unique: BTreeSet<&&str> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len());
        assert_eq!(report.matches.accepted, ids.len() as u64);
        let last = format!("{}-{:06}", run_name(SEED), ids.len() - 1 + 40);
        assert_eq!(ids.last(), Some(&last.as_str()), "ids go on after the gap");
    });
}

#[tokio::test]
async fn refused_items_are_counted_and_the_league_goes_on() {
    let intake = Intake::start(57, |_, _| Fate::Taken).await;
    for number in [3, 4, 50] {
        intake.refuse(&format!("{}-{number:06}", run_name(SEED)));
    }
    let report = play(&intake).await;
    assert_eq!(report.matches.refused, 3);
    assert_eq!(report.matches.accepted, intake.seen(|s| s.taken_at("/matches").len() as u64));
}

#[tokio::test]
async fn a_definition_made_otherwise_does_not_stop_the_league() {
    let fates = |request: &intake::Request, _| match request.path.as_str() {
        "/benchmarks" => Fate::Refused(409, "conflicting_duplicate"),
        _ => Fate::Taken,
    };
    let intake = Intake::start(50, fates).await;
    let report = play(&intake).await;
    assert_eq!(report.definitions, Tally { accepted: 2, refused: 1, ..Tally::default() });
    assert!(report.matches.accepted >= 50);
}

#[tokio::test]
async fn a_token_that_is_not_accepted_ends_the_league() {
    for status in [401, 403] {
        let intake = Intake::start(1, move |_, _| Fate::Refused(status, "forbidden")).await;
        let error = run(config(&intake), intake.stop.clone()).await.expect_err("no token");
        assert!(matches!(error, Error::Forbidden { path: "/environments", .. }), "{error}");
        assert!(!format!("{error:?} {:?}", config(&intake)).contains("secret"));
        assert_eq!(intake.seen(|seen| seen.requests.len()), 1);
    }
}

#[tokio::test]
async fn a_league_of_which_nothing_is_taken_ends() {
    let fates = |request: &intake::Request, _| match request.path.as_str() {
        "/environments" => Fate::Refused(409, "conflicting_duplicate"),
        _ => Fate::Taken,
    };
    let intake = Intake::start(1, fates).await;
    let config = LeagueConfig { burst_matches: 0, matches_per_second: 10.0, ..config(&intake) };
    let error = run(config, intake.stop.clone()).await.expect_err("nothing is taken");
    let Error::RefusedInRow { refusals: 20, code, .. } = &error else { panic!("{error}") };
    assert_eq!(code, "unknown_environment");
}

#[tokio::test]
async fn no_server_is_a_clear_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let intake = Intake::start(1, |_, _| Fate::Taken).await;
    let config = LeagueConfig { base_url: format!("http://{address}"), ..config(&intake) };
    let error = run(config, CancellationToken::new()).await.expect_err("nobody listens");
    let Error::Undefined { id: "tic-tac-toe", attempts: 5, reason, .. } = &error else {
        panic!("{error}")
    };
    assert!(reason.to_lowercase().contains("refused"), "{reason}");
}

#[tokio::test]
async fn a_stop_ends_even_a_long_wait() {
    let stop_at = CancellationToken::new();
    let stopper = stop_at.clone();
    // The server asks for an hour; the league is stopped while it waits.
    let fates = move |request: &intake::Request, _| {
        if request.path != "/matches" {
            return Fate::Taken;
        }
        stopper.cancel();
        Fate::Away(3_600)
    };
    let intake = Intake::start(1, fates).await;
    let mut config = config(&intake);
    config.retry.retry_after_ms_max = 3_600_000;
    let report = run(config, stop_at).await.expect("a clean stop");
    assert_eq!(report.matches, Tally { undelivered: 20, ..Tally::default() });
    assert_eq!(report.submissions, Tally::default());
}

#[tokio::test]
async fn settings_that_make_no_sense_are_named() {
    let intake = Intake::start(1, |_, _| Fate::Taken).await;
    let check = async |name: &str, change: fn(&mut LeagueConfig)| {
        let mut config = config(&intake);
        change(&mut config);
        let error = run(config, CancellationToken::new()).await.expect_err(name);
        assert!(matches!(error, Error::Setting { name: found, .. } if found == name), "{error}");
    };
    check("matches_per_second", |config| config.matches_per_second = 0.0).await;
    check("matches_per_second", |config| config.matches_per_second = f64::NAN).await;
    check("matches_per_second", |config| config.matches_per_second = 1e9).await;
    check("base_url", |config| config.base_url = "localhost:8080".to_owned()).await;
    check("request_timeout_ms", |config| config.request_timeout_ms = 0).await;
    check("retry.attempts_max", |config| config.retry.attempts_max = 0).await;
    assert_eq!(intake.seen(|seen| seen.requests.len()), 0);
}

#[test]
fn two_rounds_have_every_pair_once_on_each_side() {
    let fixtures = Schedule::new(5).next_batch(112);
    let mut met = BTreeSet::new();
    for (number, fixture) in fixtures.iter().enumerate() {
        assert_eq!(fixture.number, number as u64);
        let pair = (fixture.table, fixture.first.name, fixture.second.name);
        assert!(met.insert(pair), "{pair:?} twice");
    }
    assert_eq!(met.len(), 2 * 8 * 7);
    assert_ne!(fixtures, Schedule::new(6).next_batch(112));
    for agent in &ROSTER {
        let opened = fixtures[..56].iter().filter(|f| f.first.name == agent.name).count();
        assert!((6..=8).contains(&opened), "{} opens {opened} of 14", agent.name);
    }
}
