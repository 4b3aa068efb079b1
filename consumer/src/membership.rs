//! Life in a group: join, work on what is assigned, let go of what is revoked, leave.
//!
//! ```text
//!   joining ──> waiting ──assigned──> resuming ──> working ──revoked──> waiting …
//!                                        ^            │
//!                                        └─ overtaken ┘   somebody else stored what was folded
//! ```
//! Which partitions are worked on is the group's to say, from which offset is the store's. All
//! memory of a share ends with it, so that the next one begins from what is stored.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use agon_ports::{Clock, EventLog, Group, GroupMember, GroupNews, PortError, Retry};
use agon_schema::TopicPartition;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::crash::point;
use crate::error::{ConsumerError, Stopped};
use crate::flusher::pause;
use crate::share::{Ready, Share, Sources};
use crate::standing::{Phase, Standing};
use crate::worker::Shared;

/// How often in a row a share may be overtaken without storing anything in between. Whoever else
/// writes hears of its loss within a session; if it goes on, it is in no group with this one.
const OVERTAKEN_MAX: u32 = 10;

/// A consumer that is a member of a group.
pub(crate) struct Membership {
    pub(crate) shared: Shared,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) group: Arc<dyn Group>,
    pub(crate) standing: Arc<watch::Sender<Standing>>,
}

/// How the time with a share ended.
enum Over {
    /// The consumer is to stop, and everything of the share is stored.
    Stopped,
    /// The share is no longer this member's.
    Revoked,
    /// It is another one now.
    Anew(BTreeSet<TopicPartition>),
}

/// What ends the work on a share.
enum End {
    Stop,
    News(Result<GroupNews, PortError>),
    Failed(Stopped),
}

impl Membership {
    /// Works until told to stop, or until something is refused for good.
    pub(crate) async fn run(mut self) -> Result<(), ConsumerError> {
        let Some(mut member) = self.join().await? else { return Ok(()) };
        self.shared.commits = Some(member.commits());
        let ended = self.attend(member.as_mut()).await;
        self.standing.send_replace(Standing::new(Phase::Ended));
        member.leave().await;
        ended
    }

