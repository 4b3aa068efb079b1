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
    EmbeddedStore::wipe(&dir.path().join("store")).map_err(Exit::missing)?;
    let node = Node::open(dir, options.limits.partitions, BadStore::FoldAnew)?;
    let feed = MemoryFeed::default();
    let consumer = node.consume(&options.limits, &feed, &Registry::new()).await?;
    node::catch_up(&consumer, node.log.as_ref(), "folding").await?;
    let records = consumer.reached().records();
    let deadline = Duration::from_millis(options.limits.shutdown_ms_max);
    consumer.stop(deadline).await.map_err(Exit::missing)?;
    output::say(format_args!("folded {records} records anew"));
    Ok(())
}
