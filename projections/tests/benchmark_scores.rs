//! Scores by table: what runs become, where they come from, and what does not count.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use agon_projections::board::Standing;
use agon_projections::board::ranked::Ties;
use agon_projections::row::{HistoryRow, RowKey, Score, SubmissionRow, Value};
use agon_projections::{Outcome, Reason, invariants};
use agon_schema::Event;
use agon_schema::event::Aggregation::{self, Best, Last, Mean, Sum};
use agon_schema::event::Direction::{self, Higher, Lower};
use agon_schema::event::RunStatus::{Completed, Failed};
use support::{
    Fold, benchmark, data, define_benchmark, metrics, natural, own_rows, run, submission,
};

fn defined(direction: Direction, aggregation: Aggregation) -> Fold {
    let mut fold = Fold::new(benchmark("b"));
    let event = define_benchmark("b", "score", direction, aggregation);
    assert!(matches!(fold.step(&event), Outcome::Counted(_)));
    fold
}

fn scores(fold: &Fold) -> BTreeMap<String, Score> {
    let rows = own_rows(&fold.cell).into_iter();
    rows.filter_map(|row| match (row.key, row.value) {
        (RowKey::Entrant(_, agent), Value::Score(score)) => {
            assert!(invariants::score_follows_runs(&score), "{agent}: {score:?}");
            Some((agent.as_str().to_owned(), score))
        }
        _ => None,
    })
    .collect()
}

fn stored(fold: &Fold, id: &str) -> SubmissionRow {
    match &fold.side[&RowKey::Submission(fold.cell.key(), natural(id))] {
        Value::Submission(row) => row.clone(),
        other => panic!("{other:?}"),
    }
}

fn reason(outcome: Outcome) -> Option<Reason> {
    match outcome {
        Outcome::Rejected(rejection) => Some(rejection.reason),
        _ => None,
    }
}

/// Sends the values once as submissions with metrics and once as runs; the score must be `want`
/// and be shown with the metrics and submission of the run at index `shown`.
fn check(direction: Direction, aggregation: Aggregation, values: &[f64], want: f64, shown: usize) {
    let name = format!("{direction:?} {aggregation:?} of {values:?}");
    let mut at_once = defined(direction, aggregation);
    let mut by_runs = defined(direction, aggregation);
    let named = |index: usize| [("score", values[index]), ("run", index as f64)];
    for index in 0..values.len() {
        let id = format!("s{index}");
        at_once.step(&submission("b", &id, "alice", &named(index)));
        by_runs.step(&submission("b", &id, "alice", &[]));
    }
    let waiting = &scores(&by_runs)["alice"];
    assert_eq!((waiting.score, waiting.runs), (None, 0), "{name}: waits for its runs");
    for index in 0..values.len() {
        let id = format!("s{index}");
        by_runs.step(&run("b", &id, "r", Completed, &named(index)));
    }
    for fold in [at_once, by_runs] {
        let score = &scores(&fold)["alice"];
        assert_eq!(score.score.map(f64::to_bits), Some(want.to_bits()), "{name}: {score:?}");
        assert_eq!(score.metrics, metrics(&named(shown)), "{name}");
        assert_eq!(score.submission_id.as_str(), format!("s{shown}"), "{name}");
        let count = values.len() as u32;
        assert_eq!((score.submissions, score.runs), (count, count), "{name}");
        assert_eq!(stored(&fold, "s0").runs_completed, 1, "{name}");
    }
}

