//! `agon stats`: the statistics of the stream, from a directory, a store or a running server.

use agon_api::{StatsQuery, StreamCounts, stats_body};
use agon_ports::scan_all;
use agon_projections::CellKey;
use agon_projections::row_bytes::Prefix;
use agon_projections::window::Span;
use agon_schema::Timestamp;
use serde_json::Value;

use crate::cli::{self, StatsFormat, StatsWindow};
use crate::exit::Exit;
use crate::output;
use crate::place::Opened;
use crate::remote::Remote;

/// Servers that the table shows; json has all.
const SERVERS_SHOWN: usize = 20;

/// Prints the statistics.
///
/// # Errors
/// When the directory or the server cannot be read.
pub async fn run(options: cli::Stats) -> Result<(), Exit> {
    let body = match Remote::of(&options.source)? {
        Some(remote) => from_server(&remote, &options).await?,
        None => from_store(&options).await?,
    };
    match options.format {
        StatsFormat::Json => output::line(body),
        StatsFormat::Table => print_table(&body),
    }
}

fn window(options: &cli::Stats) -> Option<Span> {
    options.window.map(|window| match window {
        StatsWindow::Minute => Span::Minute,
        StatsWindow::Hour => Span::Hour,
        StatsWindow::Day => Span::Day,
    })
}

async fn from_server(remote: &Remote, options: &cli::Stats) -> Result<String, Exit> {
    let limit = options.limit.to_string();
    let window = window(options).map(|span| ("window", span.text()));
    let query: Vec<_> = window.into_iter().chain([("limit", limit.as_str())]).collect();
    remote.get("/api/v1/stats", &query).await
}

async fn from_store(options: &cli::Stats) -> Result<String, Exit> {
    let opened = Opened::open(&options.source.place).await?;
    let log = opened.identity;
    let mut cells = Vec::new();
    for partition in 0..log.partitions {
        let mut rows = Vec::new();
        for table in StreamCounts::TABLES {
            let prefix = Prefix::Cell(table, CellKey::Stream(partition));
            rows.extend(scan_all(opened.store()?, prefix).await.map_err(Exit::missing)?);
        }
        cells.push((partition, StreamCounts::from_rows(rows)));
    }
    let query = StatsQuery { window: window(options), limit: options.limit.into() };
    let body = stats_body(log, query, Timestamp::now(), &cells);
    String::from_utf8(body).map_err(Exit::missing)
}

fn print_table(body: &str) -> Result<(), Exit> {
    let stats: Value = serde_json::from_str(body).map_err(Exit::missing)?;
    if let Value::Object(window) = &stats["window"] {
        let text = |name| window.get(name).and_then(Value::as_str).unwrap_or("-");
        let (span, from, to) = (text("span"), text("from"), text("to"));
        output::line(format_args!("{:16} {span}, {from} to {to}", "window"))?;
    }
    for name in ["messages", "distinct_users", "bots", "non_bots", "rejected"] {
        let error = stats["distinct_users_error"].as_f64().unwrap_or(0.0);
        let is_estimate = name == "distinct_users" && error > 0.0;
        let error = if is_estimate { format!(" ± {:.2} %", error * 100.0) } else { String::new() };
        if !stats[name].is_null() {
            output::line(format_args!("{name:16} {}{error}", stats[name]))?;
        }
    }
    print_servers(&stats)?;
    print_users(&stats)
}

fn print_servers(stats: &Value) -> Result<(), Exit> {
    let Value::Object(servers) = &stats["by_server_name"] else { return Ok(()) };
    output::line(format_args!("{:16} {}", "servers", servers.len()))?;
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let mut servers: Vec<_> = servers.iter().map(|(name, value)| (count(value), name)).collect();
    servers.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    for (messages, name) in servers.into_iter().take(SERVERS_SHOWN) {
        output::line(format_args!("  {messages:>10} {name}"))?;
    }
    Ok(())
}

/// The busiest users; a window has no such list.
fn print_users(stats: &Value) -> Result<(), Exit> {
    let Value::Array(users) = &stats["top_users"] else { return Ok(()) };
    let error = &stats["top_users_error"];
    output::line(format_args!("{:16} {} (at most {error} too many)", "top users", users.len()))?;
    for user in users {
        // People choose their names: a terminal is not to obey them.
        let shown = |char: char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char };
        let name: String = user["user"].as_str().unwrap_or("").chars().map(shown).collect();
        let messages = user["messages"].as_u64().unwrap_or(0);
        output::line(format_args!("  {messages:>10} {name}"))?;
    }
    Ok(())
}
