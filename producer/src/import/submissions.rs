//! Files of submissions: CSV with a metric a column, or a body of POST /submissions a line.

use std::collections::VecDeque;
use std::str::FromStr;

use agon_schema::event::{Metrics, SubmissionReceived};
use agon_schema::ids::MetricName;
use agon_schema::json::SubmissionBody;
use agon_schema::{AgentId, BenchmarkId, Event, EventTime, NaturalId, Timestamp};
use thiserror::Error;

use super::columns::Columns;
use super::csv::{NextRecord, Records};
use super::item::{Item, Parsed, filling};
use super::matches::{body, number};
use crate::intake::Entry;

const HEADER: &str =
    "submission_id,benchmark,agent,submitted_at,<metric>…; --map names other columns";
/// Records that are looked at before it is decided which columns are metrics.
const SAMPLE_RECORDS: usize = 1000;
/// Their bytes, at most.
const SAMPLE_BYTES: usize = 4 << 20;

/// Which columns of a submissions file mean what, where they have other names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnMap {
    submission_id: Option<String>,
    agent: Option<String>,
    benchmark: Option<String>,
    submitted_at: Option<String>,
}

/// A text that is no map of columns.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}; write submission_id=COLUMN,agent=COLUMN,benchmark=COLUMN,submitted_at=COLUMN")]
pub struct BadMap(String);

impl FromStr for ColumnMap {
    type Err = BadMap;

    fn from_str(text: &str) -> Result<ColumnMap, BadMap> {
        let mut map = ColumnMap::default();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let Some((name, column)) = part.split_once('=') else {
                return Err(BadMap(format!("{part:?} has no =")));
            };
            let (name, column) = (name.trim(), column.trim());
            let place = match name {
                "submission_id" => &mut map.submission_id,
                "agent" => &mut map.agent,
                "benchmark" => &mut map.benchmark,
                "submitted_at" => &mut map.submitted_at,
                _ => return Err(BadMap(format!("{name:?} is nothing that a column can mean"))),
            };
            if column.is_empty() || place.replace(column.to_owned()).is_some() {
                return Err(BadMap(format!("{name:?} needs one column")));
            }
        }
        Ok(map)
    }
}

/// A record, or why it is none; with its line.
type Row = (u64, Result<Vec<String>, String>);

/// What a column holds that has no meaning of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Numbers.
    Metric,
    /// Nothing in the sample: a number is a metric, anything else is passed over.
    Perhaps,
}

/// A CSV file of submissions.
pub(crate) struct SubmissionRows {
    records: Records,
    columns: Columns,
    sample: VecDeque<Row>,
    submission_id: usize,
    agent: usize,
    submitted_at: Option<usize>,
    benchmark: Benchmark,
    metrics: Vec<(usize, Kind)>,
    now: Timestamp,
}

enum Benchmark {
    All(BenchmarkId),
    Column(usize),
}

impl SubmissionRows {
    /// Reads the header and the sample.
    pub fn read(
        mut records: Records,
        benchmark: Option<BenchmarkId>,
        map: &ColumnMap,
        now: Timestamp,
    ) -> Result<SubmissionRows, String> {
        let columns = Columns::read(&mut records, HEADER)?;
        let need = |name: &str, mapped: &Option<String>| match mapped {
            Some(column) => columns.need(column, &format!("--map says it is the {name}")),
            None => columns.need(name, &format!("name it by --map {name}=COLUMN")),
        };
        let submission_id = need("submission_id", &map.submission_id)?;
        let agent = need("agent", &map.agent)?;
        let submitted_at = match &map.submitted_at {
            Some(_) => Some(need("submitted_at", &map.submitted_at)?),
            None => columns.find("submitted_at"),
        };
        let column = map.benchmark.as_deref().unwrap_or("benchmark");
        let benchmark = match (benchmark, columns.find(column)) {
            (Some(id), None) if map.benchmark.is_none() => Benchmark::All(id),
            (Some(_), _) => {
                return Err(format!(
                    "column {column:?} and --benchmark both name the benchmark; leave one out"
                ));
            }
            (None, Some(index)) => Benchmark::Column(index),
            (None, None) => {
                let remedy = "name it by --map benchmark=COLUMN, or the benchmark by --benchmark";
                Benchmark::Column(columns.need(column, remedy)?)
            }
        };
        let sample = sample(&mut records);
        let mut used = vec![submission_id, agent];
        used.extend(submitted_at);
        if let Benchmark::Column(index) = &benchmark {
            used.push(*index);
        }
        let metrics = metrics(&columns, &used, &sample)?;
        Ok(SubmissionRows {
            records,
            columns,
            sample,
            submission_id,
            agent,
            submitted_at,
            benchmark,
            metrics,
            now,
        })
    }

    /// The first column of numbers.
    pub fn first_metric(&self) -> Option<&str> {
        let first = self.metrics.iter().find(|(_, kind)| *kind == Kind::Metric);
        first.map(|(index, _)| self.columns.name(*index))
    }