#[test]
fn aggregations() {
    for (direction, aggregation, values, want, shown) in [
        (Higher, Best, &[3.0, 7.0, 5.0][..], 7.0, 1),
        (Lower, Best, &[3.0, 7.0, 1.5], 1.5, 2),
        (Lower, Best, &[3.0, 7.0, 5.0], 3.0, 0),
        // Of equal runs the first is the best one.
        (Higher, Best, &[7.0, 7.0, 5.0], 7.0, 0),
        (Lower, Best, &[1.0, 1.0], 1.0, 0),
        (Higher, Best, &[-0.0, 0.0], 0.0, 0),
        (Higher, Best, &[-5.0, -7.0], -5.0, 0),
        (Higher, Last, &[3.0, 7.0, 5.0], 5.0, 2),
        (Lower, Last, &[3.0, 7.0, 5.0], 5.0, 2),
        (Higher, Mean, &[3.0, 7.0, 5.0], 5.0, 2),
        (Lower, Mean, &[1.0, 2.0], 1.5, 1),
        // In log order: 0.1 + 0.2 + 0.3, not any other way round.
        (Higher, Sum, &[0.1, 0.2, 0.3], 0.600_000_000_000_000_1, 2),
        (Higher, Sum, &[0.3, 0.2, 0.1], 0.6, 2),
        (Lower, Sum, &[3.0, -7.0], -4.0, 1),
        (Higher, Mean, &[1.0], 1.0, 0),
        // Sums stop at the ends instead of becoming infinite.
        (Higher, Sum, &[f64::MAX, f64::MAX], f64::MAX, 1),
        (Lower, Sum, &[f64::MIN, f64::MIN, f64::MIN], f64::MIN, 2),
        (Higher, Mean, &[f64::MAX, f64::MAX], f64::MAX / 2.0, 1),
    ] {
        check(direction, aggregation, values, want, shown);
    }
}

#[test]
fn failed_runs_are_noted_and_do_not_count() {
    for aggregation in [Best, Last, Mean, Sum] {
        let mut fold = defined(Higher, aggregation);
        fold.step(&submission("b", "s", "alice", &[]));
        fold.step(&run("b", "s", "r1", Failed, &[]));
        fold.step(&run("b", "s", "r2", Failed, &[("score", 99.0)]));
        let score = &scores(&fold)["alice"];
        assert_eq!((score.score, score.runs), (None, 0), "{aggregation:?}");
        fold.step(&run("b", "s", "r3", Completed, &[("score", 1.0)]));
        fold.step(&run("b", "s", "r4", Failed, &[("score", 99.0)]));
        assert_eq!(scores(&fold)["alice"].score, Some(1.0), "{aggregation:?}");
        let row = stored(&fold, "s");
        assert_eq!((row.runs_completed, row.runs_failed), (1, 3), "{aggregation:?}");
        assert_eq!(row.metrics, metrics(&[("score", 1.0)]), "{aggregation:?}");
    }
}

