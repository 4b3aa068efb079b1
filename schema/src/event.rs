//! The facts. A value of these types is valid; what is not is an [`Invalid`] that names the field.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::identity::Identity;
use crate::ids::{AgentId, BenchmarkId, EnvironmentId, MetricName, NaturalId};
use crate::rating::RatingSystem;
use crate::time::{EventTime, Timestamp};
use crate::topic::Topic;

/// Players of a match, at least and at most.
pub const PLAYERS_MIN: usize = 2;
/// See [`PLAYERS_MIN`].
pub const PLAYERS_MAX: usize = 64;
/// Metrics of one run, at most.
pub const METRICS_MAX: usize = 64;
/// Bytes of a match's context, at most.
pub const CONTEXT_BYTES_MAX: usize = 4096;
/// Bytes of an artifact's name, at most.
pub const ARTIFACT_BYTES_MAX: usize = 1024;
/// Bytes of a stream event's texts, at most.
pub const TEXT_BYTES_MAX: usize = 1024;
/// The scope of recent changes.
pub const WIKIMEDIA: &str = "wikimedia";

/// A field that cannot be what it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{pointer} {detail}")]
pub struct Invalid {
    /// JSON pointer of the field: `/players/1/agent`.
    pub pointer: String,
    /// What is wrong and what would be right, to be read after the field's name.
    pub detail: String,
}

impl Invalid {
    /// A field and what is wrong with it.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Invalid {
        Invalid { pointer: pointer.into(), detail: detail.into() }
    }
}

/// One immutable fact.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An environment exists, with these rules.
    EnvironmentDefined(EnvironmentDefined),
    /// A benchmark exists, with these rules.
    BenchmarkDefined(BenchmarkDefined),
    /// Agents met.
    MatchFinished(MatchFinished),
    /// An agent handed something in.
    SubmissionReceived(SubmissionReceived),
    /// A submission was run.
    RunScored(RunScored),
    /// A wiki changed.
    RecentChange(RecentChange),
}

impl Event {
    /// The CloudEvents type on the wire.
    pub fn type_name(&self) -> &'static str {
        match self {
            Event::EnvironmentDefined(_) => "agon.environment.defined.v1",
            Event::BenchmarkDefined(_) => "agon.benchmark.defined.v1",
            Event::MatchFinished(_) => "agon.match.finished.v1",
            Event::SubmissionReceived(_) => "agon.submission.received.v1",
            Event::RunScored(_) => "agon.run.scored.v1",
            Event::RecentChange(_) => "agon.recentchange.observed.v1",
        }
    }

    /// The topic it belongs to.
    pub fn topic(&self) -> Topic {
        match self {
            Event::EnvironmentDefined(_) | Event::MatchFinished(_) => Topic::Matches,
            Event::BenchmarkDefined(_) | Event::SubmissionReceived(_) | Event::RunScored(_) => {
                Topic::Submissions
            }
            Event::RecentChange(_) => Topic::RecentChange,
        }
    }

    /// What decides its partition.
    pub fn key(&self) -> &str {
        match self {
            Event::EnvironmentDefined(event) => event.id.as_str(),
            Event::MatchFinished(event) => event.environment.as_str(),
            Event::BenchmarkDefined(event) => event.id.as_str(),
            Event::SubmissionReceived(event) => event.benchmark.as_str(),
            Event::RunScored(event) => event.benchmark.as_str(),
            Event::RecentChange(event) => event.user.as_deref().unwrap_or(event.id.as_str()),
        }
    }

    /// Its identity: kind, scope and natural id.
    pub fn identity(&self) -> Identity {
        let kind = self.type_name();
        match self {
            Event::EnvironmentDefined(event) => {
                Identity::of(kind, event.id.as_str(), &event.version.to_string())
            }
            Event::BenchmarkDefined(event) => {
                Identity::of(kind, event.id.as_str(), &event.version.to_string())
            }
            Event::MatchFinished(event) => {
                Identity::of(kind, event.environment.as_str(), event.match_id.as_str())
            }
            Event::SubmissionReceived(event) => {
                Identity::of(kind, event.benchmark.as_str(), event.submission_id.as_str())
            }
            Event::RunScored(event) => {
                let natural_id = format!("{}\0{}", event.submission_id, event.run_id);
                Identity::of(kind, event.benchmark.as_str(), &natural_id)
            }
            Event::RecentChange(event) => Identity::of(kind, WIKIMEDIA, event.id.as_str()),
        }
    }

    /// When it happened, as far as anyone says. Definitions have no time.
    pub fn occurred(&self) -> Option<EventTime> {
        match self {
            Event::EnvironmentDefined(_) | Event::BenchmarkDefined(_) => None,
            Event::MatchFinished(event) => Some(event.occurred),
            Event::SubmissionReceived(event) => Some(event.occurred),
            Event::RunScored(event) => Some(event.occurred),
            Event::RecentChange(event) => {
                Some(EventTime { at: event.occurred_at, filled_in: false })
            }
        }
    }
}

