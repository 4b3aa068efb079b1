//! `agon stats`: the statistics of the stream, from a directory, a store or a running server.

use agon_api::{StreamCounts, stats_body};
use agon_ports::scan_all;
use agon_projections::row_bytes::Prefix;
use agon_projections::{CellKey, Table};
use serde_json::Value;

use crate::cli::{self, StatsFormat};
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
        Some(remote) => remote.get("/api/v1/stats", &[]).await?,
        None => from_store(&options).await?,
    };
    match options.format {
        StatsFormat::Json => output::line(body),
        StatsFormat::Table => print_table(&body),
    }
}

async fn from_store(options: &cli::Stats) -> Result<String, Exit> {
    let opened = Opened::open(&options.source.place).await?;
    let log = opened.identity;
    let mut cells = Vec::new();
    for partition in 0..log.partitions {
        let mut rows = Vec::new();
        for table in [Table::Heads, Table::Servers] {
            let prefix = Prefix::Cell(table, CellKey::Stream(partition));
            rows.extend(scan_all(opened.store()?, prefix).await.map_err(Exit::missing)?);
        }
        cells.push((partition, StreamCounts::from_rows(rows)));
    }
    let body = stats_body(log, cells.iter().map(|(partition, counts)| (*partition, counts)));
    String::from_utf8(body).map_err(Exit::missing)
}

fn print_table(body: &str) -> Result<(), Exit> {
    let stats: Value = serde_json::from_str(body).map_err(Exit::missing)?;
    for name in ["messages", "distinct_users", "bots", "non_bots", "rejected"] {
        output::line(format_args!("{name:16} {}", stats[name]))?;
    }
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
