//! What the two sides of a member share: the thread that polls the broker, and the task that works.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agon_ports::{Assignment, GroupNews};
use agon_schema::TopicPartition;
use tokio::sync::Notify;

/// Partitions of one member.
pub(super) type Share = BTreeSet<TopicPartition>;

/// One member, as both sides see it.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// The work on what is revoked has ended, or the member leaves.
    released: Condvar,
    /// There is something to hear.
    told: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What the member has not heard; at most one revocation and one share.
    news: VecDeque<GroupNews>,
    /// What the member has, heard or not.
    share: Option<Share>,
    /// The broker's side waits for the member to release.
    is_awaited: bool,
    is_leaving: bool,
    /// Why the group refuses this member.
    refused: Option<String>,
    /// Stored positions that the broker was not told of.
    next: Assignment,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the member a share. It has none at the time.
    pub(super) fn assign(&self, share: Share) {
        self.assign_now(self.lock(), share);
    }

    /// The same, unless it has one.
    pub(super) fn assign_if_none(&self, share: Share) {
        let state = self.lock();
        if state.share.is_none() {
            self.assign_now(state, share);
        }
    }

    fn assign_now(&self, mut state: MutexGuard<'_, State>, share: Share) {
        state.news.push_back(GroupNews::Assigned(share.clone()));
        state.share = Some(share);
        drop(state);
        self.told.notify_one();
    }

    /// Takes the share away. Unless it is lost already, waits until the member has released it,
    /// for `patience` at most.
    pub(super) fn revoke(&self, is_lost: bool, patience: Duration) {
        let mut state = self.lock();
        state.next.clear();
        if state.share.take().is_none() {
            return;
        }
        if matches!(state.news.back(), Some(GroupNews::Assigned(_))) {
            // It never heard of the share, so it works on nothing.
            state.news.pop_back();
            return;
        }
        state.news.push_back(GroupNews::Revoked { is_lost });
        self.told.notify_one();
        if is_lost {
            return;
        }
        state.is_awaited = true;
        let is_busy = |state: &mut State| state.is_awaited && !state.is_leaving;
        let waited = self.released.wait_timeout_while(state, patience, is_busy);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut state.is_awaited) && !state.is_leaving {
            tracing::warn!(?patience, "a share was not released in time; the group goes on");
            if let Some(GroupNews::Revoked { is_lost }) = state.news.back_mut() {
                *is_lost = true;
            }
        }
    }

    /// Nothing of what was revoked, and heard to be, is worked on.
    pub(super) fn release(&self) {
        let mut state = self.lock();
        if !matches!(state.news.back(), Some(GroupNews::Revoked { .. })) {
            state.is_awaited = false;
            drop(state);
            self.released.notify_all();
        }
    }

    /// The oldest news; an error says why there will be no more.
    pub(super) fn hear(&self) -> Option<Result<GroupNews, String>> {
        let mut state = self.lock();
        match state.news.pop_front() {
            Some(news) => Some(Ok(news)),
            None => state.refused.clone().map(Err),
        }
    }

    /// Waits until there may be something to hear.
    pub(super) async fn told(&self) {
        self.told.notified().await;
    }

    /// There will be no more news.
    pub(super) fn refuse(&self, reason: String) {
        self.lock().refused = Some(reason);
        self.told.notify_one();
    }

    /// Nobody is waited for any more.
    pub(super) fn leave(&self) {
        self.lock().is_leaving = true;
        self.released.notify_all();
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.lock().is_leaving
    }

    /// Keeps the newest position of each partition that this member has.
    pub(super) fn keep(&self, next: Assignment) {
        let mut state = self.lock();
        let State { share: Some(share), next: kept, .. } = &mut *state else { return };
        kept.extend(next.into_iter().filter(|(source, _)| share.contains(source)));
    }

    /// Takes what the broker was not told of.
    pub(super) fn take(&self) -> Assignment {
        std::mem::take(&mut self.lock().next)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use agon_schema::Topic;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    const REVOKED: GroupNews = GroupNews::Revoked { is_lost: false };
    const LOST: GroupNews = GroupNews::Revoked { is_lost: true };

    fn share(partition: u32) -> Share {
        [TopicPartition { topic: Topic::Matches, partition }].into()
    }

    fn heard(shared: &Shared) -> Option<GroupNews> {
        shared.hear().map(Result::unwrap)
    }

    #[test]
    fn a_share_that_was_never_heard_of_is_no_news() {
        let shared = Shared::default();
        shared.assign(share(0));
        shared.revoke(false, PATIENCE);
        shared.assign(share(1));
        assert_eq!(heard(&shared), Some(GroupNews::Assigned(share(1))));
        assert_eq!(heard(&shared), None);
    }

    #[test]
    fn a_revocation_waits_for_its_release() {
        let shared = Arc::new(Shared::default());
        shared.assign(share(0));
        heard(&shared);
        let broker = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.revoke(false, PATIENCE)
        });
        // A release of something earlier does not count.
        let news = loop {
            shared.release();
            if let Some(news) = heard(&shared) {
                break news;
            }
        };
        assert_eq!(news, REVOKED);
        assert!(!broker.is_finished(), "nothing was released");
        shared.release();
        broker.join().unwrap();
    }

    #[test]
    fn who_is_lost_or_leaves_is_not_waited_for() {
        let shared = Shared::default();
        shared.assign(share(0));
        heard(&shared);
        shared.revoke(true, PATIENCE);
        assert_eq!(heard(&shared), Some(LOST));
        shared.assign(share(0));
        heard(&shared);
        shared.leave();
        shared.revoke(false, PATIENCE);
        assert_eq!(heard(&shared), Some(REVOKED));
    }

    #[test]
    fn who_hears_too_late_hears_that_it_is_lost() {
        let shared = Shared::default();
        shared.assign(share(0));
        heard(&shared);
        shared.revoke(false, Duration::from_millis(1));
        shared.assign(share(1));
        assert_eq!(heard(&shared), Some(LOST));
        assert_eq!(heard(&shared), Some(GroupNews::Assigned(share(1))));
    }

    #[test]
    fn positions_are_those_of_the_share() {
        let shared = Shared::default();
        let at = |partition, offset| {
            share(partition).into_iter().map(|source| (source, offset)).collect::<Assignment>()
        };
        shared.keep(at(0, 1));
        assert_eq!(shared.take(), Assignment::new(), "nothing is this member's");
        shared.assign(share(0));
        shared.keep(at(0, 2));
        shared.keep(at(0, 3));
        shared.keep(at(1, 4));
        assert_eq!(shared.take(), at(0, 3));
        shared.keep(at(0, 5));
        shared.revoke(true, PATIENCE);
        assert_eq!(shared.take(), Assignment::new(), "revoked meanwhile");
    }

    #[test]
    fn a_refusal_comes_after_the_news_and_stays() {
        let shared = Shared::default();
        shared.assign(share(0));
        shared.refuse("no".into());
        assert_eq!(heard(&shared), Some(GroupNews::Assigned(share(0))));
        for _ in 0..2 {
            assert_eq!(shared.hear(), Some(Err("no".into())));
        }
    }
}
