//! What the intake may refuse before the log has it. Pure: the same knowledge, the same verdict.
//!
//! The fold judges again, in log order, and alone decides. So a refusal here must be certain:
//! what is only not seen yet is looked at once more when the view has passed the log's end, and
//! what cannot be seen at all is taken.

use agon_projections::{Reason, Rejection};
use agon_schema::event::{BenchmarkDefined, Metrics, RunStatus};
use agon_schema::{BenchmarkId, EnvironmentId, Event, Identity, NaturalId};

/// What is known of the definition that an event needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Definition<'a> {
    /// The store has the environment.
    Environment,
    /// The store has the benchmark.
    Benchmark(&'a BenchmarkDefined),
    /// It stands before the event, in the log, the queue or the same call; what it says is not
    /// known here.
    Before,
    /// Nobody saw one.
    Unseen,
}

/// How well the view sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The store may be behind the log.
    Fresh,
    /// The store was looked at after it had passed the log's end.
    Certain,
    /// The store is away or too far behind: nothing is certain.
    Blocked,
}

/// What is to be done with an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes into the log.
    Take,
    /// It would be a dead letter.
    Refuse(Rejection),
    /// The view has to catch up first.
    Unsure,
}

/// Judges an event that nobody handed in before. `has_submission` says whether the submission of
/// a run was seen.
pub fn judge(
    event: &Event,
    definition: Definition<'_>,
    has_submission: bool,
    sight: Sight,
) -> Verdict {
    match event {
        // A definition that the view does not show yet would become a conflict by surprise.
        Event::EnvironmentDefined(_) | Event::BenchmarkDefined(_) => match sight {
            Sight::Fresh => Verdict::Unsure,
            Sight::Certain | Sight::Blocked => Verdict::Take,
        },
        Event::RecentChange(_) => Verdict::Take,
        Event::MatchFinished(event) => match definition {
            Definition::Unseen => unseen(sight, || {
                let detail = format!(
                    "environment {:?} is not defined; define it by POST /environments",
                    event.environment
                );
                Rejection::new(Reason::UnknownEnvironment, detail)
            }),
            _ => Verdict::Take,
        },
        Event::SubmissionReceived(event) => {
            let metrics = (!event.metrics.is_empty()).then_some(&event.metrics);
            benchmark(&event.benchmark, definition, metrics, sight)
        }
        Event::RunScored(event) => {
            let metrics = (event.status == RunStatus::Completed).then_some(&event.metrics);
            match benchmark(&event.benchmark, definition, metrics, sight) {
                Verdict::Take if !has_submission => unseen(sight, || {
                    let detail = format!(
                        "submission {:?} to benchmark {:?} is not known; send it first",
                        event.submission_id, event.benchmark
                    );
                    Rejection::new(Reason::UnknownSubmission, detail)
                }),
                verdict => verdict,
            }
        }
    }
}

fn unseen(sight: Sight, rejection: impl FnOnce() -> Rejection) -> Verdict {
    match sight {
        Sight::Fresh => Verdict::Unsure,
        Sight::Certain => Verdict::Refuse(rejection()),
        Sight::Blocked => Verdict::Take,
    }
}

/// `metrics` are those that must hold the benchmark's own.
fn benchmark(
    id: &BenchmarkId,
    definition: Definition<'_>,
    metrics: Option<&Metrics>,
    sight: Sight,
) -> Verdict {
    match (definition, metrics) {
        (Definition::Unseen, _) => unseen(sight, || {
            let detail = format!("benchmark {id:?} is not defined; define it by POST /benchmarks");
            Rejection::new(Reason::UnknownBenchmark, detail)
        }),
        (Definition::Benchmark(defined), Some(metrics))
            if metrics.get(&defined.metric).is_none() =>
        {
            let detail =
                format!("metric {:?}, the score of benchmark {id:?}, is missing", defined.metric);
            Verdict::Refuse(Rejection::new(Reason::MissingMetric, detail))
        }
        (Definition::Before, Some(_)) if sight == Sight::Fresh => Verdict::Unsure,
        _ => Verdict::Take,
    }
}

/// The identity of an environment's first definition.
pub fn environment_definition(id: &EnvironmentId) -> Identity {
    Identity::of("agon.environment.defined.v1", id.as_str(), "1")
}

/// The identity of a benchmark's first definition.
pub fn benchmark_definition(id: &BenchmarkId) -> Identity {
    Identity::of("agon.benchmark.defined.v1", id.as_str(), "1")
}

