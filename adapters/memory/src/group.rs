//! The group of members of one process: exact, and able to lose a member, so that tests can have
//! two owners of one partition at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agon_ports::{Assignment, Commits, Group, GroupMember, GroupNews, PortError};
use agon_schema::{Topic, TopicPartition};
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// How long a member that was told to stop is waited for, unless the test says otherwise.
pub const RELEASE_TIMEOUT_MS_DEFAULT: u64 = 10_000;

/// A group of one process. Clones are the same group.
///
/// Every join and leave revokes all shares; when all members have released, or the release timeout
/// has passed, each gets a range of every topic's partitions. Who did not release in time is lost:
/// it has no share until it comes back by itself.
#[derive(Clone, Debug)]
pub struct MemoryGroup {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    partitions: u32,
    state: Mutex<State>,
    /// Changes whenever the state did, so that members look again.
    version: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    release_timeout: Duration,
    /// How many members ever joined: the number of the next one.
    joined: u64,
    members: BTreeMap<u64, Standing>,
    /// Lost members that hear nothing until they wake.
    silent: BTreeSet<u64>,
    /// While shares are revoked: until when members are waited for.
    deadline: Option<Instant>,
    committed: Assignment,
}

/// Where one member stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// Has nothing and works on nothing.
    Waiting,
    /// Has a share that it has not heard of.
    Given(BTreeSet<TopicPartition>),
    /// Works on its share.
    Owns(BTreeSet<TopicPartition>),
    /// Works on what is revoked, and has not heard that it is.
    Called,
    /// Heard that all is revoked, and has not released it.
    Stopping,
    /// Out of the group; `is_told` when it has heard that its share is revoked.
    Lost { is_told: bool },
}

impl MemoryGroup {
    /// A group without members for a log with so many partitions a topic.
    pub fn new(partitions: u32) -> MemoryGroup {
        let state = State {
            release_timeout: Duration::from_millis(RELEASE_TIMEOUT_MS_DEFAULT),
            joined: 0,
            members: BTreeMap::new(),
            silent: BTreeSet::new(),
            deadline: None,
            committed: Assignment::new(),
        };
        let (version, _) = watch::channel(0);
        MemoryGroup { shared: Arc::new(Shared { partitions, state: Mutex::new(state), version }) }
    }

    /// The same group, which waits this long for a member that was told to stop.
    #[must_use]
    pub fn with_release_timeout_ms(self, release_timeout_ms: u64) -> MemoryGroup {
        self.shared.lock().release_timeout = Duration::from_millis(release_timeout_ms);
        self
    }

    /// The numbers of the members, in the order in which they joined; the first of all is 0.
    pub fn members(&self) -> Vec<u64> {
        self.shared.lock().members.keys().copied().collect()
    }

    /// Revokes all shares and assigns them again, as if somebody had come and gone.
    pub fn rebalance(&self) {
        self.shared.change(|_| {});
    }

    /// Takes the share of a member away without a word, as when its process is stopped: others
    /// get it while this one goes on working. It hears nothing until [`MemoryGroup::wake`]. Answers
    /// whether this member owned anything; if not, nothing happens.
    pub fn lose(&self, member: u64) -> bool {
        let mut is_owner = false;
        self.shared.change(|state| {
            let Some(standing) = state.members.get_mut(&member) else { return };
            if matches!(standing, Standing::Owns(_) | Standing::Called) {
                *standing = Standing::Lost { is_told: false };
                state.silent.insert(member);
                is_owner = true;
            }
        });
        is_owner
    }

    /// Lets a lost member hear again: first that it was lost, then its new share.
    pub fn wake(&self, member: u64) {
        self.shared.lock().silent.remove(&member);
        self.shared.tell();
    }

    /// What the owners of partitions said of their stored positions.
    pub fn committed(&self) -> Assignment {
        self.shared.lock().committed.clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// Changes who is here, which revokes all shares.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        state.revoke();
        state.settle(self.partitions);
        drop(state);
        self.tell();
    }

