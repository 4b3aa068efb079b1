//! Files of matches: CSV of two players, or a body of POST /matches a line.

use std::collections::BTreeMap;

use agon_edge::{JsonError, json};
use agon_schema::event::{Context, Invalid, MatchFinished, Player, Players};
use agon_schema::json::MatchBody;
use agon_schema::{AgentId, EnvironmentId, Event, EventTime, NaturalId};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::columns::Columns;
use super::csv::Records;
use super::item::{MatchesOf, filling};
use crate::intake::Entry;

const HEADER: &str = "match_id,played_at|played_on,a,b,outcome_a";

/// Where the columns of a matches file stand.
pub(crate) struct MatchColumns {
    columns: Columns,
    match_id: usize,
    played: Vec<usize>,
    agents: [usize; 2],
    outcome_a: usize,
    scores: [Option<usize>; 2],
    home: Option<usize>,
    others: Vec<usize>,
}

impl MatchColumns {
    /// Reads the header.
    pub fn read(records: &mut Records) -> Result<MatchColumns, String> {
        let columns = Columns::read(records, HEADER)?;
        let need = |name| columns.need(name, &format!("the header is {HEADER}"));
        let (match_id, a, b) = (need("match_id")?, need("a")?, need("b")?);
        let outcome_a = need("outcome_a")?;
        let played: Vec<usize> =
            ["played_at", "played_on"].iter().filter_map(|name| columns.find(name)).collect();
        if played.is_empty() {
            need("played_at|played_on")?;
        }
        let scores = [columns.find("score_a"), columns.find("score_b")];
        let home = columns.find("home");
        let mut used = vec![match_id, a, b, outcome_a];
        used.extend(&played);
        used.extend(scores.iter().chain([&home]).flatten());
        let others = columns.others(&used);
        Ok(MatchColumns {
            match_id,
            played,
            agents: [a, b],
            outcome_a,
            scores,
            home,
            others,
            columns,
        })
    }

    /// The event of a record.
    pub fn event(&self, records: &Records, of: &MatchesOf) -> Result<Entry, String> {
        self.columns.fit(records.len())?;
        let field = |index: usize| records.field(index);
        let column = |index: usize| format!("column {:?}", self.columns.name(index));
        let [a, b] = self.agents;
        if !field(a).is_empty() && field(a) == field(b) {
            let twice = format!("columns \"a\" and \"b\" both say {:?}", field(a));
            return Err(format!("{twice}; an agent plays once in a match"));
        }
        let [placement_a, placement_b] = self.placements(field(self.outcome_a))?;
        let home = self.home.map_or("", field);
        if !matches!(home, "" | "a" | "b") {
            return Err(format!("column \"home\" is {home:?}; write a, b or nothing"));
        }
        let player = |side: usize, placement: u32, name: &str| -> Result<Player, String> {
            let index = self.agents[side];
            Ok(Player {
                agent: AgentId::new(field(index))
                    .map_err(|error| format!("{} {error}", column(index)))?,
                placement,
                score: self.scores[side].map_or(Ok(None), |index| {
                    number(field(index)).map_err(|error| format!("{} {error}", column(index)))
                })?,
                home: home == name,
            })
        };
        let players = vec![player(0, placement_a, "a")?, player(1, placement_b, "b")?];
        let match_id = NaturalId::new(field(self.match_id))
            .map_err(|error| format!("{} {error}", column(self.match_id)))?;
        let event = MatchFinished {
            environment: of.environment.clone(),
            match_id,
            players: Players::new(players).map_err(|error| error.to_string())?,
            occurred: self.occurred(records)?,
            context: self.context(records)?,
        };
        Ok(Entry::Event(Event::MatchFinished(event)))
    }

    fn placements(&self, outcome_a: &str) -> Result<[u32; 2], String> {
        let outcome: Option<f64> = outcome_a.trim().parse().ok();
        match outcome {
            Some(1.0) => Ok([1, 2]),
            Some(0.5) => Ok([1, 1]),
            Some(0.0) => Ok([2, 1]),
            _ => Err(format!("column \"outcome_a\" is {outcome_a:?}; write 1, 0.5 or 0")),
        }
    }

    fn occurred(&self, records: &Records) -> Result<EventTime, String> {
        let said = self.played.iter().find(|index| !records.field(**index).is_empty());
        let index = *said.unwrap_or(&self.played[0]);
        let at = records
            .field(index)
            .parse()
            .map_err(|error| format!("column {:?} is {error}", self.columns.name(index)))?;
        Ok(EventTime { at, filled_in: false })
    }

    /// The columns that mean nothing here, as an object of strings.
    fn context(&self, records: &Records) -> Result<Option<Context>, String> {
        let others = self.others.iter().map(|i| (self.columns.name(*i), records.field(*i)));
        let others: BTreeMap<&str, &str> = others.filter(|(_, text)| !text.is_empty()).collect();
        if others.is_empty() {
            return Ok(None);
        }
        let json = serde_json::to_string(&others).map_err(|error| error.to_string())?;
        let context = Context::new(json);
        context.map(Some).map_err(|error| format!("the columns carried as context: {error}"))
    }
}

/// A finite number, or nothing.
pub(crate) fn number(text: &str) -> Result<Option<f64>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Some(number)),
        _ => Err(format!("is {text:?}, not a finite number; write one or leave it empty")),
    }
}

/// The event of a line that is a body of POST /matches. Its environment may be left out.
pub(crate) fn from_json(line: u64, text: &[u8], of: &MatchesOf) -> Result<Entry, String> {
    let body = body::<MatchBody>(text, "environment", Some(of.environment.as_str()))?;
    let event = body.into_event(&filling(line, text, of.now)).map_err(|e| e.to_string())?;
    same_environment(&event.environment, &of.environment)?;
    Ok(Entry::Event(Event::MatchFinished(event)))
}

fn same_environment(said: &EnvironmentId, asked: &EnvironmentId) -> Result<(), String> {
    match said == asked {
        true => Ok(()),
        false => Err(format!("/environment is {said:?}, but --environment says {asked:?}")),
    }
}

/// Reads a body. Where only the field `name` is missing, it is this text.
pub(crate) fn body<B: DeserializeOwned>(
    text: &[u8],
    name: &str,
    value: Option<&str>,
) -> Result<B, String> {
    let error = match json::parse_object::<B>(text) {
        Ok(body) => return Ok(body),
        Err(error) => error,
    };
    let is_missing =
        error.pointer == format!("/{name}") && error.detail.starts_with("missing field");
    let Some(value) = value.filter(|_| is_missing) else { return Err(told(error)) };
    let mut fields: BTreeMap<String, Box<RawValue>> = json::parse_object(text).map_err(told)?;
    let quoted = serde_json::to_string(value).and_then(RawValue::from_string);
    let quoted = quoted.map_err(|error| error.to_string())?;
    fields.insert(name.to_owned(), quoted);
    let whole = serde_json::to_vec(&fields).map_err(|error| error.to_string())?;
    json::parse_object(&whole).map_err(told)
}

fn told(error: JsonError) -> String {
    match error.pointer.is_empty() {
        true => error.detail,
        false => Invalid::new(error.pointer, format!("({})", error.detail)).to_string(),
    }
}
