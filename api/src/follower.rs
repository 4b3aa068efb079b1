//! The one task that hears the change feed and carries its news to the cells in memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agon_ports::{Change, ChangeSubscriber, Heard as FeedHeard, scan_all};
use agon_projections::row_bytes::Prefix;
use agon_projections::{CellKey, RowKey, Table};
use agon_schema::TopicPartition;

use crate::api::{Inner, RETRY_MS};
use crate::held::slot::{Heard, News};

/// Follows the feed until it ends.
pub(crate) async fn follow(inner: Arc<Inner>, mut feed: Box<dyn ChangeSubscriber>) {
    inner.catch_up().await;
    loop {
        match feed.next().await {
            FeedHeard::Change(Change::Moved { cell, from, to, rows }) => {
                inner.moved(&cell, News { from, to, rows });
            }
            FeedHeard::Change(Change::Progress { source, applied, appended_at_ms }) => {
                inner.hearing.hear(source);
                // Said again it is a heartbeat: nothing became visible.
                if inner.progress.raise(source, applied) {
                    inner.observe_latency(appended_at_ms);
                }
            }
            FeedHeard::Change(Change::Reload { source }) => {
                inner.hearing.hear(source);
                inner.reload(source);
            }
            FeedHeard::Missed => inner.catch_up().await,
            FeedHeard::Closed => {
                inner.feed_is_closed.store(true, Ordering::Relaxed);
                tracing::warn!("the change feed has ended; boards stay as they are");
                return;
            }
        }
    }
}

impl Inner {
    fn moved(self: &Arc<Inner>, cell: &CellKey, news: News) {
        self.hearing.hear(cell.source(self.log.partitions));
        let Some(slot) = self.boards.find(cell) else { return };
        match slot.hear(news) {
            Heard::Moved { is_resized: true } => self.boards.review(&self.metrics),
            Heard::Moved { is_resized: false } | Heard::Quiet => {}
            Heard::Lost => self.load(slot),
        }
    }

    /// Has the cells in memory that are folded from a partition read again.
    fn reload(self: &Arc<Inner>, source: TopicPartition) {
        for slot in self.boards.all() {
            if slot.key().source(self.log.partitions) == source && slot.lose() {
                self.load(slot);
            }
        }
    }

    fn observe_latency(&self, appended_at_ms: i64) {
        let latency_ms = (self.clock.now().micros() / 1000).saturating_sub(appended_at_ms);
        let latency_s = latency_ms.max(0) as f64 / 1000.0;
        self.metrics.visible_latency.observe(latency_s);
        self.metrics.behind.set(latency_s);
    }

    /// Reads progress and has every cell in memory read again. Cells are told after the progress
    /// was read and before it is made known: so none shows less than the progress says.
    async fn catch_up(self: &Arc<Inner>) {
        let (mut delay_ms, delay_ms_max) = RETRY_MS;
        let rows = loop {
            match scan_all(self.store.as_ref(), Prefix::Table(Table::Progress)).await {
                Ok(rows) => break rows,
                Err(error) => tracing::warn!(%error, "the progress was not read; trying again"),
            }
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            delay_ms = (delay_ms * 2).min(delay_ms_max);
        };
        for slot in self.boards.all() {
            if slot.lose() {
                self.load(slot);
            }
        }
        for row in &rows {
            if let RowKey::Progress(source) = row.key {
                self.hearing.expect(source);
            }
        }
        self.progress.load(&rows);
    }
}
