//! `agon rebuild`: the store anew from the log.

use std::time::Duration;

use agon_embedded::store::EmbeddedStore;
use agon_memory::MemoryFeed;
use prometheus::Registry;

use crate::cli::Rebuild;
use crate::exit::Exit;
use crate::node::{self, BadStore, Node};
use crate::output;

/// Removes the store and folds the whole log.
///
/// # Errors
/// When the directory is in use or its log cannot be read.
pub async fn run(options: Rebuild) -> Result<(), Exit> {
    node::must_exist(&options.data.data)?;
    let dir = node::lock(&options.data.data)?;
    // The log comes first: when it cannot be read, the store is all there is.
    let log = node::open_log(&dir, options.limits.partitions)?;
    EmbeddedStore::wipe(node::store_dir(&dir)).map_err(Exit::missing)?;
    let node = Node::with_log(dir, log, BadStore::FoldAnew)?;
    let (_feed, publisher) = MemoryFeed::with_publisher(node::FEED_CHANGES_MAX);
    let consumer = node.consume(&options.limits, publisher, &Registry::new()).await?;
    node::catch_up(&consumer, node.log.as_ref(), "folding").await?;
    let records = consumer.reached().records();
    let deadline = Duration::from_millis(options.limits.shutdown_ms_max);
    consumer.stop(deadline).await.map_err(Exit::missing)?;
    output::say(format_args!("folded {records} records anew"));
    Ok(())
}
