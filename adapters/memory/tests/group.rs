//! The group in memory keeps the contract of its port, and loses members when a test says so.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use agon_memory::MemoryGroup;
use agon_ports::conformance::group::GroupFixture;
use agon_ports::{Assignment, Group, GroupMember, GroupNews};
use agon_schema::{Topic, TopicPartition};

struct Kept(MemoryGroup);

#[async_trait::async_trait]
impl GroupFixture for Kept {
    fn partitions(&self) -> u32 {
        4
    }

    async fn group(&mut self) -> Arc<dyn Group> {
        Arc::new(self.0.clone())
    }

    async fn committed(&mut self) -> Assignment {
        self.0.committed()
    }
}

fn make_group() -> Kept {
    Kept(MemoryGroup::new(4).with_release_timeout_ms(2_000))
}

agon_ports::group_conformance!(make_group);

fn matches(partitions: impl IntoIterator<Item = u32>) -> BTreeSet<TopicPartition> {
    let topic = Topic::Matches;
    partitions.into_iter().map(|partition| TopicPartition { topic, partition }).collect()
}

/// The part of the next news that is of one topic.
async fn hear_share(member: &mut Box<dyn GroupMember>) -> BTreeSet<TopicPartition> {
    let GroupNews::Assigned(mut share) = member.next().await.unwrap() else {
        panic!("no share");
    };
    share.retain(|source| source.topic == Topic::Matches);
    share
}

const REVOKED: GroupNews = GroupNews::Revoked { is_lost: false };

/// Two members that have heard of their shares.
async fn two(group: &MemoryGroup) -> [Box<dyn GroupMember>; 2] {
    let mut first = group.join().await.unwrap();
    assert_eq!(hear_share(&mut first).await, matches(0..5));
    let mut second = group.join().await.unwrap();
    assert_eq!(first.next().await.unwrap(), REVOKED);
    first.released().await;
    assert_eq!(hear_share(&mut first).await, matches(0..3));
    assert_eq!(hear_share(&mut second).await, matches(3..5));
    [first, second]
}

#[tokio::test]
async fn a_rebalance_takes_all_and_gives_it_back() {
    let group = MemoryGroup::new(5);
    let [mut first, mut second] = two(&group).await;
    group.rebalance();
    for member in [&mut first, &mut second] {
        assert_eq!(member.next().await.unwrap(), REVOKED);
        member.released().await;
    }
    assert_eq!(hear_share(&mut first).await, matches(0..3));
    assert_eq!(hear_share(&mut second).await, matches(3..5));
}

#[tokio::test]
async fn a_lost_member_believes_it_owns_what_another_has() {
    let group = MemoryGroup::new(5);
    let [mut zombie, mut heir] = two(&group).await;
    assert_eq!(group.members(), [0, 1]);
    assert!(group.lose(0), "it owned something");
    assert!(!group.lose(0), "it owns nothing any more");
    assert_eq!(heir.next().await.unwrap(), REVOKED);
    heir.released().await;
    assert_eq!(hear_share(&mut heir).await, matches(0..5));
    tokio::select! {
        biased;
        news = zombie.next() => panic!("a silent member heard {news:?}"),
        () = tokio::task::yield_now() => {}
    }
    let source = TopicPartition { topic: Topic::Matches, partition: 0 };
    zombie.commits().commit([(source, 7)].into());
    assert_eq!(group.committed(), Assignment::new(), "of one that is lost");
    heir.commits().commit([(source, 8)].into());
    assert_eq!(group.committed(), [(source, 8)].into());

    group.wake(0);
    assert_eq!(zombie.next().await.unwrap(), GroupNews::Revoked { is_lost: true });
    assert_eq!(heir.next().await.unwrap(), REVOKED);
    heir.released().await;
    assert_eq!(hear_share(&mut zombie).await, matches(0..3));
    assert_eq!(hear_share(&mut heir).await, matches(3..5));
}

#[tokio::test]
async fn a_member_that_does_not_listen_in_time_is_lost() {
    let group = MemoryGroup::new(5).with_release_timeout_ms(20);
    let mut deaf = group.join().await.unwrap();
    hear_share(&mut deaf).await;
    let mut heir = group.join().await.unwrap();
    assert_eq!(hear_share(&mut heir).await, matches(0..5));
    assert_eq!(deaf.next().await.unwrap(), GroupNews::Revoked { is_lost: true });
    assert_eq!(heir.next().await.unwrap(), REVOKED);
    heir.leave().await;
    assert_eq!(hear_share(&mut deaf).await, matches(0..5));
}
