//! `agon import`: a file into a directory, a log on servers, a running server, or nowhere.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agon_kafka::{KafkaAddress, KafkaSettings};
use agon_memory::{MemoryFeed, SystemClock};
use agon_ports::{EventLog, ProjectionStore};
use agon_producer::import::{
    ColumnMap, Content, Definitions, DryRun, ImportReport, IntakeSink, News, OpenError, Reader,
    Searched, ServerSink, Sink, import,
};
use agon_producer::{Intake, IntakeConfig, View};
use agon_schema::{BenchmarkId, EnvironmentId, Timestamp};
use prometheus::Registry;

use crate::bar::Bar;
use crate::cli::{Import, Into};
use crate::exit::Exit;
use crate::node::{self, BadStore, Node};
use crate::output;
use crate::remote;
use crate::servers;

/// How long a record of an import waits for others to be sent with, in milliseconds: there are
/// always more.
const IMPORT_LINGER_MS: u32 = 5;

/// Reads the file of the command into where it says.
///
/// # Errors
/// Exit code 1 when lines were refused.
pub async fn run(command: Import) -> Result<(), Exit> {
    let (file, content, into) = match command {
        Import::Matches { file, environment, into } => {
            let environment = EnvironmentId::new(environment.as_str())
                .map_err(|error| Exit::Usage(format!("--environment {environment:?} {error}")))?;
            (file, Content::Matches { environment }, into)
        }
        Import::Submissions { file, benchmark, map, into } => {
            let benchmark = benchmark.map(benchmark_id).transpose()?;
            let map = map.map_or_else(|| Ok(ColumnMap::default()), |map| map.parse());
            let map = map.map_err(|error| Exit::Usage(format!("--map: {error}")))?;
            (file, Content::Submissions { benchmark, map }, into)
        }
        Import::Recentchange { file, into } => (file, Content::RecentChange, into),
    };
    let reader = open(&file, content)?;
    let report = match (into.dry_run, &into.source.server, &into.source.place.log) {
        (true, _, _) => read_into(reader, &mut DryRun).await?,
        (false, Some(server), _) => {
            let token = remote::token(&into.source)?;
            let mut sink = ServerSink::new(server, token).map_err(Exit::missing)?;
            read_into(reader, &mut sink).await?
        }
        (false, None, Some(log)) => into_log(reader, log, &into).await?,
        (false, None, None) => into_directory(reader, &into).await?,
    };
    conclude(&report, into.dry_run)
}

fn benchmark_id(id: String) -> Result<BenchmarkId, Exit> {
    BenchmarkId::new(id.as_str())
        .map_err(|error| Exit::Usage(format!("--benchmark {id:?} {error}")))
}

fn open(file: &Path, content: Content) -> Result<Reader, Exit> {
    Reader::open(file, content, Timestamp::now()).map_err(|error| match error {
        OpenError::Open { .. } => Exit::missing(error),
        OpenError::Kind { .. } | OpenError::Header { .. } => Exit::usage(error),
    })
}

/// Reads the file into a sink, with a bar of the bytes read.
async fn read_into(reader: Reader, sink: &mut dyn Sink) -> Result<ImportReport, Exit> {
    let bar = Bar::new("importing", reader.bytes_total());
    let bytes_read = reader.bytes_read();
    let mut on_news = |news: News<'_>| match news {
        News::Bad(line) => bar.say(line),
        News::Note(note) => bar.say(note),
        News::Progress(_) => bar.set(bytes_read.get()),
    };
    import(reader, sink, &mut on_news).await.map_err(Exit::missing)
}

/// Appends to a log on servers; consumers fold it.
async fn into_log(
    reader: Reader,
    address: &KafkaAddress,
    into: &Into,
) -> Result<ImportReport, Exit> {
    let place = &into.source.place;
    let settings = KafkaSettings { linger_ms: IMPORT_LINGER_MS, ..place.settings()? };
    let log = servers::log(address, &settings, place.wait.wait).await?;
    let log: Arc<dyn EventLog> = log;
    let bar = Bar::new("looking for definitions in the log", 0);
    let on_searched = move |searched: Searched| {
        bar.set_of(searched.records, searched.records_total);
    };
    let definitions = Definitions::new(Arc::clone(&log), Box::new(on_searched));
    let clock = Arc::new(SystemClock);
    let registry = Registry::new();
    let (intake, intake_task) =
        Intake::start(IntakeConfig::default(), log, View::None, clock, &registry)
            .map_err(Exit::missing)?;
    let mut sink = IntakeSink::searching(intake.clone(), definitions);
    let read = read_into(reader, &mut sink).await;
    drop(sink);
    intake.close().await;
    intake_task.await.map_err(Exit::missing)?;
    read
}

/// Appends to the log of a directory and folds it: when this returns, the board is there.
async fn into_directory(reader: Reader, into: &Into) -> Result<ImportReport, Exit> {
    if into.source.place.store()?.is_some() {
        return Err(Exit::Usage(
            "an import appends to the log: name it with --log kafka://HOST:PORT".into(),
        ));
    }
    let dir = node::lock(&into.source.place.data.data)?;
    let node = Node::open(dir, into.limits.partitions, BadStore::FoldAnew)?;
    let registry = Registry::new();
    let (feed, publisher) = MemoryFeed::with_publisher(node::FEED_CHANGES_MAX);
    let log: Arc<dyn EventLog> = node.log.clone();
    let store: Arc<dyn ProjectionStore> = node.store.clone();
    let view = View::Store { store, feed: Box::new(feed.subscribe()) };
    let clock = Arc::new(SystemClock);
    let (intake, intake_task) = Intake::start(IntakeConfig::default(), log, view, clock, &registry)
        .map_err(Exit::missing)?;
    let consumer = node.consume(&into.limits.fold, publisher, &registry).await?;
    // What an interrupted import left in the log must be folded before anything is compared.
    node::catch_up(&consumer, node.log.as_ref(), "folding").await?;
    let read = {
        let mut sink = IntakeSink::new(intake.clone());
        tokio::select! {
            read = read_into(reader, &mut sink) => read,
            failure = consumer.failure() => Err(Exit::Missing(failure)),
        }
    };
    intake.close().await;
    intake_task.await.map_err(Exit::missing)?;
    let report = read?;
    node::catch_up(&consumer, node.log.as_ref(), "folding").await?;
    let deadline = Duration::from_millis(into.limits.shutdown.shutdown_ms_max);
    consumer.stop(deadline).await.map_err(Exit::missing)?;
    node.store.sync().await.map_err(Exit::missing)?;
    Ok(report)
}

fn conclude(report: &ImportReport, is_dry: bool) -> Result<(), Exit> {
    let ImportReport { read, appended, duplicates, refused, skipped, unnamed, .. } = report;
    if *unnamed > 0 {
        output::say(format_args!("and {unnamed} more refused lines"));
    }
    // A dry run appends nothing; what is left would be new, unless the log has it already.
    let (appended, done) = match is_dry {
        true => (read - duplicates - refused - skipped, "good"),
        false => (*appended, "appended"),
    };
    let skipped = match skipped {
        0 => String::new(),
        count => format!(", {count} test events of the platform skipped"),
    };
    output::say(format_args!(
        "{read} read, {appended} {done}, {duplicates} duplicates, {refused} refused{skipped}"
    ));
    match refused {
        0 => Ok(()),
        count => Err(Exit::No(format!("{count} lines were refused"))),
    }
}