    /// What a member hears now, else until when it waits at most before it looks again.
    fn hear(&self, member: u64) -> Result<GroupNews, Option<Instant>> {
        let mut state = self.lock();
        if state.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            state.give_up();
            state.settle(self.partitions);
            self.tell();
        }
        let deadline = state.deadline;
        if state.silent.contains(&member) {
            return Err(deadline);
        }
        let Some(standing) = state.members.get_mut(&member) else { return Err(deadline) };
        match standing {
            Standing::Given(share) => {
                let share = std::mem::take(share);
                *standing = Standing::Owns(share.clone());
                Ok(GroupNews::Assigned(share))
            }
            Standing::Called => {
                *standing = Standing::Stopping;
                Ok(GroupNews::Revoked { is_lost: false })
            }
            Standing::Lost { is_told: false } => {
                *standing = Standing::Waiting;
                drop(state);
                self.change(|_| {});
                Ok(GroupNews::Revoked { is_lost: true })
            }
            _ => Err(deadline),
        }
    }

    fn release(&self, member: u64) {
        let mut state = self.lock();
        let Some(standing) = state.members.get_mut(&member) else { return };
        match standing {
            Standing::Stopping => {
                *standing = Standing::Waiting;
                state.settle(self.partitions);
                drop(state);
                self.tell();
            }
            Standing::Lost { is_told: true } => {
                *standing = Standing::Waiting;
                drop(state);
                self.change(|_| {});
            }
            _ => {}
        }
    }
}

impl State {
    fn revoke(&mut self) {
        for standing in self.members.values_mut() {
            match standing {
                Standing::Given(_) => *standing = Standing::Waiting,
                Standing::Owns(_) => *standing = Standing::Called,
                _ => {}
            }
        }
        let deadline = Instant::now() + self.release_timeout;
        self.deadline.get_or_insert(deadline);
    }

    /// Goes on without the members that did not release.
    fn give_up(&mut self) {
        for standing in self.members.values_mut() {
            match standing {
                Standing::Called => *standing = Standing::Lost { is_told: false },
                Standing::Stopping => *standing = Standing::Lost { is_told: true },
                _ => {}
            }
        }
    }

    /// Assigns all partitions once nobody works on any.
    fn settle(&mut self, partitions: u32) {
        let is_busy =
            |standing: &Standing| matches!(standing, Standing::Called | Standing::Stopping);
        if self.deadline.is_none() || self.members.values().any(is_busy) {
            return;
        }
        self.deadline = None;
        let mut waiting: Vec<&mut Standing> =
            self.members.values_mut().filter(|standing| **standing == Standing::Waiting).collect();
        let count = waiting.len() as u32;
        for (index, standing) in waiting.iter_mut().enumerate() {
            **standing = Standing::Given(range(partitions, index as u32, count));
        }
    }
}

/// The share of the member at `index` of `members`: neighbouring partitions of every topic.
fn range(partitions: u32, index: u32, members: u32) -> BTreeSet<TopicPartition> {
    let (each, more) = (partitions / members, partitions % members);
    let from = index * each + index.min(more);
    let to = from + each + u32::from(index < more);
    let of_topic = |topic| (from..to).map(move |partition| TopicPartition { topic, partition });
    Topic::ALL.into_iter().flat_map(of_topic).collect()
}

#[async_trait]
impl Group for MemoryGroup {
    async fn join(&self) -> Result<Box<dyn GroupMember>, PortError> {
        let shared = Arc::clone(&self.shared);
        let version = shared.version.subscribe();
        let mut member = 0;
        shared.change(|state| {
            member = state.joined;
            state.joined += 1;
            state.members.insert(member, Standing::Waiting);
        });
        Ok(Box::new(MemoryMember { shared, member, version }))
    }
}

/// One member; dropping it is leaving.
#[derive(Debug)]
struct MemoryMember {
    shared: Arc<Shared>,
    member: u64,
    version: watch::Receiver<u64>,
}

#[async_trait]
impl GroupMember for MemoryMember {
    async fn next(&mut self) -> Result<GroupNews, PortError> {
        loop {
            self.version.borrow_and_update();
            match self.shared.hear(self.member) {
                Ok(news) => return Ok(news),
                // Either way, what there is to hear is looked up again; the sender lives in
                // `shared`, so the channel is never closed.
                Err(Some(deadline)) => drop(timeout_at(deadline, self.version.changed()).await),
                Err(None) => drop(self.version.changed().await),
            }
        }
    }

    async fn released(&mut self) {
        self.shared.release(self.member);
    }

    fn commits(&self) -> Arc<dyn Commits> {
        Arc::new(MemoryCommits { shared: Arc::clone(&self.shared), member: self.member })
    }

    async fn leave(self: Box<Self>) {}
}

impl Drop for MemoryMember {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.members.remove(&self.member);
            state.silent.remove(&self.member);
        });
    }
}

/// Keeps what the owner of a partition says of it, and drops what others say, as a broker does.
#[derive(Debug)]
struct MemoryCommits {
    shared: Arc<Shared>,
    member: u64,
}

impl Commits for MemoryCommits {
    fn commit(&self, next: Assignment) {
        let mut state = self.shared.lock();
        let State { members, committed, .. } = &mut *state;
        if let Some(Standing::Owns(share)) = members.get(&self.member) {
            committed.extend(next.into_iter().filter(|(source, _)| share.contains(source)));
        }
    }
}
