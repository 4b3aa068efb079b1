//! The group: consumers of several processes that share the partitions of one log.

use std::collections::BTreeSet;
use std::sync::Arc;

use agon_schema::TopicPartition;
use async_trait::async_trait;

use crate::{Assignment, PortError};

/// What a member hears of its share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupNews {
    /// These partitions are this member's from now on, until they are revoked. May be empty.
    Assigned(BTreeSet<TopicPartition>),
    /// Nothing is this member's any more. The member finishes what it can and says
    /// [`GroupMember::released`]; others wait for that, but not for ever.
    Revoked {
        /// Another member may own them already: this one was silent for too long.
        is_lost: bool,
    },
}

/// Where members of one group meet.
///
/// - Every partition of the log is assigned to at most one member that answers in time. A member
///   that was silent for longer than the session timeout loses its share without being asked, so
///   two may believe for a while that they own the same partition: the store makes that harmless.
/// - News alternate: assigned, revoked, assigned, …
/// - Membership says who works where. It never says from which offset: that is the store's.
#[async_trait]
pub trait Group: Send + Sync {
    /// Joins; the first news come when the members have agreed.
    ///
    /// # Errors
    /// `Retry::Later` when the log is away, `Retry::Never` when it refuses this member.
    async fn join(&self) -> Result<Box<dyn GroupMember>, PortError>;
}

/// One member.
#[async_trait]
pub trait GroupMember: Send {
    /// Waits for the next news. Cancelling the call loses nothing.
    ///
    /// # Errors
    /// `Retry::Never` when the group refuses this member; outages are waited for.
    async fn next(&mut self) -> Result<GroupNews, PortError>;

    /// Nothing of what was revoked is worked on any more: others may have it.
    async fn released(&mut self);

    /// Where stored positions are told to the log.
    fn commits(&self) -> Arc<dyn Commits>;

    /// Leaves, so that others take over at once.
    async fn leave(self: Box<Self>);
}

/// Tells the log how far partitions are stored, for displays of lag. Nothing is ever resumed from
/// it, so it is best effort: it neither waits nor fails.
pub trait Commits: Send + Sync {
    /// The first offset of each partition that is not stored yet.
    fn commit(&self, next: Assignment);
}
