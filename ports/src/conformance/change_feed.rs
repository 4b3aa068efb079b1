//! The suite of [`ChangePublisher`] and [`ChangeSubscriber`].

use std::sync::Arc;

use agon_projections::CellKey;
use agon_schema::{Topic, TopicPartition};
use async_trait::async_trait;
use tokio::time::timeout;

use super::{PATIENCE, abandon_after};
use crate::{Change, ChangePublisher, ChangeSubscriber, Heard};

/// Gives the suite one feed, which has no news at first.
#[async_trait]
pub trait ChangeFeedFixture: Send {
    /// How much news a subscriber may be behind before it misses some, at most.
    fn changes_max(&self) -> usize;

    /// Whether a subscriber that is further behind misses news. A feed that keeps them elsewhere
    /// has them for whoever comes late.
    fn drops_news(&self) -> bool {
        true
    }

    /// Whether a feed without publishers ends. One that others can reach at any time does not.
    fn can_close(&self) -> bool {
        true
    }

    /// A sending side.
    async fn publisher(&mut self) -> Arc<dyn ChangePublisher>;

    /// A listening side, which hears from now on.
    async fn subscriber(&mut self) -> Box<dyn ChangeSubscriber>;

    /// Waits until what was published is before whatever a new subscriber hears.
    async fn settle(&mut self) {}

    /// Ends the feed: the suite has dropped its publishers, the fixture drops what it holds.
    async fn close(&mut self);
}

/// Makes the tests that every feed passes: `change_feed_conformance!(make_fixture);`, where the
/// function answers a
/// [`ChangeFeedFixture`](crate::conformance::change_feed::ChangeFeedFixture).
#[macro_export]
macro_rules! change_feed_conformance {
    ($make:expr $(, skipped_when: $is_absent:expr)?) => {
        $crate::conformance_cases! {
            change_feed_conformance,
            $make $(, skipped_when: $is_absent)?;
            change_feed::every_subscriber_hears_all_in_order,
            change_feed::a_subscriber_hears_what_comes_after_it,
            change_feed::a_publisher_without_subscribers_goes_on,
            change_feed::news_of_several_publishers_keep_their_order,
            change_feed::a_slow_subscriber_is_told_and_holds_up_nobody,
            change_feed::next_waits_for_news,
            change_feed::cancelling_next_loses_nothing,
            change_feed::a_closed_feed_is_heard_to_its_end_and_then_closed,
        }
    };
}

/// News with a number; even ones of a cell, odd ones of a partition.
fn change(publisher: u32, number: u64) -> Change {
    if number.is_multiple_of(2) {
        let from = number.checked_sub(2);
        Change::Moved { cell: CellKey::Stream(publisher), from, to: number, rows: Arc::default() }
    } else {
        let source = TopicPartition { topic: Topic::RecentChange, partition: publisher };
        Change::Progress { source, applied: number, appended_at_ms: number as i64 }
    }
}

/// The next news, as text; changes have no equality. That something is loaded anew may be heard at
/// any time, and the suite publishes no such news itself.
async fn hear(subscriber: &mut Box<dyn ChangeSubscriber>) -> String {
    loop {
        let heard = timeout(PATIENCE, subscriber.next()).await.expect("next answers");
        if !matches!(heard, Heard::Change(Change::Reload { .. })) {
            return format!("{heard:?}");
        }
    }
}

fn news(publisher: u32, number: u64) -> String {
    format!("{:?}", Heard::Change(change(publisher, number)))
}

async fn publish(publisher: &dyn ChangePublisher, from: u64, count: usize) {
    for number in from..from + count as u64 {
        publisher.publish(change(0, number)).await;
    }
}

/// News reach everyone, in the order in which they were published.
pub async fn every_subscriber_hears_all_in_order(mut fixture: impl ChangeFeedFixture) {
    let publisher = fixture.publisher().await;
    let mut subscribers = [fixture.subscriber().await, fixture.subscriber().await];
    let count = fixture.changes_max();
    for round in 0..3 {
        publish(&*publisher, round * count as u64, count).await;
        for subscriber in &mut subscribers {
            for number in 0..count as u64 {
                assert_eq!(hear(subscriber).await, news(0, round * count as u64 + number));
            }
        }
    }
}

/// What was published before a subscriber was made is not repeated for it.
pub async fn a_subscriber_hears_what_comes_after_it(mut fixture: impl ChangeFeedFixture) {
    let publisher = fixture.publisher().await;
    publish(&*publisher, 0, 3).await;
    fixture.settle().await;
    let mut subscriber = fixture.subscriber().await;
    publish(&*publisher, 3, 2).await;
    assert_eq!(hear(&mut subscriber).await, news(0, 3));
    assert_eq!(hear(&mut subscriber).await, news(0, 4));
}

