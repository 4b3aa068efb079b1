//! The suite of [`Group`] and [`GroupMember`].

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use agon_schema::{Topic, TopicPartition};
use async_trait::async_trait;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{PATIENCE, abandon_after};
use crate::{Assignment, Group, GroupMember, GroupNews};

/// Gives the suite one group, which has no members at first.
#[async_trait]
pub trait GroupFixture: Send {
    /// Partitions of every topic of the log that the group shares; at least 2.
    fn partitions(&self) -> u32;

    /// The group as one process has it; every call is another process.
    async fn group(&mut self) -> Arc<dyn Group>;

    /// What was told to the log of stored positions.
    async fn committed(&mut self) -> Assignment;
}

/// Makes the tests that every group passes: `group_conformance!(make_fixture);`, where the
/// function answers a [`GroupFixture`](crate::conformance::group::GroupFixture). A member that
/// does not release should be given up within seconds.
#[macro_export]
macro_rules! group_conformance {
    ($make:expr $(, skipped_when: $is_absent:expr)?) => {
        $crate::conformance_cases! {
            group_conformance,
            $make $(, skipped_when: $is_absent)?;
            group::one_member_gets_every_partition,
            group::shares_are_disjoint_and_complete,
            group::a_second_member_takes_its_part,
            group::the_part_of_a_member_that_leaves_is_taken,
            group::a_member_that_is_dropped_has_left,
            group::news_alternate,
            group::cancelling_next_loses_nothing,
            group::an_empty_share_is_told,
            group::a_member_that_does_not_release_holds_up_nobody_for_ever,
            group::commits_are_told_to_the_log,
        }
    };
}

type Share = BTreeSet<TopicPartition>;

/// All partitions that somebody works on.
type Owned = Arc<Mutex<Share>>;

fn all(fixture: &impl GroupFixture) -> Share {
    TopicPartition::all(fixture.partitions()).collect()
}

async fn join(fixture: &mut impl GroupFixture) -> Box<dyn GroupMember> {
    let group = fixture.group().await;
    timeout(PATIENCE, group.join()).await.expect("join answers").expect("the group takes members")
}

async fn hear(member: &mut Box<dyn GroupMember>) -> GroupNews {
    timeout(PATIENCE, member.next()).await.expect("next answers").expect("the group goes on")
}

async fn hear_share(member: &mut Box<dyn GroupMember>) -> Share {
    match hear(member).await {
        GroupNews::Assigned(share) => share,
        revoked => panic!("no share: {revoked:?}"),
    }
}

/// A member that works by itself: owns what it hears of and releases what is revoked. It fails
/// when somebody who answers still owns what it was given, or when news do not alternate.
struct Running {
    share: watch::Receiver<Option<Share>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<usize>,
}

fn run(mut member: Box<dyn GroupMember>, owned: &Owned) -> Running {
    let (tell, share) = watch::channel(None);
    let (stop, mut stopped) = oneshot::channel();
    let owned = Arc::clone(owned);
    let task = tokio::spawn(async move {
        let mut heard = 0;
        let mut mine: Option<Share> = None;
        loop {
            let news = tokio::select! {
                news = member.next() => news.expect("the group goes on"),
                _ = &mut stopped => break,
            };
            heard += 1;
            match (news, mine.take()) {
                (GroupNews::Assigned(given), None) => {
                    take(&owned, &given);
                    mine = Some(given);
                }
                (GroupNews::Revoked { is_lost: false }, Some(gone)) => {
                    give_back(&owned, &gone);
                    tell.send_replace(None);
                    member.released().await;
                }
                (news, mine) => panic!("{news:?} to a member that has {mine:?}"),
            }
            tell.send_replace(mine.clone());
        }
        give_back(&owned, &mine.unwrap_or_default());
        timeout(PATIENCE, member.leave()).await.expect("leave answers");
        heard
    });
    Running { share, stop, task }
}

