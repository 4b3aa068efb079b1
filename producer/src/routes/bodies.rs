//! What each route reads, and the event it becomes.

use agon_edge::{Code, json};
use agon_schema::Event;
use agon_schema::event::Invalid;
use agon_schema::json::{
    BenchmarkBody, EnvironmentBody, Filling, MatchBody, ScoreBody, SubmissionBody,
};
use agon_schema::wikimedia::{self, Line};
use serde::Deserialize;

use super::Accepted;
use super::answer::Fault;
use crate::intake::Entry;

/// The body of a write.
pub(crate) trait WriteBody: Sized {
    /// The route's path, part of what an `Idempotency-Key` stands for.
    const ROUTE: &'static str;

    /// Reads one item.
    fn read(bytes: &[u8], fill: &Filling) -> Result<Accepted, Fault>;
}

fn event<'a, B: Deserialize<'a>>(
    bytes: &'a [u8],
    into_event: impl FnOnce(B) -> Result<Event, Invalid>,
) -> Result<Accepted, Fault> {
    let entry = Entry::Event(into_event(json::parse_object::<B>(bytes)?)?);
    Ok(Accepted { entry, fault: None })
}

impl WriteBody for EnvironmentBody {
    const ROUTE: &'static str = "/environments";

    fn read(bytes: &[u8], _fill: &Filling) -> Result<Accepted, Fault> {
        event(bytes, |body: EnvironmentBody| body.into_event().map(Event::EnvironmentDefined))
    }
}

impl WriteBody for BenchmarkBody {
    const ROUTE: &'static str = "/benchmarks";

    fn read(bytes: &[u8], _fill: &Filling) -> Result<Accepted, Fault> {
        event(bytes, |body: BenchmarkBody| body.into_event().map(Event::BenchmarkDefined))
    }
}

impl WriteBody for MatchBody {
    const ROUTE: &'static str = "/matches";

    fn read(bytes: &[u8], fill: &Filling) -> Result<Accepted, Fault> {
        event(bytes, |body: MatchBody| body.into_event(fill).map(Event::MatchFinished))
    }
}

impl WriteBody for SubmissionBody {
    const ROUTE: &'static str = "/submissions";

    fn read(bytes: &[u8], fill: &Filling) -> Result<Accepted, Fault> {
        event(bytes, |body: SubmissionBody| body.into_event(fill).map(Event::SubmissionReceived))
    }
}

impl WriteBody for ScoreBody {
    const ROUTE: &'static str = "/scores";

    fn read(bytes: &[u8], fill: &Filling) -> Result<Accepted, Fault> {
        event(bytes, |body: ScoreBody| body.into_event(fill).map(Event::RunScored))
    }
}

/// An event of Wikimedia's recent-change stream as the stream sends it.
pub(crate) struct ChangeBody;

impl WriteBody for ChangeBody {
    const ROUTE: &'static str = "/recentchanges";

    fn read(bytes: &[u8], _fill: &Filling) -> Result<Accepted, Fault> {
        match wikimedia::parse(bytes) {
            Ok(Line::Change(change)) => {
                Ok(Accepted { entry: Entry::Event(Event::RecentChange(change)), fault: None })
            }
            Ok(Line::Canary) => Err(Fault {
                code: Code::InvalidField,
                word: "canary",
                pointer: "/meta/domain".to_owned(),
                detail: "is canary: a test event of the platform, which is not counted".to_owned(),
            }),
            Err(reason) => Ok(Accepted {
                entry: Entry::MalformedChange(bytes.to_vec()),
                fault: Some(Fault {
                    code: Code::InvalidField,
                    word: "malformed",
                    pointer: String::new(),
                    detail: format!("{reason}; kept as a dead letter"),
                }),
            }),
        }
    }
}