    /// Joins as soon as the log answers; `None` when told to stop before.
    async fn join(&self) -> Result<Option<Box<dyn GroupMember>>, ConsumerError> {
        let mut attempts = 0;
        loop {
            let joined = tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => return Ok(None),
                joined = self.group.join() => joined,
            };
            match joined {
                Ok(member) => return Ok(Some(member)),
                Err(error) if error.retry == Retry::Later => {
                    self.hindered(&error.to_string());
                    let stop = &self.shared.stop;
                    let pause = tokio::time::sleep(self.pause(attempts));
                    if stop.run_until_cancelled(pause).await.is_none() {
                        return Ok(None);
                    }
                    attempts = attempts.saturating_add(1);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn attend(&self, member: &mut dyn GroupMember) -> Result<(), ConsumerError> {
        let mut given = None;
        loop {
            let news = match given.take() {
                Some(sources) => GroupNews::Assigned(sources),
                None => {
                    self.standing.send_replace(Standing::new(Phase::Waiting));
                    tokio::select! {
                        biased;
                        () = self.shared.stop.cancelled() => return Ok(()),
                        news = member.next() => news?,
                    }
                }
            };
            match news {
                GroupNews::Revoked { .. } => member.released().await,
                GroupNews::Assigned(sources) => match self.own(member, Arc::new(sources)).await? {
                    Over::Stopped => return Ok(()),
                    Over::Revoked => member.released().await,
                    Over::Anew(sources) => given = Some(sources),
                },
            }
        }
    }

    /// Works on a share until it is revoked or the consumer is to stop.
    async fn own(
        &self,
        member: &mut dyn GroupMember,
        sources: Sources,
    ) -> Result<Over, ConsumerError> {
        let stop: &CancellationToken = &self.shared.stop;
        let mut overtaken = 0;
        loop {
            self.standing.send_replace(Standing::with(Phase::Resuming, &sources));
            let ready = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Over::Stopped),
                news = member.next() => return Ok(over(news?)),
                ready = self.take(&sources, overtaken) => ready?,
            };
            let mut share = Share::start(ready, &self.shared, &self.log, &self.clock).await;
            self.standing.send_replace(Standing::with(Phase::Working, &sources));
            let end = tokio::select! {
                biased;
                () = stop.cancelled() => End::Stop,
                news = member.next() => End::News(news),
                stopped = share.failed() => End::Failed(stopped),
            };
            match end {
                End::Stop => {
                    let finished = share.finish().await;
                    point(&self.shared.config, "shutdown.after_flush");
                    share.discard().await;
                    return unless_overtaken(finished).map(|()| Over::Stopped);
                }
                End::News(news) => return self.let_go(share, news).await,
                End::Failed(stopped) => {
                    overtaken = if share.has_stored() { 1 } else { overtaken + 1 };
                    share.discard().await;
                    match stopped {
                        Stopped::Overtaken(error) if overtaken <= OVERTAKEN_MAX => {
                            tracing::warn!(%error, "somebody else stored this; resumed from there");
                        }
                        stopped => return Err(stopped.into()),
                    }
                }
            }
        }
    }

    /// Resumes a share as soon as log and store answer.
    async fn take(&self, sources: &Sources, overtaken: u32) -> Result<Ready, ConsumerError> {
        if overtaken > 0 {
            tokio::time::sleep(self.pause(overtaken)).await;
        }
        let mut attempts = 0;
        loop {
            let Shared { config, store, .. } = &self.shared;
            match Ready::resume(config, self.log.as_ref(), store.as_ref(), sources).await {
                Err(error) if error.may_pass() => self.hindered(&error.to_string()),
                ready => return ready,
            }
            tokio::time::sleep(self.pause(attempts)).await;
            attempts = attempts.saturating_add(1);
        }
    }

    /// Stores what was folded, when there is time for that, and forgets everything.
    async fn let_go(
        &self,
        mut share: Share,
        news: Result<GroupNews, PortError>,
    ) -> Result<Over, ConsumerError> {
        let config = &self.shared.config;
        let mut finished = Ok(());
        if let Ok(GroupNews::Revoked { is_lost: false }) = news {
            point(config, "revoke.before_flush");
            let longest = Duration::from_millis(config.revoke_flush_ms_max);
            match tokio::time::timeout(longest, share.finish()).await {
                Ok(ended) => finished = unless_overtaken(ended),
                Err(_) => tracing::warn!("not all was stored in time; others fold the rest again"),
            }
            point(config, "revoke.after_flush");
        }
        share.discard().await;
        self.standing.send_replace(Standing::new(Phase::Waiting));
        point(config, "revoke.after_drop");
        finished.and(Ok(over(news?)))
    }

    fn hindered(&self, hindrance: &str) {
        tracing::warn!(hindrance, "log or store are away");
        self.standing.send_modify(|standing| standing.hindrance = Some(hindrance.to_owned()));
    }

    fn pause(&self, attempts: u32) -> Duration {
        pause(attempts, Duration::from_millis(self.shared.config.retry_max_ms))
    }
}

/// What news mean to who had a share until now.
fn over(news: GroupNews) -> Over {
    match news {
        GroupNews::Revoked { .. } => Over::Revoked,
        GroupNews::Assigned(sources) => Over::Anew(sources),
    }
}

/// At the end of a share it is no failure that somebody else has it already.
fn unless_overtaken(ended: Result<(), Stopped>) -> Result<(), ConsumerError> {
    match ended {
        Err(Stopped::Overtaken(error)) => {
            tracing::warn!(%error, "somebody else has stored this already");
            Ok(())
        }
        ended => Ok(ended?),
    }
}
