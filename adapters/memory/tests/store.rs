//! The store and the feed in memory keep the contracts of their ports, and a worker that tries
//! again gets every flush through faults once.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use agon_memory::{
    Fault, FaultRates, Faults, Faulty, MemoryFeed, MemoryPublisher, MemoryStore, MemorySubscriber,
};
use agon_ports::conformance::change_feed::ChangeFeedFixture;
use agon_ports::conformance::projection_store::ProjectionStoreFixture;
use agon_ports::conformance::store_inspector::StoreInspectorFixture;
use agon_ports::{
    ChangePublisher, ChangeSubscriber, ProjectionStore, Retry, StoreInspector, scan_all,
};
use agon_projections::row::{Counts, Progress, Value};
use agon_projections::row_bytes::Prefix;
use agon_projections::{CellKey, Flush, Row, RowKey, Table};
use agon_schema::record::RecordHash;
use agon_schema::{Topic, TopicPartition};

/// Keeps a handle of what the suite closes; `wrap` is what it is opened as.
struct Kept<W> {
    kept: MemoryStore,
    wrap: W,
}

#[async_trait::async_trait]
impl<W> ProjectionStoreFixture for Kept<W>
where
    W: Fn(MemoryStore) -> Arc<dyn ProjectionStore> + Send,
{
    async fn open(&mut self) -> Arc<dyn ProjectionStore> {
        (self.wrap)(self.kept.clone())
    }
}

mod plain {
    use super::*;

    fn make_store() -> impl ProjectionStoreFixture {
        let wrap = |store| Arc::new(store) as Arc<dyn ProjectionStore>;
        Kept { kept: MemoryStore::default(), wrap }
    }

    agon_ports::projection_store_conformance!(make_store);
}

mod delayed {
    use super::*;

    fn make_store() -> impl ProjectionStoreFixture {
        let rates = FaultRates { delay_per_mille: 50, delay_ms_max: 1, ..FaultRates::default() };
        let wrap = move |store| {
            Arc::new(Faulty::new(store, Faults::new(11, rates))) as Arc<dyn ProjectionStore>
        };
        Kept { kept: MemoryStore::default(), wrap }
    }

    agon_ports::projection_store_conformance!(make_store);
}

struct Both(MemoryStore);

#[async_trait::async_trait]
impl StoreInspectorFixture for Both {
    async fn open(&mut self) -> (Arc<dyn ProjectionStore>, Arc<dyn StoreInspector>) {
        (Arc::new(self.0.clone()), Arc::new(self.0.clone()))
    }
}

fn make_inspector() -> Both {
    Both(MemoryStore::default())
}

agon_ports::store_inspector_conformance!(make_inspector);

struct Feed {
    feed: MemoryFeed,
    publisher: Option<MemoryPublisher>,
}

#[async_trait::async_trait]
impl ChangeFeedFixture for Feed {
    fn changes_max(&self) -> usize {
        16
    }

    async fn publisher(&mut self) -> Arc<dyn ChangePublisher> {
        Arc::new(self.publisher.clone().unwrap())
    }

    async fn subscriber(&mut self) -> Box<dyn ChangeSubscriber> {
        let subscriber: MemorySubscriber = self.feed.subscribe();
        Box::new(subscriber)
    }

    async fn close(&mut self) {
        self.publisher = None;
    }
}

fn make_feed() -> Feed {
    let (feed, publisher) = MemoryFeed::with_publisher(16);
    Feed { feed, publisher: Some(publisher) }
}

agon_ports::change_feed_conformance!(make_feed);

const SOURCE: TopicPartition = TopicPartition { topic: Topic::RecentChange, partition: 1 };

/// The flush of one record, which counts it on one of seven servers.
fn flush(offset: u64) -> Arc<Flush> {
    let key = RowKey::Server(CellKey::Stream(1), format!("s{}", offset % 7));
    let row = Row { key, value: Value::Server(offset) };
    let record_hash = RecordHash([0; 16]);
    let progress = Progress { applied: offset, record_hash, counts: Counts::default() };
    let from = offset.checked_sub(1);
    Arc::new(Flush { source: SOURCE, from, progress, cells: vec![], rows: vec![row] })
}

/// What a fold resumes from: the stored progress, asked until it is answered.
async fn resume(store: &Faulty<MemoryStore>) -> Option<u64> {
    loop {
        match store.get(vec![RowKey::Progress(SOURCE)]).await.as_deref() {
            Ok([None]) => return None,
            Ok([Some(Row { value: Value::Progress(progress), .. })]) => {
                return Some(progress.applied);
            }
            Ok(other) => panic!("no progress: {other:?}"),
            Err(error) => assert_eq!(error.retry, Retry::Later),
        }
        store.faults().heal();
    }
}

#[tokio::test]
async fn a_worker_that_resumes_gets_every_flush_through_faults_once() {
    let mut injected = [0; Fault::ALL.len()];
    for seed in 0..20 {
        let faults = Faults::new(seed, FaultRates::all(60, 60));
        let store = Faulty::new(MemoryStore::default(), Arc::clone(&faults));
        let mut next = 0;
        while next < 100 {
            match store.flush(flush(next)).await {
                Ok(()) => next += 1,
                Err(error) => {
                    assert_eq!(error.retry, Retry::Later, "seed {seed}: {error}");
                    // The same flush again, or from what is stored: both must go.
                    if seed % 2 == 0 {
                        faults.heal();
                    } else {
                        next = resume(&store).await.map_or(0, |applied| applied + 1);
                    }
                }
            }
        }
        let rows = scan_all(store.inner(), Prefix::Table(Table::Servers)).await.unwrap();
        let counts: Vec<_> = rows.iter().map(|row| row.value.clone()).collect();
        assert_eq!(counts, [98, 99, 93, 94, 95, 96, 97].map(Value::Server), "seed {seed}");
        for (sum, fault) in injected.iter_mut().zip(Fault::ALL) {
            *sum += faults.count(fault);
        }
    }
    for fault in [Fault::Delay, Fault::Refuse, Fault::LoseAnswer, Fault::CrashAfter] {
        assert!(injected[fault as usize] > 0, "{fault:?} never happened");
    }
}
