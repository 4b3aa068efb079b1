//! Matches, submissions and histories.

use agon_projections::row::{GameResult, HistoryRow, MatchRow, SubmissionRow};
use agon_schema::NaturalId;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Points;
use super::entry::{MetricsMap, Text};

#[derive(Serialize)]
pub(crate) struct Match<'a> {
    match_id: &'a str,
    environment: &'a str,
    occurred_at: String,
    players: Vec<Player<'a>>,
    context: Option<Box<RawValue>>,
    /// Its own place in the log.
    position: String,
}

#[derive(Serialize)]
struct Player<'a> {
    agent: &'a str,
    placement: u32,
    score: Option<f64>,
    home: bool,
    rating_before: Points,
    rating_after: Points,
}

impl<'a> Match<'a> {
    pub fn of(environment: &'a str, row: &'a MatchRow, position: String) -> Match<'a> {
        let player = |player: &'a agon_projections::row::MatchPlayer| Player {
            agent: player.agent.as_str(),
            placement: player.placement,
            score: player.score,
            home: player.home,
            rating_before: Points(player.rating_before_micros),
            rating_after: Points(player.rating_after_micros),
        };
        // A context was checked to be JSON before it became an event.
        let context = row.context.clone().and_then(|json| RawValue::from_string(json).ok());
        Match {
            match_id: row.match_id.as_str(),
            environment,
            occurred_at: row.occurred.at.to_string(),
            players: row.players.iter().map(player).collect(),
            context,
            position,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Submission<'a> {
    submission_id: &'a str,
    benchmark: &'a str,
    agent: &'a str,
    artifact: Option<&'a str>,
    occurred_at: String,
    /// Of its latest completed run.
    metrics: MetricsMap<'a>,
    runs_completed: u32,
    runs_failed: u32,
    /// Of the last event that touched it.
    position: String,
}

impl<'a> Submission<'a> {
    pub fn of(
        benchmark: &'a str,
        id: &'a NaturalId,
        row: &'a SubmissionRow,
        position: String,
    ) -> Submission<'a> {
        Submission {
            submission_id: id.as_str(),
            benchmark,
            agent: row.agent.as_str(),
            artifact: row.artifact.as_deref(),
            occurred_at: row.occurred.at.to_string(),
            metrics: MetricsMap(&row.metrics),
            runs_completed: row.runs_completed,
            runs_failed: row.runs_failed,
            position,
        }
    }
}

/// One thing that happened to an agent.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum History<'a> {
    Match {
        match_id: &'a str,
        result: GameResult,
        rating_before: Points,
        rating_after: Points,
        occurred_at: Text<agon_schema::Timestamp>,
        position: String,
    },
    Run {
        submission_id: &'a str,
        value: f64,
        score_after: f64,
        occurred_at: Text<agon_schema::Timestamp>,
        position: String,
    },
}

impl<'a> History<'a> {
    pub fn of(row: &'a HistoryRow, position: String) -> History<'a> {
        match row {
            HistoryRow::Match {
                match_id,
                result,
                rating_before_micros,
                rating_after_micros,
                occurred,
            } => History::Match {
                match_id: match_id.as_str(),
                result: *result,
                rating_before: Points(*rating_before_micros),
                rating_after: Points(*rating_after_micros),
                occurred_at: Text(occurred.at),
                position,
            },
            HistoryRow::Run { submission_id, value, score_after, occurred } => History::Run {
                submission_id: submission_id.as_str(),
                value: *value,
                score_after: *score_after,
                occurred_at: Text(occurred.at),
                position,
            },
        }
    }
}
