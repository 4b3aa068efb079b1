//! `agon board`: a leaderboard, from a directory, a store or a running server.

use agon_api::{BoardQuery, leaderboard_body};
use agon_ports::scan_all;
use agon_projections::board::Board;
use agon_projections::row_bytes::Prefix;
use agon_projections::{CellKey, Table};
use agon_schema::{BenchmarkId, EnvironmentId};
use serde_json::Value;

use crate::cli::{self, TableFormat};
use crate::exit::Exit;
use crate::output;
use crate::place::Opened;
use crate::remote::Remote;

/// Prints the board.
///
/// # Errors
/// Exit code 1 when there is no such board.
pub async fn run(options: cli::Board) -> Result<(), Exit> {
    let body = match Remote::of(&options.source)? {
        Some(remote) => from_server(&remote, &options).await?,
        None => from_store(&options).await?,
    };
    match options.format {
        TableFormat::Json => output::line(body),
        TableFormat::Table => print_table(&body),
        TableFormat::Csv => print_csv(&body),
    }
}

async fn from_server(remote: &Remote, options: &cli::Board) -> Result<String, Exit> {
    let limit = options.limit.to_string();
    let board = match (&options.environment, &options.benchmark) {
        (_, Some(id)) => ("benchmark", id.as_str()),
        (id, None) => ("environment", id.as_deref().unwrap_or_default()),
    };
    remote.get("/api/v1/leaderboard", &[board, ("limit", &limit)]).await
}

fn cell(options: &cli::Board) -> Result<CellKey, Exit> {
    let wrong =
        |option: &str, id: &str, error: String| Exit::Usage(format!("--{option} {id:?} {error}"));
    match (&options.environment, &options.benchmark) {
        (_, Some(id)) => BenchmarkId::new(id.as_str())
            .map(CellKey::Benchmark)
            .map_err(|error| wrong("benchmark", id, error.to_string())),
        (id, None) => {
            let id = id.as_deref().unwrap_or_default();
            EnvironmentId::new(id)
                .map(CellKey::Environment)
                .map_err(|error| wrong("environment", id, error.to_string()))
        }
    }
}

async fn from_store(options: &cli::Board) -> Result<String, Exit> {
    let cell = cell(options)?;
    let opened = Opened::open(&options.source.place).await?;
    let mut rows = Vec::new();
    for table in [Table::Heads, Table::Entrants] {
        let prefix = Prefix::Cell(table, cell.clone());
        rows.extend(scan_all(opened.store()?, prefix).await.map_err(Exit::missing)?);
    }
    let board = Board::from_rows(cell.clone(), rows);
    let mut query = BoardQuery::of(cell);
    query.limit = options.limit.into();
    let body = leaderboard_body(&board, opened.identity, &query)
        .map_err(|error| Exit::No(error.to_string()))?;
    String::from_utf8(body).map_err(Exit::missing)
}

/// The columns of a board: ratings or scores.
fn columns(entries: &[Value]) -> &'static [&'static str] {
    match entries.first() {
        Some(entry) if entry.get("score").is_some() => {
            &["rank", "agent", "score", "submissions", "submission_id"]
        }
        _ => &["rank", "agent", "rating", "games", "wins", "draws", "losses", "last_played_at"],
    }
}

fn entries(body: &str) -> Result<(Value, Vec<Value>), Exit> {
    let mut board: Value = serde_json::from_str(body).map_err(Exit::missing)?;
    let entries = match board["entries"].take() {
        Value::Array(entries) => entries,
        _ => return Err(Exit::missing("the answer is no leaderboard")),
    };
    Ok((board, entries))
}

fn text(entry: &Value, column: &str) -> String {
    match &entry[column] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn print_table(body: &str) -> Result<(), Exit> {
    let (board, entries) = entries(body)?;
    let columns = columns(&entries);
    let mut lines = vec![columns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()];
    lines.extend(entries.iter().map(|entry| columns.iter().map(|c| text(entry, c)).collect()));
    let width = |column: usize| {
        lines.iter().map(|line: &Vec<String>| line[column].chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    for line in &lines {
        let cells = line.iter().zip(columns).zip(&widths).map(|((text, column), width)| {
            let pad = " ".repeat(width - text.chars().count());
            match *column {
                "agent" | "submission_id" | "last_played_at" => format!("{text}{pad}"),
                _ => format!("{pad}{text}"),
            }
        });
        output::line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    output::say(format_args!("{} of {}", entries.len(), board["total"]));
    Ok(())
}

fn print_csv(body: &str) -> Result<(), Exit> {
    let (_, entries) = entries(body)?;
    let columns = columns(&entries);
    output::line(columns.join(","))?;
    for entry in &entries {
        let cells = columns.iter().map(|column| quoted(&text(entry, column)));
        output::line(cells.collect::<Vec<_>>().join(","))?;
    }
    Ok(())
}

/// A field as RFC 4180 has it.
fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
