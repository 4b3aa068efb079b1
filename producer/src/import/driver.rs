//! Reads a file in a thread of its own and hands it on in batches, several at a time, in order.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use agon_projections::CellKey;
use agon_schema::event::{Aggregation, BenchmarkDefined, Direction, EnvironmentDefined};
use agon_schema::ids::MetricName;
use agon_schema::rating::RatingSystem;
use agon_schema::{BenchmarkId, Event};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::item::{Item, Parsed};
use super::reader::Reader;
use super::report::{BadLine, ImportError, ImportReport, NAMED_MAX, News};
use super::sink::{Fate, Sink};
use crate::intake::Entry;

/// Items of one batch.
const BATCH_ITEMS: usize = 4096;
/// Bytes of the lines in one batch that are kept as they are.
const BATCH_BYTES: usize = 4 << 20;
/// Benchmarks of one file.
const SCOPES_MAX: usize = 10_000;
/// The metric of a benchmark whose file has none.
const METRIC_DEFAULT: &str = "score";

/// What is told while an import goes on.
pub type OnNews<'a> = &'a mut (dyn FnMut(News<'_>) + Send);

/// Imports a file into a sink.
///
/// # Errors
/// When the sink gives up; bad lines are no errors, they are named in the report.
pub async fn import(
    reader: Reader,
    sink: &mut dyn Sink,
    on_news: OnNews<'_>,
) -> Result<ImportReport, ImportError> {
    let file = reader.file().to_owned();
    let metric = reader.first_metric().map(str::to_owned);
    let (mut batches, reading) = read_batches(reader);
    let mut import = Import {
        file: file.clone(),
        metric,
        report: ImportReport::default(),
        scopes: HashSet::new(),
        sent: VecDeque::new(),
        on_news,
    };
    while let Some(items) = batches.recv().await {
        import.hand_in(items, sink).await?;
    }
    reading.await.map_err(|error| ImportError::Reader { file, reason: error.to_string() })?;
    let done = sink.finish().await?;
    import.count(done);
    (import.on_news)(News::Progress(&import.report));
    Ok(import.report)
}

/// Reads ahead by a few batches; stops when nobody takes them.
fn read_batches(mut reader: Reader) -> (mpsc::Receiver<Vec<Item>>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(2);
    let reading = tokio::task::spawn_blocking(move || {
        loop {
            let mut items = Vec::new();
            let mut bytes = 0;
            while items.len() < BATCH_ITEMS && bytes < BATCH_BYTES {
                let Some(item) = reader.next_item() else { break };
                if let Parsed::Malformed(Entry::MalformedChange(line), _) = &item.parsed {
                    bytes += line.len();
                }
                items.push(item);
            }
            if items.is_empty() || sender.blocking_send(items).is_err() {
                return;
            }
        }
    });
    (receiver, reading)
}

/// A line that was handed in, and what was wrong with it before.
struct Sent {
    line: u64,
    is_malformed: bool,
}

struct Import<'a> {
    file: String,
    metric: Option<String>,
    report: ImportReport,
    scopes: HashSet<CellKey>,
    sent: VecDeque<Vec<Sent>>,
    on_news: OnNews<'a>,
}

impl Import<'_> {
    async fn hand_in(&mut self, items: Vec<Item>, sink: &mut dyn Sink) -> Result<(), ImportError> {
        let mut entries = Vec::with_capacity(items.len());
        let mut sent = Vec::with_capacity(items.len());
        for Item { line, parsed } in items {
            self.report.read += 1;
            match parsed {
                Parsed::Entry(entry) => {
                    entries.push(entry);
                    sent.push(Sent { line, is_malformed: false });
                }
                Parsed::Malformed(entry, reason) => {
                    self.refuse(line, format!("malformed: {reason}; kept as a dead letter"));
                    entries.push(entry);
                    sent.push(Sent { line, is_malformed: true });
                }
                Parsed::Canary => self.report.skipped += 1,
                Parsed::Bad(reason) => self.refuse(line, reason),
            }
        }
        self.define(&entries, sink).await?;
        if !entries.is_empty() {
            self.sent.push_back(sent);
            let done = sink.send(Arc::new(entries)).await?;
            self.count(done);
        }
        (self.on_news)(News::Progress(&self.report));
        Ok(())
    }

    /// Defines what the entries name for the first time, unless it is defined.
    async fn define(&mut self, entries: &[Entry], sink: &mut dyn Sink) -> Result<(), ImportError> {
        let mut definitions = BTreeMap::new();
        for entry in entries {
            let Entry::Event(event) = entry else { continue };
            let Some(cell) = scope(event).filter(|cell| !self.scopes.contains(cell)) else {
                continue;
            };
            if self.scopes.len() == SCOPES_MAX {
                let file = self.file.clone();
                return Err(ImportError::TooManyScopes { file, max: SCOPES_MAX });
            }
            if let Some(definition) = self.definition(&cell, event) {
                definitions.insert(cell.clone(), definition);
            }
            self.scopes.insert(cell);
        }
        if definitions.is_empty() {
            return Ok(());
        }
        let notes: Vec<String> =
            definitions.iter().map(|(cell, event)| note(cell, event)).collect();
        let fates = sink.define(definitions.into_values().collect()).await?;
        for (note, fate) in notes.into_iter().zip(fates) {
            let note = match fate {
                Fate::Appended => note,
                Fate::Unsent => format!("{note}, unless it is defined already"),
                Fate::Duplicate | Fate::Refused(_) => continue,
            };
            (self.on_news)(News::Note(&note));
            if self.report.notes.len() < NAMED_MAX {
                self.report.notes.push(note);
            }
        }
        Ok(())
    }

    fn definition(&self, cell: &CellKey, event: &Event) -> Option<Event> {
        match cell {
            CellKey::Environment(id) => Some(Event::EnvironmentDefined(EnvironmentDefined {
                id: id.clone(),
                version: 1,
                rating: RatingSystem::default(),
            })),
            CellKey::Benchmark(id) => self.benchmark(id, event).map(Event::BenchmarkDefined),
            CellKey::Stream(_) => None,
        }
    }

    /// The best of the first metric of the file, else of the submission.
    fn benchmark(&self, id: &BenchmarkId, event: &Event) -> Option<BenchmarkDefined> {
        let of_file = self.metric.as_deref().and_then(|name| MetricName::new(name).ok());
        let of_event = || match event {
            Event::SubmissionReceived(event) => {
                event.metrics.iter().next().map(|(name, _)| name.clone())
            }
            _ => None,
        };
        let default = || MetricName::new(METRIC_DEFAULT).ok();
        Some(BenchmarkDefined {
            id: id.clone(),
            version: 1,
            metric: of_file.or_else(of_event).or_else(default)?,
            direction: Direction::Higher,
            aggregation: Aggregation::Best,
        })
    }

    fn count(&mut self, done: Vec<Vec<Fate>>) {
        for fates in done {
            let sent = self.sent.pop_front().unwrap_or_default();
            for (Sent { line, is_malformed }, fate) in sent.into_iter().zip(fates) {
                match fate {
                    // It was named as refused when it was read.
                    _ if is_malformed => {}
                    Fate::Appended => self.report.appended += 1,
                    Fate::Duplicate => self.report.duplicates += 1,
                    Fate::Refused(reason) => self.refuse(line, reason),
                    Fate::Unsent => {}
                }
            }
        }
    }

    fn refuse(&mut self, line: u64, what: String) {
        let bad = BadLine { file: self.file.clone(), line, what };
        (self.on_news)(News::Bad(&bad));
        self.report.refused += 1;
        match self.report.named.len() < NAMED_MAX {
            true => self.report.named.push(bad),
            false => self.report.unnamed += 1,
        }
    }
}

/// What an event needs to be defined.
fn scope(event: &Event) -> Option<CellKey> {
    match event {
        Event::MatchFinished(event) => Some(CellKey::Environment(event.environment.clone())),
        Event::SubmissionReceived(event) => Some(CellKey::Benchmark(event.benchmark.clone())),
        _ => None,
    }
}

fn note(cell: &CellKey, definition: &Event) -> String {
    match definition {
        Event::BenchmarkDefined(defined) => format!(
            "{cell} was not defined; defined it by the best {:?}, higher is better",
            defined.metric
        ),
        _ => format!("{cell} was not defined; defined it with Elo's defaults"),
    }
}
