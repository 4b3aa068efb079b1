//! `agon init`: makes topics, keyspace and tables where they are absent. Nothing else ever does.

use agon_schema::topic::PARTITIONS_DEFAULT;

use crate::cli;
use crate::exit::Exit;
use crate::{output, servers};

/// Makes what is absent, and refuses what is there but differs.
///
/// # Errors
/// When a server is away for longer than `--wait`, or holds something that differs.
pub async fn run(options: cli::Init) -> Result<(), Exit> {
    let (kafka, wait) = (&options.servers.log, options.servers.wait.wait);
    let (settings, cql) = (options.servers.settings()?, options.servers.store()?);
    let topics = agon_kafka::InitSettings {
        partitions: options.partitions.unwrap_or(PARTITIONS_DEFAULT),
        replication: options.replication,
        changes_retention_ms: i64::try_from(options.changes_retention.as_millis())
            .map_err(Exit::usage)?,
    };
    let made = servers::patiently(
        wait,
        || agon_kafka::init(kafka, &settings, topics),
        agon_kafka::OpenError::may_pass,
    );
    let report = made.await?;
    let (made, found) = (report.made.len(), report.found.len());
    output::say(format_args!("{kafka}: {made} topics made, {found} were there"));
    let log = servers::log(kafka, &settings, wait).await?;
    if options.new_epoch {
        servers::must_be_idle(kafka, &settings, "a new epoch empties the tables").await?;
    }
    let tables = agon_scylla::InitSettings {
        replication: options.replication,
        log: servers::facts(&log),
        new_epoch: options.new_epoch,
    };
    let made =
        servers::patiently(wait, || agon_scylla::init(&cql, tables), servers::store_may_pass());
    let report = made.await?;
    let keyspace = if report.keyspace_made { "keyspace made" } else { "keyspace was there" };
    let (migrations, epoch) = (report.migrations, report.log_epoch);
    output::say(format_args!("{cql}: {keyspace}, {migrations} migrations made, epoch {epoch}"));
    Ok(())
}