    /// The next record.
    pub fn next(&mut self) -> Option<Item> {
        let (line, row) = self.sample.pop_front().or_else(|| row(&mut self.records))?;
        let entry = row.and_then(|fields| self.event(&fields));
        let parsed = entry.map_or_else(Parsed::Bad, |event| Parsed::Entry(Entry::Event(event)));
        Some(Item { line, parsed })
    }

    fn event(&self, fields: &[String]) -> Result<Event, String> {
        self.columns.fit(fields.len())?;
        let field = |index: usize| fields[index].as_str();
        let wrong = |index: usize, error: &dyn ToString| {
            format!("column {:?} {}", self.columns.name(index), error.to_string())
        };
        let benchmark = match &self.benchmark {
            Benchmark::All(id) => id.clone(),
            Benchmark::Column(index) => {
                BenchmarkId::new(field(*index)).map_err(|error| wrong(*index, &error))?
            }
        };
        let mut metrics = Vec::new();
        for (index, kind) in &self.metrics {
            match (number(field(*index)), kind) {
                (Ok(Some(value)), _) => metrics.push((self.columns.name(*index).to_owned(), value)),
                (Ok(None), _) | (Err(_), Kind::Perhaps) => {}
                (Err(error), Kind::Metric) => return Err(wrong(*index, &error)),
            }
        }
        let occurred = match self.submitted_at.filter(|index| !field(*index).is_empty()) {
            None => EventTime { at: self.now, filled_in: true },
            Some(index) => {
                let at = field(index).parse();
                let at = at.map_err(|error| wrong(index, &format!("is {error}")))?;
                EventTime { at, filled_in: false }
            }
        };
        Ok(Event::SubmissionReceived(SubmissionReceived {
            benchmark,
            submission_id: NaturalId::new(field(self.submission_id))
                .map_err(|error| wrong(self.submission_id, &error))?,
            agent: AgentId::new(field(self.agent)).map_err(|error| wrong(self.agent, &error))?,
            metrics: Metrics::new(metrics).map_err(|error| error.to_string())?,
            artifact: None,
            occurred,
        }))
    }
}

fn row(records: &mut Records) -> Option<Row> {
    let row = match records.next() {
        NextRecord::Record => Ok(records.fields().map(str::to_owned).collect()),
        NextRecord::Bad(reason) | NextRecord::Broken(reason) => Err(reason),
        NextRecord::End => return None,
    };
    Some((records.line(), row))
}

fn sample(records: &mut Records) -> VecDeque<Row> {
    let mut sample = VecDeque::new();
    let mut bytes = 0;
    while sample.len() < SAMPLE_RECORDS && bytes < SAMPLE_BYTES {
        let Some(row) = row(records) else { break };
        bytes += row.1.iter().flatten().map(String::len).sum::<usize>();
        sample.push_back(row);
    }
    sample
}

/// The columns that hold numbers. One in which at most half of the values are none is a metric
/// too, so that a slip in it is named and not passed over.
fn metrics(
    columns: &Columns,
    used: &[usize],
    sample: &VecDeque<Row>,
) -> Result<Vec<(usize, Kind)>, String> {
    let mut metrics = Vec::new();
    for index in columns.others(used) {
        let (mut numbers, mut others) = (0_usize, 0_usize);
        for fields in sample.iter().filter_map(|(_, row)| row.as_ref().ok()) {
            match fields.get(index).map_or("", |field| field.trim()) {
                "" => {}
                text if text.parse::<f64>().is_ok() => numbers += 1,
                _ => others += 1,
            }
        }
        if numbers == 0 && others == 0 {
            metrics.push((index, Kind::Perhaps));
        } else if numbers >= others {
            MetricName::new(columns.name(index))
                .map_err(|error| format!("the metric column {:?} {error}", columns.name(index)))?;
            metrics.push((index, Kind::Metric));
        }
    }
    Ok(metrics)
}

/// The event of a line that is a body of POST /submissions. Its benchmark may be left out where
/// `--benchmark` names it.
pub(crate) fn from_json(
    line: u64,
    text: &[u8],
    asked: Option<&BenchmarkId>,
    now: Timestamp,
) -> Result<Entry, String> {
    let body = body::<SubmissionBody>(text, "benchmark", asked.map(BenchmarkId::as_str))?;
    let event = body.into_event(&filling(line, text, now)).map_err(|error| error.to_string())?;
    match asked {
        Some(asked) if *asked != event.benchmark => {
            let said = &event.benchmark;
            Err(format!("/benchmark is {said:?}, but --benchmark says {asked:?}"))
        }
        _ => Ok(Entry::Event(Event::SubmissionReceived(event))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_columns() {
        let map: ColumnMap = "submission_id=submission, agent=name,".parse().unwrap();
        assert_eq!(map.submission_id.as_deref(), Some("submission"));
        assert_eq!(map.agent.as_deref(), Some("name"));
        assert_eq!("".parse(), Ok(ColumnMap::default()));
        for (text, part) in [
            ("agent", "no ="),
            ("agent=", "one column"),
            ("agent=a,agent=b", "one column"),
            ("score=a", "\"score\""),
        ] {
            let error = text.parse::<ColumnMap>().unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("submission_id=COLUMN"), "{error}");
        }
    }
}