/// `agon.environment.defined.v1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentDefined {
    /// The environment.
    pub id: EnvironmentId,
    /// From 1; one more at each change.
    pub version: u32,
    /// How its matches are rated.
    pub rating: RatingSystem,
}

/// Which scores are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// What an agent's scored runs become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// The best run; of equal ones the first.
    Best,
    /// The latest run in log order.
    Last,
    /// The mean of all runs.
    Mean,
    /// The sum of all runs.
    Sum,
}

/// `agon.benchmark.defined.v1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchmarkDefined {
    /// The benchmark.
    pub id: BenchmarkId,
    /// From 1; one more at each change.
    pub version: u32,
    /// The metric that is the score.
    pub metric: MetricName,
    /// Which scores are better.
    pub direction: Direction,
    /// What an agent's runs become.
    pub aggregation: Aggregation,
}

/// One agent in a match.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Player {
    /// Who.
    pub agent: AgentId,
    /// From 1, the best, to 64; equal placements are a draw.
    pub placement: u32,
    /// What the game itself counted, if it did; finite.
    pub score: Option<f64>,
    /// Whether the home advantage counts for this player.
    pub home: bool,
}

/// 2 to 64 players, each once, in the order of placement, then id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Players(Vec<Player>);

impl Players {
    /// Players in any order.
    ///
    /// # Errors
    /// Too few, too many, one twice, a placement out of range, a score that is not finite.
    pub fn new(mut players: Vec<Player>) -> Result<Players, Invalid> {
        let count = players.len();
        if !(PLAYERS_MIN..=PLAYERS_MAX).contains(&count) {
            let detail = format!("has {count}; a match has {PLAYERS_MIN} to {PLAYERS_MAX} players");
            return Err(Invalid::new("/players", detail));
        }
        let mut seen = BTreeSet::new();
        for (index, player) in players.iter_mut().enumerate() {
            let field = |name: &str| format!("/players/{index}/{name}");
            if !(1..=PLAYERS_MAX as u32).contains(&player.placement) {
                let detail = format!("is {}; 1 is best, {PLAYERS_MAX} the last", player.placement);
                return Err(Invalid::new(field("placement"), detail));
            }
            if let Some(score) = &mut player.score {
                *score = finite(&field("score"), *score)?;
            }
            if !seen.insert(player.agent.clone()) {
                let detail = format!("is {:?} again; an agent plays once in a match", player.agent);
                return Err(Invalid::new(field("agent"), detail));
            }
        }
        players.sort_by(|a, b| (a.placement, &a.agent).cmp(&(b.placement, &b.agent)));
        Ok(Players(players))
    }

    /// The players in the order of placement, then id.
    pub fn as_slice(&self) -> &[Player] {
        &self.0
    }
}

/// A finite number; `-0.0` becomes `0.0`, so that equal values have equal bytes.
pub(crate) fn finite(pointer: &str, value: f64) -> Result<f64, Invalid> {
    if value.is_finite() {
        Ok(value + 0.0)
    } else {
        Err(Invalid::new(pointer, "is not a finite number"))
    }
}

/// A JSON object that is carried along: at most 4,096 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context(String);

