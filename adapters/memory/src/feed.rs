//! The change feed within one process: a bounded channel from those who fold to those who show.

use agon_ports::{Change, ChangePublisher, ChangeSubscriber, Heard};
use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Where subscribers come from. It publishes nothing, so the feed ends with its last publisher.
#[derive(Clone, Debug)]
pub struct MemoryFeed(broadcast::WeakSender<Change>);

/// The sending side. Clones publish to the same feed.
#[derive(Clone, Debug)]
pub struct MemoryPublisher(broadcast::Sender<Change>);

/// One listening side.
#[derive(Debug)]
pub struct MemorySubscriber(broadcast::Receiver<Change>);

impl MemoryFeed {
    /// A feed and its first publisher. A subscriber that is more than `changes_max` behind, which
    /// is rounded up to a power of two and is at least 1, misses the oldest.
    pub fn with_publisher(changes_max: usize) -> (MemoryFeed, MemoryPublisher) {
        let (sender, _) = broadcast::channel(changes_max.max(1));
        (MemoryFeed(sender.downgrade()), MemoryPublisher(sender))
    }

    /// Hears what is published from now on; nothing but the end when nobody publishes any more.
    pub fn subscribe(&self) -> MemorySubscriber {
        let receiver = match self.0.upgrade() {
            Some(sender) => sender.subscribe(),
            None => broadcast::channel(1).1,
        };
        MemorySubscriber(receiver)
    }
}

#[async_trait]
impl ChangePublisher for MemoryPublisher {
    async fn publish(&self, change: Change) {
        // An error says that nobody listens at present.
        let _ = self.0.send(change);
    }
}

#[async_trait]
impl ChangeSubscriber for MemorySubscriber {
    async fn next(&mut self) -> Heard {
        match self.0.recv().await {
            Ok(change) => Heard::Change(change),
            Err(RecvError::Lagged(_)) => Heard::Missed,
            Err(RecvError::Closed) => Heard::Closed,
        }
    }
}
