//! The JSON that people send and read. Unknown fields are refused; what is read becomes an event
//! or an [`Invalid`] that names the field.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::codec::check_artifact;
use crate::event::{
    Aggregation, BenchmarkDefined, Context, Direction, EnvironmentDefined, Invalid, MatchFinished,
    Metrics, Player, Players, RunScored, RunStatus, SubmissionReceived,
};
use crate::ids::{AgentId, BadId, BenchmarkId, EnvironmentId, MetricName, NaturalId};
use crate::rating::{Elo, KStep, RatingSystem};
use crate::time::{EventTime, Timestamp};

/// What the intake adds to what the caller sent.
#[derive(Clone, Debug)]
pub struct Filling {
    /// The natural id, where the body has none.
    pub natural_id: NaturalId,
    /// The time, where the body has none.
    pub now: Timestamp,
}

/// Body of POST /environments.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentBody {
    /// The environment.
    pub id: String,
    /// Elo with its defaults when absent.
    #[serde(
        default,
        deserialize_with = "crate::object::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub rating: Option<RatingBody>,
}

/// A rating system and its parameters, in points.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RatingBody {
    /// `elo`.
    pub system: String,
    /// 1500 when absent.
    pub start: Option<f64>,
    /// 32 when absent.
    pub k: Option<KBody>,
    /// None when absent.
    pub floor: Option<f64>,
    /// 0 when absent.
    pub home_advantage: Option<f64>,
    /// 0.5 when absent.
    pub draw_score: Option<f64>,
}

/// K as one number, or by games played.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum KBody {
    /// The same for everyone.
    Constant(f64),
    /// `[{"below_games":10,"k":40},{"k":24}]`.
    Steps(#[serde(deserialize_with = "crate::object::list")] Vec<KStepBody>),
}

/// One step of K.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KStepBody {
    /// Exclusive; absent in the last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below_games: Option<u32>,
    /// In points.
    pub k: f64,
}

impl EnvironmentBody {
    /// The definition's first version.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn into_event(self) -> Result<EnvironmentDefined, Invalid> {
        let id = named("/id", EnvironmentId::new(self.id))?;
        let rating = self.rating.map_or_else(|| Ok(RatingSystem::default()), rating)?;
        Ok(EnvironmentDefined { id, version: 1, rating })
    }
}

fn rating(body: RatingBody) -> Result<RatingSystem, Invalid> {
    if body.system != "elo" {
        let detail = format!("is {:?}; this version knows \"elo\"", body.system);
        return Err(Invalid::new("/rating/system", detail));
    }
    let default = Elo::default();
    let steps = match body.k {
        None => default.k_steps().to_vec(),
        Some(KBody::Constant(k)) => vec![KStep { below_games: None, k }],
        Some(KBody::Steps(steps)) => {
            steps.iter().map(|s| KStep { below_games: s.below_games, k: s.k }).collect()
        }
    };
    Ok(RatingSystem::Elo(Elo::new(
        body.start.unwrap_or(default.start()),
        steps,
        body.floor,
        body.home_advantage.unwrap_or(default.home_advantage()),
        body.draw_score.unwrap_or(default.draw_score()),
    )?))
}

impl From<&RatingSystem> for RatingBody {
    fn from(rating: &RatingSystem) -> RatingBody {
        let RatingSystem::Elo(elo) = rating;
        let step = |s: &KStep| KStepBody { below_games: s.below_games, k: s.k };
        let k = match elo.k_steps() {
            [only] => KBody::Constant(only.k),
            steps => KBody::Steps(steps.iter().map(step).collect()),
        };
        RatingBody {
            system: rating.name().to_owned(),
            start: Some(elo.start()),
            k: Some(k),
            floor: elo.floor(),
            home_advantage: Some(elo.home_advantage()),
            draw_score: Some(elo.draw_score()),
        }
    }
}

/// Body of POST /benchmarks.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BenchmarkBody {
    /// The benchmark.
    pub id: String,
    /// The metric that is the score.
    pub metric: String,
    /// `higher` or `lower`.
    pub direction: Direction,
    /// `best`, `last`, `mean` or `sum`.
    pub aggregation: Aggregation,
}

impl BenchmarkBody {
    /// The definition's first version.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn into_event(self) -> Result<BenchmarkDefined, Invalid> {
        Ok(BenchmarkDefined {
            id: named("/id", BenchmarkId::new(self.id))?,
            version: 1,
            metric: named("/metric", MetricName::new(self.metric))?,
            direction: self.direction,
            aggregation: self.aggregation,
        })
    }
}

