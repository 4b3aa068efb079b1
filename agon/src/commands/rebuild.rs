//! `agon rebuild`: the store anew from the log, in a directory or on servers.

use std::time::Duration;

use agon_consumer::Consumer;
use agon_embedded::store::EmbeddedStore;
use agon_kafka::KafkaAddress;
use agon_memory::MemoryFeed;
use agon_ports::EventLog;
use agon_scylla::CqlAddress;
use prometheus::Registry;

use crate::cli::Rebuild;
use crate::exit::Exit;
use crate::node::{self, BadStore, Node};
use crate::{output, servers};

/// Removes the store and folds the whole log.
///
/// # Errors
/// When directory or servers are in use, or the log cannot be read.
pub async fn run(options: Rebuild) -> Result<(), Exit> {
    match (&options.place.log, options.place.store()?) {
        (Some(log), Some(store)) => on_servers(log, &store, &options).await,
        (None, None) => in_directory(&options).await,
        _ => Err(Exit::Usage("name both --log and --store, or a directory with --data".into())),
    }
}

/// Folds everything in this process alone, so nobody else may: a consumer that went on would
/// store what it holds in memory over tables that were just emptied.
async fn on_servers(
    address: &KafkaAddress,
    store: &CqlAddress,
    options: &Rebuild,
) -> Result<(), Exit> {
    let (settings, wait) = (options.place.settings()?, options.place.wait.wait);
    let log = servers::log(address, &settings, wait).await?;
    servers::must_be_idle(address, &settings, "a rebuild empties the tables").await?;
    // Opened first: a store of another log is refused before anything of it goes.
    servers::store(store, servers::facts(&log), wait).await?;
    agon_scylla::wipe(store).await.map_err(Exit::missing)?;
    let store = servers::store(store, servers::facts(&log), wait).await?;
    let consumer = servers::fold_alone(log.clone(), store, &options.limits.fold).await?;
    finish(consumer, log.as_ref(), options).await
}

async fn in_directory(options: &Rebuild) -> Result<(), Exit> {
    node::must_exist(&options.place.data.data)?;
    let dir = node::lock(&options.place.data.data)?;
    // The log comes first: when it cannot be read, the store is all there is.
    let log = node::open_log(&dir, options.limits.partitions)?;
    EmbeddedStore::wipe(node::store_dir(&dir)).map_err(Exit::missing)?;
    let node = Node::with_log(dir, log, BadStore::FoldAnew)?;
    let (_feed, publisher) = MemoryFeed::with_publisher(node::FEED_CHANGES_MAX);
    let consumer = node.consume(&options.limits.fold, publisher, &Registry::new()).await?;
    finish(consumer, node.log.as_ref(), options).await
}

async fn finish(consumer: Consumer, log: &dyn EventLog, options: &Rebuild) -> Result<(), Exit> {
    node::catch_up(&consumer, log, "folding").await?;
    let records = consumer.reached().records();
    let deadline = Duration::from_millis(options.limits.shutdown.shutdown_ms_max);
    consumer.stop(deadline).await.map_err(Exit::missing)?;
    output::say(format_args!("folded {records} records anew"));
    Ok(())
}
