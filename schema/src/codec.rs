//! Bytes to events and back: the only file that names protobuf.
//!
//! An event travels as CloudEvents 1.0 in binary mode: attributes as headers, the message as
//! value. `ce_time` is when it happened; where the message itself says no time, the intake filled
//! it in, and it is no part of the content.

use prost::Message;
use thiserror::Error;

use crate::event::{
    Aggregation, BenchmarkDefined, Context, Direction, EnvironmentDefined, Event, Invalid,
    MatchFinished, Metrics, Player, Players, RecentChange, RunScored, RunStatus,
    SubmissionReceived,
};
use crate::identity::Identity;
use crate::ids::{AgentId, BadId, BenchmarkId, EnvironmentId, MetricName, NaturalId};
use crate::rating::{Elo, KStep, RatingSystem};
use crate::record::{Record, header};
use crate::time::{EventTime, Timestamp};
use crate::{wikimedia, wire};

/// `content-type` of an event's message.
pub const PROTOBUF: &str = "application/protobuf";
/// `content-type` of what a source sent that could not become a message.
pub const JSON: &str = "application/json";

/// Why a record is no event. The same record gives the same error for ever.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The headers do not say what it is.
    #[error("header {0} is missing or not UTF-8")]
    Header(&'static str),
    /// An event type that this version does not know.
    #[error("unknown event type {0:?}")]
    UnknownType(String),
    /// The value is no message of its type.
    #[error("{0}")]
    Malformed(String),
    /// A field holds what it cannot.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// The record of an event: key, headers and value. `appended_at_ms` is the intake's clock.
pub fn encode(event: &Event, source: &str, appended_at_ms: i64) -> Record {
    encode_as(event.identity(), event, source, appended_at_ms)
}

/// As [`encode`], for those who know the event's identity, so that it is not made twice.
pub fn encode_as(id: Identity, event: &Event, source: &str, appended_at_ms: i64) -> Record {
    let mut headers = vec![
        header("ce_specversion", b"1.0"),
        header("ce_id", id.uuid().to_string().as_bytes()),
        header("ce_type", event.type_name().as_bytes()),
        header("ce_source", source.as_bytes()),
        header("content-type", PROTOBUF.as_bytes()),
    ];
    if let Some(occurred) = event.occurred() {
        headers.push(header("ce_time", occurred.at.to_string().as_bytes()));
    }
    Record {
        key: event.key().as_bytes().to_vec(),
        headers,
        value: canonical_bytes(event),
        appended_at_ms,
    }
}

/// The record of a recent change that the source sent in a form that is no event: the fold keeps
/// it as a dead letter, so nothing that was received is lost.
pub fn encode_malformed_change(line: &[u8], source: &str, appended_at_ms: i64) -> Record {
    let id = wikimedia::id_of_bytes(line);
    Record {
        key: id.to_string().into_bytes(),
        headers: vec![
            header("ce_specversion", b"1.0"),
            header("ce_id", id.to_string().as_bytes()),
            header("ce_type", b"agon.recentchange.observed.v1"),
            header("ce_source", source.as_bytes()),
            header("content-type", JSON.as_bytes()),
        ],
        value: line.to_vec(),
        appended_at_ms,
    }
}

fn text<'a>(record: &'a Record, name: &'static str) -> Result<&'a str, DecodeError> {
    let bytes = record.header(name).ok_or(DecodeError::Header(name))?;
    std::str::from_utf8(bytes).map_err(|_| DecodeError::Header(name))
}

/// The event of a record, or why it is none.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(record: &Record) -> Result<Event, DecodeError> {
    let type_name = text(record, "ce_type")?;
    let is_json = record.header("content-type") == Some(JSON.as_bytes());
    if is_json && type_name == "agon.recentchange.observed.v1" {
        return match wikimedia::parse(&record.value) {
            Ok(wikimedia::Line::Change(change)) => Ok(Event::RecentChange(change)),
            Ok(wikimedia::Line::Canary) => {
                Err(DecodeError::Malformed("a canary event is not counted".into()))
            }
            Err(reason) => Err(DecodeError::Malformed(reason)),
        };
    }
    let value = record.value.as_slice();
    match type_name {
        "agon.environment.defined.v1" => environment(message(value)?),
        "agon.benchmark.defined.v1" => benchmark(message(value)?),
        "agon.match.finished.v1" => match_finished(message(value)?, record),
        "agon.submission.received.v1" => submission(message(value)?, record),
        "agon.run.scored.v1" => run(message(value)?, record),
        "agon.recentchange.observed.v1" => recent_change(message(value)?),
        unknown => Err(DecodeError::UnknownType(unknown.chars().take(100).collect())),
    }
}