/// The identity of a submission.
pub fn submission(benchmark: &BenchmarkId, id: &NaturalId) -> Identity {
    Identity::of("agon.submission.received.v1", benchmark.as_str(), id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use agon_schema::json::{
        BenchmarkBody, EnvironmentBody, Filling, MatchBody, ScoreBody, SubmissionBody,
    };
    use serde_json::{Value, from_value, json};

    fn fill() -> Filling {
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        Filling { natural_id: NaturalId::new("n").unwrap(), now }
    }

    fn a_match() -> Event {
        let players = json!([{"agent":"a","placement":1},{"agent":"b","placement":2}]);
        let body: MatchBody =
            serde_json::from_str(&json!({"environment":"e","players":players}).to_string())
                .unwrap();
        Event::MatchFinished(body.into_event(&fill()).unwrap())
    }

    fn a_submission(metrics: Value) -> Event {
        let body = json!({"benchmark":"b","submission_id":"s","agent":"a","metrics":metrics});
        let body: SubmissionBody = from_value(body).unwrap();
        Event::SubmissionReceived(body.into_event(&fill()).unwrap())
    }

    fn a_run(status: &str, metrics: Value) -> Event {
        let body = json!({"benchmark":"b","submission_id":"s","status":status,"metrics":metrics});
        let body: ScoreBody = from_value(body).unwrap();
        Event::RunScored(body.into_event(&fill()).unwrap())
    }

    fn an_environment() -> Event {
        let body = EnvironmentBody { id: "e".into(), rating: None };
        Event::EnvironmentDefined(body.into_event().unwrap())
    }

    fn defined() -> BenchmarkDefined {
        let body = json!({"id":"b","metric":"m","direction":"higher","aggregation":"best"});
        from_value::<BenchmarkBody>(body).unwrap().into_event().unwrap()
    }

    /// What is said of it in fresh, certain and blocked sight: `+` take, `?` unsure, else the
    /// first letters of the reason.
    fn check(event: &Event, definition: Definition<'_>, has_submission: bool, expected: [&str; 3]) {
        for (sight, expected) in
            [Sight::Fresh, Sight::Certain, Sight::Blocked].into_iter().zip(expected)
        {
            let verdict = match judge(event, definition, has_submission, sight) {
                Verdict::Take => "+",
                Verdict::Unsure => "?",
                Verdict::Refuse(rejection) => rejection.reason.code(),
            };
            assert_eq!(verdict, expected, "{event:?} {definition:?} {sight:?}");
        }
    }

    #[test]
    fn only_what_is_certain_is_refused() {
        use Definition::{Before, Benchmark, Environment, Unseen};
        let defined = defined();
        let known = Benchmark(&defined);
        let missing = ["missing_metric"; 3];

        check(&an_environment(), Unseen, false, ["?", "+", "+"]);
        check(&a_match(), Environment, false, ["+"; 3]);
        check(&a_match(), Before, false, ["+"; 3]);
        check(&a_match(), Unseen, false, ["?", "unknown_environment", "+"]);

        check(&a_submission(json!({})), known, false, ["+"; 3]);
        check(&a_submission(json!({})), Before, false, ["+"; 3]);
        check(&a_submission(json!({})), Unseen, false, ["?", "unknown_benchmark", "+"]);
        check(&a_submission(json!({"m":1})), known, false, ["+"; 3]);
        check(&a_submission(json!({"n":1})), known, false, missing);
        check(&a_submission(json!({"n":1})), Before, false, ["?", "+", "+"]);

        check(&a_run("completed", json!({"m":1})), known, true, ["+"; 3]);
        check(&a_run("completed", json!({"n":1})), known, true, missing);
        check(&a_run("failed", json!({})), known, true, ["+"; 3]);
        check(&a_run("failed", json!({})), known, false, ["?", "unknown_submission", "+"]);
        check(&a_run("failed", json!({})), Unseen, false, ["?", "unknown_benchmark", "+"]);
    }

    #[test]
    fn identities_are_those_of_the_events() {
        assert_eq!(
            environment_definition(&EnvironmentId::new("e").unwrap()),
            an_environment().identity()
        );
        let benchmark = BenchmarkId::new("b").unwrap();
        assert_eq!(benchmark_definition(&benchmark), Event::BenchmarkDefined(defined()).identity());
        let id = NaturalId::new("s").unwrap();
        assert_eq!(submission(&benchmark, &id), a_submission(json!({})).identity());
    }
}