fn take(owned: &Owned, share: &Share) {
    let mut owned = owned.lock().unwrap_or_else(PoisonError::into_inner);
    for source in share {
        assert!(owned.insert(*source), "{source} has two owners");
    }
}

fn give_back(owned: &Owned, share: &Share) {
    let mut owned = owned.lock().unwrap_or_else(PoisonError::into_inner);
    owned.retain(|source| !share.contains(source));
}

impl Running {
    /// Leaves and answers how many news were heard.
    async fn stop(self) -> usize {
        let _ = self.stop.send(());
        timeout(PATIENCE, self.task).await.expect("the member ends").expect("no law is broken")
    }
}

/// Waits until these members have everything between them, and answers the shares.
async fn settled(members: &mut [Running], all: &Share) -> Vec<Share> {
    let wait = async {
        loop {
            let shares: Vec<_> =
                members.iter().map(|member| member.share.borrow().clone()).collect();
            let count: usize = shares.iter().flatten().map(BTreeSet::len).sum();
            if shares.iter().all(Option::is_some) && count == all.len() {
                return shares.into_iter().flatten().collect::<Vec<_>>();
            }
            for member in &mut *members {
                assert!(!member.task.is_finished(), "a member has failed");
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the members have everything between them")
}

fn union(shares: &[Share]) -> Share {
    shares.iter().flatten().copied().collect()
}

/// Who is alone works on everything.
pub async fn one_member_gets_every_partition(mut fixture: impl GroupFixture) {
    let mut member = join(&mut fixture).await;
    assert_eq!(hear_share(&mut member).await, all(&fixture));
    member.leave().await;
}

/// Every partition has one owner.
pub async fn shares_are_disjoint_and_complete(mut fixture: impl GroupFixture) {
    let (owned, all) = (Owned::default(), all(&fixture));
    let mut members = Vec::new();
    for count in 1..=3 {
        members.push(run(join(&mut fixture).await, &owned));
        let shares = settled(&mut members, &all).await;
        assert_eq!((shares.len(), union(&shares)), (count, all.clone()));
    }
    for member in members {
        member.stop().await;
    }
}

/// The first is asked for its share, and both get a part of it once it has released.
pub async fn a_second_member_takes_its_part(mut fixture: impl GroupFixture) {
    let all = all(&fixture);
    let mut first = join(&mut fixture).await;
    assert_eq!(hear_share(&mut first).await, all);
    let second = run(join(&mut fixture).await, &Owned::default());
    assert_eq!(hear(&mut first).await, GroupNews::Revoked { is_lost: false });
    assert_eq!(*second.share.borrow(), None, "assigned before it was released");
    first.released().await;
    let mut members = [run(first, &Owned::default()), second];
    let shares = settled(&mut members, &all).await;
    assert_eq!(union(&shares), all);
    assert!(shares.iter().all(|share| !share.is_empty()), "{shares:?}");
    for member in members {
        member.stop().await;
    }
}

/// What a member had that left is worked on by the others.
pub async fn the_part_of_a_member_that_leaves_is_taken(mut fixture: impl GroupFixture) {
    let (owned, all) = (Owned::default(), all(&fixture));
    let mut members =
        vec![run(join(&mut fixture).await, &owned), run(join(&mut fixture).await, &owned)];
    settled(&mut members, &all).await;
    members.remove(0).stop().await;
    assert_eq!(settled(&mut members, &all).await, [all]);
    members.remove(0).stop().await;
}

/// A member whose task was cancelled holds nothing.
pub async fn a_member_that_is_dropped_has_left(mut fixture: impl GroupFixture) {
    let all = all(&fixture);
    let mut first = join(&mut fixture).await;
    assert_eq!(hear_share(&mut first).await, all);
    drop(first);
    let mut second = join(&mut fixture).await;
    assert_eq!(hear_share(&mut second).await, all);
    second.leave().await;
}

/// Assigned, revoked, assigned, whoever comes and goes meanwhile.
pub async fn news_alternate(mut fixture: impl GroupFixture) {
    let (owned, all) = (Owned::default(), all(&fixture));
    let mut members = vec![run(join(&mut fixture).await, &owned)];
    settled(&mut members, &all).await;
    for _ in 0..3 {
        members.push(run(join(&mut fixture).await, &owned));
        settled(&mut members, &all).await;
        members.remove(1).stop().await;
        settled(&mut members, &all).await;
    }
    let heard = members.remove(0).stop().await;
    assert!(heard >= 13, "one share, and six times another: {heard} news");
}

/// A call that is dropped while it waits takes no news with it.
pub async fn cancelling_next_loses_nothing(mut fixture: impl GroupFixture) {
    let all = all(&fixture);
    let mut first = join(&mut fixture).await;
    let mut second = None;
    for round in 0.. {
        let wanted = match round {
            0 | 2 => "Assigned",
            1 => "Revoked",
            _ => break,
        };
        let mut polls = 0;
        let heard = timeout(PATIENCE, async {
            loop {
                polls += 1;
                if let Some(news) = abandon_after(polls % 4, first.next()).await {
                    return news.expect("the group goes on");
                }
                tokio::task::yield_now().await;
            }
        });
        let heard = heard.await.expect("the news come");
        assert!(format!("{heard:?}").starts_with(wanted), "{heard:?} instead of {wanted}");
        match heard {
            GroupNews::Assigned(share) if round == 0 => {
                assert_eq!(share, all);
                second = Some(run(join(&mut fixture).await, &Owned::default()));
            }
            GroupNews::Assigned(share) => assert!(share.len() < all.len()),
            GroupNews::Revoked { .. } => first.released().await,
        }
    }
    first.leave().await;
    second.expect("joined after the first news").stop().await;
}

/// Of more members than partitions some have nothing to do, and know.
pub async fn an_empty_share_is_told(mut fixture: impl GroupFixture) {
    let (owned, all) = (Owned::default(), all(&fixture));
    let mut members = Vec::new();
    for _ in 0..=all.len() {
        members.push(run(join(&mut fixture).await, &owned));
    }
    let shares = settled(&mut members, &all).await;
    assert_eq!(union(&shares), all);
    assert!(shares.iter().any(BTreeSet::is_empty), "{shares:?}");
    for member in members {
        member.stop().await;
    }
}

/// Others wait for a member to release, but not for ever; it may go on when it comes back.
pub async fn a_member_that_does_not_release_holds_up_nobody_for_ever(
    mut fixture: impl GroupFixture,
) {
    let all = all(&fixture);
    let mut stuck = join(&mut fixture).await;
    assert_eq!(hear_share(&mut stuck).await, all);
    let mut second = run(join(&mut fixture).await, &Owned::default());
    assert_eq!(hear(&mut stuck).await, GroupNews::Revoked { is_lost: false });
    let is_given = |share: &Option<Share>| share.as_ref().is_some_and(|share| !share.is_empty());
    let given = timeout(PATIENCE, second.share.wait_for(is_given)).await;
    given.expect("the others go on").expect("the member goes on");
    stuck.released().await;
    let mut members = [run(stuck, &Owned::default()), second];
    assert_eq!(union(&settled(&mut members, &all).await), all);
    for member in members {
        member.stop().await;
    }
}

/// What is stored is seen by the log's displays, sooner or later; telling it does not wait.
pub async fn commits_are_told_to_the_log(mut fixture: impl GroupFixture) {
    let source = TopicPartition { topic: Topic::Matches, partition: 1 };
    let mut member = join(&mut fixture).await;
    assert!(hear_share(&mut member).await.contains(&source));
    let commits = member.commits();
    for next in 1..=3 {
        let told = async {
            while fixture.committed().await.get(&source) != Some(&next) {
                commits.commit([(source, next)].into());
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, told).await.expect("the log hears of it");
    }
    member.leave().await;
    commits.commit([(source, 4)].into());
    assert_eq!(fixture.committed().await.get(&source), Some(&3), "told by one that has left");
}