fn message<M: Message + Default>(value: &[u8]) -> Result<M, DecodeError> {
    M::decode(value).map_err(|error| DecodeError::Malformed(error.to_string()))
}

fn id<I>(pointer: &str, made: Result<I, BadId>) -> Result<I, Invalid> {
    made.map_err(|error| Invalid::new(pointer, error.to_string()))
}

/// The time in the message, else the one in `ce_time`, which the intake filled in.
fn occurred(in_message: Option<i64>, record: &Record) -> Result<EventTime, DecodeError> {
    if let Some(micros) = in_message {
        let at = Timestamp::from_micros(micros)
            .map_err(|error| Invalid::new("/occurred_at", format!("is {error}")))?;
        return Ok(EventTime { at, filled_in: false });
    }
    let at = text(record, "ce_time")?.parse().map_err(|_| DecodeError::Header("ce_time"))?;
    Ok(EventTime { at, filled_in: true })
}

fn environment(message: wire::EnvironmentDefined) -> Result<Event, DecodeError> {
    let Some(wire::environment_defined::Rating::Elo(elo)) = message.rating else {
        return Err(Invalid::new("/rating/system", "is not one that this version knows").into());
    };
    let steps = elo.k_steps.iter().map(|s| KStep { below_games: s.below_games, k: s.k }).collect();
    let elo = Elo::new(elo.start, steps, elo.floor, elo.home_advantage, elo.draw_score)?;
    Ok(Event::EnvironmentDefined(EnvironmentDefined {
        id: id("/id", EnvironmentId::new(message.id))?,
        version: version(message.version)?,
        rating: RatingSystem::Elo(elo),
    }))
}

fn version(version: u32) -> Result<u32, Invalid> {
    if version == 0 {
        Err(Invalid::new("/version", "is 0; versions start at 1"))
    } else {
        Ok(version)
    }
}

fn benchmark(message: wire::BenchmarkDefined) -> Result<Event, DecodeError> {
    let direction = match message.direction() {
        wire::Direction::Higher => Direction::Higher,
        wire::Direction::Lower => Direction::Lower,
        wire::Direction::Unspecified => {
            return Err(Invalid::new("/direction", "is neither higher nor lower").into());
        }
    };
    let aggregation = match message.aggregation() {
        wire::Aggregation::Best => Aggregation::Best,
        wire::Aggregation::Last => Aggregation::Last,
        wire::Aggregation::Mean => Aggregation::Mean,
        wire::Aggregation::Sum => Aggregation::Sum,
        wire::Aggregation::Unspecified => {
            return Err(Invalid::new("/aggregation", "is not best, last, mean or sum").into());
        }
    };
    Ok(Event::BenchmarkDefined(BenchmarkDefined {
        id: id("/id", BenchmarkId::new(message.id))?,
        version: version(message.version)?,
        metric: id("/metric", MetricName::new(message.metric))?,
        direction,
        aggregation,
    }))
}