#[test]
fn several_runs_of_one_submission_and_several_agents() {
    let mut fold = defined(Higher, Mean);
    fold.step(&submission("b", "s", "alice", &[("score", 1.0)]));
    fold.step(&submission("b", "t", "bob", &[("score", 10.0)]));
    fold.step(&run("b", "s", "r1", Completed, &[("score", 2.0)]));
    fold.step(&run("b", "s", "r2", Completed, &[("score", 6.0)]));
    let scores = scores(&fold);
    assert_eq!((scores["alice"].score, scores["alice"].runs), (Some(3.0), 3));
    assert_eq!((scores["bob"].score, scores["bob"].runs), (Some(10.0), 1));
    assert_eq!(scores["alice"].submissions, 1);
    assert_eq!(stored(&fold, "s").runs_completed, 3);
    let history: Vec<(f64, f64)> = fold
        .side
        .iter()
        .filter(|(key, _)| matches!(key, RowKey::History(_, agent, _) if agent.as_str() == "alice"))
        .map(|(_, value)| match value {
            Value::History(HistoryRow::Run { value, score_after, .. }) => (*value, *score_after),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(history, [(1.0, 1.0), (2.0, 1.5), (6.0, 3.0)]);
}

#[test]
fn what_does_not_count_changes_nothing() {
    let known = submission("b", "s", "alice", &[("score", 1.0)]);
    let other_metric = [("cost", 1.0)];
    for (name, event, want) in [
        ("run of nothing", run("b", "t", "r", Completed, &[("score", 1.0)]), "unknown_submission"),
        ("failed run of nothing", run("b", "t", "r", Failed, &[]), "unknown_submission"),
        ("run without", run("b", "s", "r", Completed, &[]), "missing_metric"),
        ("run with another", run("b", "s", "r", Completed, &other_metric), "missing_metric"),
        ("submission with another", submission("b", "t", "bob", &other_metric), "missing_metric"),
        ("other agent", submission("b", "s", "bob", &[("score", 1.0)]), "conflicting_duplicate"),
        ("other metrics", submission("b", "s", "alice", &[]), "conflicting_duplicate"),
        ("other definition", define_benchmark("b", "score", Lower, Best), "conflicting_duplicate"),
    ] {
        let mut fold = defined(Higher, Best);
        fold.step(&known);
        let before = fold.bytes();
        let found = reason(fold.step(&event)).map(Reason::code);
        assert_eq!(found, Some(want), "{name}");
        assert!(fold.bytes() == before, "{name}");
    }
}

#[test]
fn an_undefined_benchmark_counts_nothing_until_it_is_defined() {
    let mut fold = Fold::new(benchmark("b"));
    let sent = submission("b", "s", "alice", &[("score", 1.0)]);
    let scored = run("b", "s", "r", Completed, &[("score", 2.0)]);
    for event in [&sent, &scored] {
        assert_eq!(reason(fold.step(event)), Some(Reason::UnknownBenchmark));
    }
    let mut second = define_benchmark("b", "score", Higher, Best);
    if let Event::BenchmarkDefined(event) = &mut second {
        event.version = 2;
    }
    assert_eq!(reason(fold.step(&second)), Some(Reason::VersionOutOfOrder));
    fold.step(&define_benchmark("b", "score", Higher, Best));
    assert_eq!(reason(fold.step(&second)), Some(Reason::VersionOutOfOrder));
    // A dead letter may be sent again under its own id.
    for event in [&sent, &scored] {
        assert!(matches!(fold.step(event), Outcome::Counted(_)));
    }
    assert_eq!(scores(&fold)["alice"].score, Some(2.0));
    assert_eq!(fold.step(&sent), Outcome::Duplicate(5));
}

/// The published boards: identity is board and submission.
#[test]
fn swebench_boards() {
    let Some(bytes) = data("swebench-submissions/boards.csv") else { return };
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let lines: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    for (name, entries, agents) in [("Verified", 162, 153), ("Lite", 84, 81)] {
        let mut fold = Fold::new(benchmark(name));
        fold.step(&define_benchmark(name, "resolved_percent", Higher, Best));
        // The slow way: the best of each agent in a map.
        let mut best: BTreeMap<String, f64> = BTreeMap::new();
        let mut events = Vec::new();
        for line in lines.iter().filter(|line| &line[0] == name) {
            let percent: f64 = line[4].parse().unwrap();
            let known = best.entry(line[2].to_owned()).or_insert(percent);
            *known = known.max(percent);
            events.push(submission(name, &line[1], &line[2], &[("resolved_percent", percent)]));
        }
        assert_eq!((events.len(), best.len()), (entries, agents), "{name}");
        for event in &events {
            assert!(matches!(fold.step(event), Outcome::Counted(_)), "{name}: {event:?}");
        }
        check_board(&fold, &best);

        let before = fold.bytes();
        for (event, offset) in events.iter().zip(1..) {
            assert_eq!(fold.step(event), Outcome::Duplicate(offset), "{name}");
        }
        for line in lines.iter().filter(|line| &line[0] == name) {
            let other = submission(name, &line[1], &line[2], &[("resolved_percent", 100.0)]);
            let found = reason(fold.step(&other));
            assert_eq!(found, Some(Reason::ConflictingDuplicate), "{name}");
        }
        assert!(fold.bytes() == before, "{name}: duplicates and conflicts change nothing");
    }
}

fn check_board(fold: &Fold, best: &BTreeMap<String, f64>) {
    let board = agon_projections::board::Board::from_rows(fold.cell.key(), own_rows(&fold.cell));
    assert_eq!(board.len(), best.len());
    let mut want: Vec<(&String, f64)> = best.iter().map(|(agent, score)| (agent, *score)).collect();
    want.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.as_bytes().cmp(b.0.as_bytes())));
    let page = board.page(0, best.len() + 1, Ties::Competition);
    let found: Vec<(&str, f64)> = page
        .iter()
        .map(|entry| match entry.standing {
            Standing::Score(score) => (entry.agent, score.score.unwrap()),
            Standing::Rating(_) => panic!("a benchmark has scores"),
        })
        .collect();
    let want: Vec<(&str, f64)> =
        want.iter().map(|(agent, score)| (agent.as_str(), *score)).collect();
    assert_eq!(found, want);
    let distinct: BTreeSet<u64> = best.values().map(|score| score.to_bits()).collect();
    let dense = board.page(best.len() - 1, 1, Ties::Dense);
    assert_eq!(dense[0].rank, distinct.len());
}