/// Body of POST /matches.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchBody {
    /// Given by the intake when absent.
    pub match_id: Option<String>,
    /// Where.
    pub environment: String,
    /// When; the intake's time when absent.
    pub occurred_at: Option<String>,
    /// 2 to 64, each once.
    #[serde(deserialize_with = "crate::object::list")]
    pub players: Vec<PlayerBody>,
    /// Any JSON object of at most 4,096 bytes.
    pub context: Option<Box<RawValue>>,
}

/// One player of a match.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlayerBody {
    /// Who.
    pub agent: String,
    /// 1 is best.
    pub placement: u32,
    /// What the game counted.
    pub score: Option<f64>,
    /// Whether the home advantage counts.
    #[serde(default)]
    pub home: bool,
}

impl MatchBody {
    /// The event; `fill` is asked for what the body lacks.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn into_event(self, fill: &Filling) -> Result<MatchFinished, Invalid> {
        let mut players = Vec::with_capacity(self.players.len());
        for (index, body) in self.players.into_iter().enumerate() {
            players.push(Player {
                agent: named(&format!("/players/{index}/agent"), AgentId::new(body.agent))?,
                placement: body.placement,
                score: body.score,
                home: body.home,
            });
        }
        let context = match self.context {
            Some(raw) if raw.get() != "null" => Some(Context::new(compact(raw.get())?)?),
            _ => None,
        };
        Ok(MatchFinished {
            environment: named("/environment", EnvironmentId::new(self.environment))?,
            match_id: natural("/match_id", self.match_id, fill)?,
            players: Players::new(players)?,
            occurred: occurred(self.occurred_at.as_deref(), fill)?,
            context,
        })
    }
}

/// The same JSON without white space and with sorted keys, so that equal contexts have equal bytes.
fn compact(json: &str) -> Result<String, Invalid> {
    let wrong = |_| Invalid::new("/context", "is not a JSON object");
    let value: serde_json::Value = serde_json::from_str(json).map_err(wrong)?;
    serde_json::to_string(&value).map_err(wrong)
}

/// Body of POST /submissions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmissionBody {
    /// Given by the intake when absent.
    pub submission_id: Option<String>,
    /// For which benchmark.
    pub benchmark: String,
    /// Whose.
    pub agent: String,
    /// Scored at once when there are any.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// Where the artifact is.
    pub artifact: Option<String>,
    /// When; the intake's time when absent.
    pub occurred_at: Option<String>,
}

impl SubmissionBody {
    /// The event; `fill` is asked for what the body lacks.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn into_event(self, fill: &Filling) -> Result<SubmissionReceived, Invalid> {
        Ok(SubmissionReceived {
            benchmark: named("/benchmark", BenchmarkId::new(self.benchmark))?,
            submission_id: natural("/submission_id", self.submission_id, fill)?,
            agent: named("/agent", AgentId::new(self.agent))?,
            metrics: Metrics::new(self.metrics)?,
            artifact: self.artifact.map(check_artifact).transpose()?,
            occurred: occurred(self.occurred_at.as_deref(), fill)?,
        })
    }
}

/// Body of POST /scores.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreBody {
    /// On which benchmark.
    pub benchmark: String,
    /// Of which submission.
    pub submission_id: String,
    /// Given by the intake when absent.
    pub run_id: Option<String>,
    /// What was measured.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// `completed` or `failed`.
    pub status: RunStatus,
    /// When; the intake's time when absent.
    pub occurred_at: Option<String>,
}

impl ScoreBody {
    /// The event; `fill` is asked for what the body lacks.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn into_event(self, fill: &Filling) -> Result<RunScored, Invalid> {
        Ok(RunScored {
            benchmark: named("/benchmark", BenchmarkId::new(self.benchmark))?,
            submission_id: named("/submission_id", NaturalId::new(self.submission_id))?,
            run_id: natural("/run_id", self.run_id, fill)?,
            status: self.status,
            metrics: Metrics::new(self.metrics)?,
            occurred: occurred(self.occurred_at.as_deref(), fill)?,
        })
    }
}

fn named<I>(pointer: &str, made: Result<I, BadId>) -> Result<I, Invalid> {
    made.map_err(|error| Invalid::new(pointer, error.to_string()))
}

fn natural(pointer: &str, sent: Option<String>, fill: &Filling) -> Result<NaturalId, Invalid> {
    sent.map_or_else(|| Ok(fill.natural_id.clone()), |id| named(pointer, NaturalId::new(id)))
}

fn occurred(sent: Option<&str>, fill: &Filling) -> Result<EventTime, Invalid> {
    let Some(text) = sent else {
        return Ok(EventTime { at: fill.now, filled_in: true });
    };
    let at = text.parse().map_err(|error| Invalid::new("/occurred_at", format!("is {error}")))?;
    Ok(EventTime { at, filled_in: false })
}