fn match_finished(message: wire::MatchFinished, record: &Record) -> Result<Event, DecodeError> {
    let mut players = Vec::with_capacity(message.players.len());
    for (index, player) in message.players.into_iter().enumerate() {
        let pointer = || format!("/players/{index}/agent");
        players.push(Player {
            agent: AgentId::new(player.agent)
                .map_err(|e| Invalid::new(pointer(), e.to_string()))?,
            placement: player.placement,
            score: player.score,
            home: player.home,
        });
    }
    let context = match message.context_json.is_empty() {
        true => None,
        false => Some(Context::new(message.context_json)?),
    };
    Ok(Event::MatchFinished(MatchFinished {
        environment: id("/environment", EnvironmentId::new(message.environment))?,
        match_id: id("/match_id", NaturalId::new(message.match_id))?,
        players: Players::new(players)?,
        occurred: occurred(message.occurred_at_us, record)?,
        context,
    }))
}

fn submission(message: wire::SubmissionReceived, record: &Record) -> Result<Event, DecodeError> {
    let artifact = (!message.artifact.is_empty()).then_some(message.artifact);
    Ok(Event::SubmissionReceived(SubmissionReceived {
        benchmark: id("/benchmark", BenchmarkId::new(message.benchmark))?,
        submission_id: id("/submission_id", NaturalId::new(message.submission_id))?,
        agent: id("/agent", AgentId::new(message.agent))?,
        metrics: Metrics::new(message.metrics)?,
        artifact: artifact.map(check_artifact).transpose()?,
        occurred: occurred(message.occurred_at_us, record)?,
    }))
}

/// The name of an artifact within its limit.
///
/// # Errors
/// Empty or longer than the limit.
pub fn check_artifact(artifact: String) -> Result<String, Invalid> {
    let max = crate::event::ARTIFACT_BYTES_MAX;
    if (1..=max).contains(&artifact.len()) {
        return Ok(artifact);
    }
    let detail = format!("has {} bytes; 1 to {max} are allowed", artifact.len());
    Err(Invalid::new("/artifact", detail))
}

fn run(message: wire::RunScored, record: &Record) -> Result<Event, DecodeError> {
    let status = match message.status() {
        wire::RunStatus::Completed => RunStatus::Completed,
        wire::RunStatus::Failed => RunStatus::Failed,
        wire::RunStatus::Unspecified => {
            return Err(Invalid::new("/status", "is neither completed nor failed").into());
        }
    };
    Ok(Event::RunScored(RunScored {
        benchmark: id("/benchmark", BenchmarkId::new(message.benchmark))?,
        submission_id: id("/submission_id", NaturalId::new(message.submission_id))?,
        run_id: id("/run_id", NaturalId::new(message.run_id))?,
        status,
        metrics: Metrics::new(message.metrics)?,
        occurred: occurred(message.occurred_at_us, record)?,
    }))
}

fn recent_change(message: wire::RecentChangeObserved) -> Result<Event, DecodeError> {
    let occurred_at = Timestamp::from_micros(message.occurred_at_us)
        .map_err(|error| Invalid::new("/occurred_at", format!("is {error}")))?;
    let change = RecentChange {
        id: id("/id", NaturalId::new(message.id))?,
        occurred_at,
        user: message.user,
        bot: message.bot,
        server_name: message.server_name,
        change_type: message.change_type,
        title: message.title,
        namespace: message.namespace,
        minor: message.minor,
        length_old_bytes: message.length_old_bytes,
        length_new_bytes: message.length_new_bytes,
        wiki: message.wiki,
    };
    Ok(Event::RecentChange(change.checked()?))
}

/// The message of an event: its content, without a time that the intake filled in. Equal content
/// has equal bytes.
pub fn canonical_bytes(event: &Event) -> Vec<u8> {
    match event {
        Event::EnvironmentDefined(event) => environment_message(event).encode_to_vec(),
        Event::BenchmarkDefined(event) => benchmark_message(event).encode_to_vec(),
        Event::MatchFinished(event) => match_message(event).encode_to_vec(),
        Event::SubmissionReceived(event) => submission_message(event).encode_to_vec(),
        Event::RunScored(event) => run_message(event).encode_to_vec(),
        Event::RecentChange(event) => recent_change_message(event).encode_to_vec(),
    }
}

