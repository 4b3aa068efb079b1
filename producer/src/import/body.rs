//! Events as the bodies that the HTTP intake reads: the way back of `schema::json`.

use agon_schema::event::{MatchFinished, RecentChange, RunScored, SubmissionReceived};
use agon_schema::json::{BenchmarkBody, EnvironmentBody, RatingBody};
use agon_schema::{Event, EventTime};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::intake::Entry;

/// The route that takes an entry.
pub(crate) fn route(entry: &Entry) -> &'static str {
    match entry {
        Entry::Event(Event::EnvironmentDefined(_)) => "/environments",
        Entry::Event(Event::BenchmarkDefined(_)) => "/benchmarks",
        Entry::Event(Event::MatchFinished(_)) => "/matches",
        Entry::Event(Event::SubmissionReceived(_)) => "/submissions",
        Entry::Event(Event::RunScored(_)) => "/scores",
        Entry::Event(Event::RecentChange(_)) | Entry::MalformedChange(_) => "/recentchanges",
    }
}

/// The line that stands for an entry, without its end.
pub(crate) fn line(entry: &Entry) -> Result<Vec<u8>, serde_json::Error> {
    let event = match entry {
        Entry::MalformedChange(line) => return Ok(line.clone()),
        Entry::Event(event) => event,
    };
    match event {
        Event::EnvironmentDefined(event) => {
            let rating = Some(RatingBody::from(&event.rating));
            serde_json::to_vec(&EnvironmentBody { id: event.id.to_string(), rating })
        }
        Event::BenchmarkDefined(event) => serde_json::to_vec(&BenchmarkBody {
            id: event.id.to_string(),
            metric: event.metric.to_string(),
            direction: event.direction,
            aggregation: event.aggregation,
        }),
        Event::MatchFinished(event) => match_line(event),
        Event::SubmissionReceived(event) => serde_json::to_vec(&submission(event)),
        Event::RunScored(event) => serde_json::to_vec(&run(event)),
        Event::RecentChange(event) => serde_json::to_vec(&change(event)),
    }
}

/// A time that was filled in is left out, so that the server fills in its own.
fn said(occurred: EventTime) -> Value {
    match occurred.filled_in {
        true => Value::Null,
        false => Value::String(occurred.at.to_string()),
    }
}

fn match_line(event: &MatchFinished) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        match_id: &'a str,
        environment: &'a str,
        occurred_at: Value,
        players: Vec<Value>,
        context: Option<&'a RawValue>,
    }
    let player = |player: &agon_schema::event::Player| {
        json!({
            "agent": player.agent, "placement": player.placement,
            "score": player.score, "home": player.home,
        })
    };
    let context = event.context.as_ref().map(|context| serde_json::from_str(context.as_json()));
    serde_json::to_vec(&Body {
        match_id: event.match_id.as_str(),
        environment: event.environment.as_str(),
        occurred_at: said(event.occurred),
        players: event.players.as_slice().iter().map(player).collect(),
        context: context.transpose()?,
    })
}

fn submission(event: &SubmissionReceived) -> Value {
    json!({
        "submission_id": event.submission_id, "benchmark": event.benchmark,
        "agent": event.agent, "metrics": event.metrics, "artifact": event.artifact,
        "occurred_at": said(event.occurred),
    })
}

fn run(event: &RunScored) -> Value {
    json!({
        "benchmark": event.benchmark, "submission_id": event.submission_id,
        "run_id": event.run_id, "metrics": event.metrics, "status": event.status,
        "occurred_at": said(event.occurred),
    })
}

fn change(event: &RecentChange) -> Value {
    json!({
        "meta": {"id": event.id, "dt": event.occurred_at.to_string()},
        "user": event.user, "bot": event.bot, "server_name": event.server_name,
        "type": event.change_type, "title": event.title, "namespace": event.namespace,
        "minor": event.minor, "wiki": event.wiki,
        "length": {"old": event.length_old_bytes, "new": event.length_new_bytes},
    })
}