impl Context {
    /// A JSON text.
    ///
    /// # Errors
    /// No JSON object, or over the limit.
    pub fn new(json: impl Into<String>) -> Result<Context, Invalid> {
        let json = json.into();
        if json.len() > CONTEXT_BYTES_MAX {
            let detail =
                format!("has {} bytes; at most {CONTEXT_BYTES_MAX} are allowed", json.len());
            return Err(Invalid::new("/context", detail));
        }
        match serde_json::from_str::<BTreeMap<String, serde::de::IgnoredAny>>(&json) {
            Ok(_) => Ok(Context(json)),
            Err(_) => Err(Invalid::new("/context", "is not a JSON object")),
        }
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

/// `agon.match.finished.v1`.
#[derive(Clone, Debug, PartialEq)]
pub struct MatchFinished {
    /// Where.
    pub environment: EnvironmentId,
    /// Which match there.
    pub match_id: NaturalId,
    /// Who, and how each ended.
    pub players: Players,
    /// When.
    pub occurred: EventTime,
    /// What else the producer said of it.
    pub context: Option<Context>,
}

/// Named numbers of one run: at most 64, all finite.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics(BTreeMap<MetricName, f64>);

impl Metrics {
    /// Metrics by their names.
    ///
    /// # Errors
    /// Too many, a name of the wrong form, a number that is not finite.
    pub fn new(metrics: impl IntoIterator<Item = (String, f64)>) -> Result<Metrics, Invalid> {
        let mut named = BTreeMap::new();
        for (name, value) in metrics {
            let pointer = format!("/metrics/{}", name.replace('~', "~0").replace('/', "~1"));
            let value = finite(&pointer, value)?;
            let name = MetricName::new(name).map_err(|e| Invalid::new(pointer, e.to_string()))?;
            named.insert(name, value);
        }
        if named.len() > METRICS_MAX {
            let detail = format!("has {}; at most {METRICS_MAX} are allowed", named.len());
            return Err(Invalid::new("/metrics", detail));
        }
        Ok(Metrics(named))
    }

    /// The value of a metric, if it is there.
    pub fn get(&self, name: &MetricName) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// All of them in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&MetricName, f64)> {
        self.0.iter().map(|(name, value)| (name, *value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `agon.submission.received.v1`.
#[derive(Clone, Debug, PartialEq)]
pub struct SubmissionReceived {
    /// For which benchmark.
    pub benchmark: BenchmarkId,
    /// Which submission to it.
    pub submission_id: NaturalId,
    /// Whose.
    pub agent: AgentId,
    /// Scored at once, if not empty.
    pub metrics: Metrics,
    /// Where the artifact is; 1 to 1,024 bytes.
    pub artifact: Option<String>,
    /// When.
    pub occurred: EventTime,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It has metrics, and they count.
    Completed,
    /// It did not finish; its metrics do not count.
    Failed,
}

/// `agon.run.scored.v1`.
#[derive(Clone, Debug, PartialEq)]
pub struct RunScored {
    /// On which benchmark.
    pub benchmark: BenchmarkId,
    /// Of which submission.
    pub submission_id: NaturalId,
    /// Which run of it.
    pub run_id: NaturalId,
    /// How it ended.
    pub status: RunStatus,
    /// What was measured.
    pub metrics: Metrics,
    /// When.
    pub occurred: EventTime,
}

/// `agon.recentchange.observed.v1`. Texts have at most 1,024 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentChange {
    /// The stream's own id, or one made from the event's bytes when it has none.
    pub id: NaturalId,
    /// When the stream says it happened.
    pub occurred_at: Timestamp,
    /// Who changed something, by name or address.
    pub user: Option<String>,
    /// Whether a bot did; absent counts as no.
    pub bot: Option<bool>,
    /// On which server.
    pub server_name: Option<String>,
    /// `edit`, `new`, `log`, `categorize`, …
    pub change_type: Option<String>,
    /// Which page.
    pub title: Option<String>,
    /// The page's namespace; negative for special pages.
    pub namespace: Option<i64>,
    /// Whether it was marked as minor.
    pub minor: Option<bool>,
    /// The page's length before.
    pub length_old_bytes: Option<i64>,
    /// The page's length after.
    pub length_new_bytes: Option<i64>,
    /// Which wiki, by its database name.
    pub wiki: Option<String>,
}

impl RecentChange {
    /// Checks the lengths of all texts.
    ///
    /// # Errors
    /// The first text that is over the limit.
    pub fn checked(self) -> Result<RecentChange, Invalid> {
        let texts = [
            ("/user", &self.user),
            ("/server_name", &self.server_name),
            ("/type", &self.change_type),
            ("/title", &self.title),
            ("/wiki", &self.wiki),
        ];
        for (pointer, text) in texts {
            if let Some(text) = text
                && text.len() > TEXT_BYTES_MAX
            {
                let detail =
                    format!("has {} bytes; at most {TEXT_BYTES_MAX} are allowed", text.len());
                return Err(Invalid::new(pointer, detail));
            }
        }
        Ok(self)
    }
}