fn said(occurred: EventTime) -> Option<i64> {
    (!occurred.filled_in).then(|| occurred.at.micros())
}

fn environment_message(event: &EnvironmentDefined) -> wire::EnvironmentDefined {
    let RatingSystem::Elo(elo) = &event.rating;
    let step = |step: &KStep| wire::KStep { below_games: step.below_games, k: step.k };
    wire::EnvironmentDefined {
        id: event.id.to_string(),
        version: event.version,
        rating: Some(wire::environment_defined::Rating::Elo(wire::Elo {
            start: elo.start(),
            k_steps: elo.k_steps().iter().map(step).collect(),
            floor: elo.floor(),
            home_advantage: elo.home_advantage(),
            draw_score: elo.draw_score(),
        })),
    }
}

fn benchmark_message(event: &BenchmarkDefined) -> wire::BenchmarkDefined {
    let direction = match event.direction {
        Direction::Higher => wire::Direction::Higher,
        Direction::Lower => wire::Direction::Lower,
    };
    let aggregation = match event.aggregation {
        Aggregation::Best => wire::Aggregation::Best,
        Aggregation::Last => wire::Aggregation::Last,
        Aggregation::Mean => wire::Aggregation::Mean,
        Aggregation::Sum => wire::Aggregation::Sum,
    };
    wire::BenchmarkDefined {
        id: event.id.to_string(),
        version: event.version,
        metric: event.metric.to_string(),
        direction: direction.into(),
        aggregation: aggregation.into(),
    }
}

fn match_message(event: &MatchFinished) -> wire::MatchFinished {
    let player = |player: &Player| wire::Player {
        agent: player.agent.to_string(),
        placement: player.placement,
        score: player.score,
        home: player.home,
    };
    wire::MatchFinished {
        environment: event.environment.to_string(),
        match_id: event.match_id.to_string(),
        players: event.players.as_slice().iter().map(player).collect(),
        occurred_at_us: said(event.occurred),
        context_json: event.context.as_ref().map_or_else(String::new, |c| c.as_json().to_owned()),
    }
}

fn metrics_message(metrics: &Metrics) -> std::collections::BTreeMap<String, f64> {
    metrics.iter().map(|(name, value)| (name.to_string(), value)).collect()
}

fn submission_message(event: &SubmissionReceived) -> wire::SubmissionReceived {
    wire::SubmissionReceived {
        benchmark: event.benchmark.to_string(),
        submission_id: event.submission_id.to_string(),
        agent: event.agent.to_string(),
        metrics: metrics_message(&event.metrics),
        artifact: event.artifact.clone().unwrap_or_default(),
        occurred_at_us: said(event.occurred),
    }
}

fn run_message(event: &RunScored) -> wire::RunScored {
    let status = match event.status {
        RunStatus::Completed => wire::RunStatus::Completed,
        RunStatus::Failed => wire::RunStatus::Failed,
    };
    wire::RunScored {
        benchmark: event.benchmark.to_string(),
        submission_id: event.submission_id.to_string(),
        run_id: event.run_id.to_string(),
        status: status.into(),
        metrics: metrics_message(&event.metrics),
        occurred_at_us: said(event.occurred),
    }
}

fn recent_change_message(event: &RecentChange) -> wire::RecentChangeObserved {
    wire::RecentChangeObserved {
        id: event.id.to_string(),
        occurred_at_us: event.occurred_at.micros(),
        user: event.user.clone(),
        bot: event.bot,
        server_name: event.server_name.clone(),
        change_type: event.change_type.clone(),
        title: event.title.clone(),
        namespace: event.namespace,
        minor: event.minor,
        length_old_bytes: event.length_old_bytes,
        length_new_bytes: event.length_new_bytes,
        wiki: event.wiki.clone(),
    }
}