/// Nobody has to listen.
pub async fn a_publisher_without_subscribers_goes_on(mut fixture: impl ChangeFeedFixture) {
    let publisher = fixture.publisher().await;
    publish(&*publisher, 0, fixture.changes_max() * 3).await;
    drop(fixture.subscriber().await);
    publish(&*publisher, 0, fixture.changes_max() * 3).await;
    fixture.settle().await;
    let mut subscriber = fixture.subscriber().await;
    publish(&*publisher, 77, 1).await;
    assert_eq!(hear(&mut subscriber).await, news(0, 77));
}

/// Publishers mix in any way, but what one of them published stays in its order.
pub async fn news_of_several_publishers_keep_their_order(mut fixture: impl ChangeFeedFixture) {
    let mut subscriber = fixture.subscriber().await;
    let each = (fixture.changes_max() / 3) as u64;
    let mut tasks = Vec::new();
    for name in 0..3 {
        let publisher = fixture.publisher().await;
        tasks.push(tokio::spawn(async move {
            for number in 0..each {
                publisher.publish(change(name, number)).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("publisher ends");
    }
    let mut next = [0; 3];
    for _ in 0..3 * each {
        let heard = hear(&mut subscriber).await;
        let from = (0..3).find(|name| heard == news(*name, next[*name as usize]));
        next[from.expect("the next news of one of them") as usize] += 1;
    }
    assert_eq!(next, [each; 3]);
}

/// Publishing never waits; who is too slow hears that it missed some, and then the newest, or hears
/// all late.
pub async fn a_slow_subscriber_is_told_and_holds_up_nobody(mut fixture: impl ChangeFeedFixture) {
    let publisher = fixture.publisher().await;
    let (mut slow, mut quick) = (fixture.subscriber().await, fixture.subscriber().await);
    let count = fixture.changes_max() as u64 * 3;
    for number in 0..count {
        timeout(PATIENCE, publisher.publish(change(0, number))).await.expect("publish answers");
        assert_eq!(hear(&mut quick).await, news(0, number));
    }
    if fixture.drops_news() {
        assert_eq!(hear(&mut slow).await, format!("{:?}", Heard::Missed));
    }
    let first = hear(&mut slow).await;
    let from = (0..count).find(|number| first == news(0, *number)).expect("later news");
    assert_eq!(from > 0, fixture.drops_news(), "the first it hears is {from}");
    for number in from + 1..count {
        assert_eq!(hear(&mut slow).await, news(0, number));
    }
    publish(&*publisher, count, 1).await;
    assert_eq!(hear(&mut slow).await, news(0, count));
}

/// A subscriber that waits is woken.
pub async fn next_waits_for_news(mut fixture: impl ChangeFeedFixture) {
    let publisher = fixture.publisher().await;
    let mut subscriber = fixture.subscriber().await;
    let waiting = tokio::spawn(async move { hear(&mut subscriber).await });
    tokio::task::yield_now().await;
    publish(&*publisher, 5, 1).await;
    assert_eq!(waiting.await.expect("subscriber ends"), news(0, 5));
}

/// A call that is dropped while it waits takes no news with it.
pub async fn cancelling_next_loses_nothing(mut fixture: impl ChangeFeedFixture) {
    let publisher = fixture.publisher().await;
    let mut subscriber = fixture.subscriber().await;
    for number in 0..50 {
        let heard = abandon_after((number % 4) as usize, subscriber.next()).await;
        assert!(heard.is_none(), "news of nobody: {heard:?}");
        publish(&*publisher, number, 1).await;
        assert_eq!(hear(&mut subscriber).await, news(0, number));
    }
}

/// The end comes after the last news, and stays. A feed that others can reach stays open.
pub async fn a_closed_feed_is_heard_to_its_end_and_then_closed(
    mut fixture: impl ChangeFeedFixture,
) {
    let publisher = fixture.publisher().await;
    let mut subscriber = fixture.subscriber().await;
    publish(&*publisher, 0, 2).await;
    drop(publisher);
    fixture.close().await;
    assert_eq!(hear(&mut subscriber).await, news(0, 0));
    assert_eq!(hear(&mut subscriber).await, news(0, 1));
    if !fixture.can_close() {
        let heard = abandon_after(4, subscriber.next()).await;
        assert!(heard.is_none(), "news of nobody: {heard:?}");
        return;
    }
    for _ in 0..2 {
        assert_eq!(hear(&mut subscriber).await, format!("{:?}", Heard::Closed));
    }
    let mut late = fixture.subscriber().await;
    assert_eq!(hear(&mut late).await, format!("{:?}", Heard::Closed));
}
