//! Members that share one log and one store: they come, go, are lost and write on as if they were
//! not, and the rows are those of the unbroken fold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agon_consumer::ConsumerConfig;
use agon_memory::MemoryGroup;
use agon_ports::{Append, EventLog, ProjectionStore};
use agon_schema::{Topic, TopicPartition};
use tokio::task::JoinSet;

use crate::cells::CellStore;
use crate::events::{Chance, PARTITIONS, stream};
use crate::member::{Member, stored_through};
use crate::oracle::{self, check_same};
use crate::world::{World, ends, runtime, tiny};

/// A walk of a seed over everything that can happen in a group.
struct Walk {
    world: World,
    group: MemoryGroup,
    store: Arc<dyn ProjectionStore>,
    chance: Chance,
    members: BTreeMap<u64, Member>,
    /// Members that were lost and go on.
    lost: Vec<u64>,
    joined: u64,
    zombies: usize,
}

impl Walk {
    fn new(world: &World, store: Arc<dyn ProjectionStore>, seed: u64) -> Walk {
        let group = MemoryGroup::new(PARTITIONS).with_release_timeout_ms(200);
        Walk {
            world: world.clone(),
            group,
            store,
            chance: Chance(seed),
            members: BTreeMap::new(),
            lost: vec![],
            joined: 0,
            zombies: 0,
        }
    }

    async fn join(&mut self) {
        let config = ConsumerConfig {
            workers: 1 + self.chance.below(3) as usize,
            slots_max: self.chance.below(2) as usize * 1_000,
            filter_items_max: 30 + self.chance.below(2) as usize * 1_000,
            load_rows_max: 20 + self.chance.below(100) as usize,
            flushes_max: 1 + self.chance.below(4) as usize,
            ..tiny()
        };
        let member = Member::start(&self.world, &self.group, config, Arc::clone(&self.store));
        // Its number in the group is known once it is in.
        crate::world::until(|| self.group.members().contains(&self.joined)).await;
        self.members.insert(self.joined, member);
        self.joined += 1;
    }

    fn any(&mut self) -> Option<u64> {
        let count = self.members.len() as u64;
        let index = self.chance.below(count.max(1)) as usize;
        self.members.keys().nth(index).copied()
    }

    async fn turn(&mut self) {
        match self.chance.below(10) {
            0..3 if self.members.len() < 3 => self.join().await,
            3 if self.members.len() > 1 => {
                let Some(number) = self.any() else { return };
                self.lost.retain(|lost| *lost != number);
                self.group.wake(number);
                if let Some(member) = self.members.remove(&number) {
                    member.stop().await;
                }
            }
            4 => {
                // As at the end of a process: nothing is stored any more.
                let Some(number) = self.any() else { return };
                self.lost.retain(|lost| *lost != number);
                drop(self.members.remove(&number));
            }
            5..7 => {
                let Some(number) = self.any() else { return };
                if !self.lost.contains(&number) && self.group.lose(number) {
                    self.lost.push(number);
                    self.zombies += 1;
                }
            }
            7 => {
                if let Some(number) = self.lost.pop() {
                    self.group.wake(number);
                }
            }
            _ => self.group.rebalance(),
        }
    }

    /// Appends everything bit by bit while members come and go, then lets one bring it to an end.
    async fn walk(&mut self, appends: &[Append]) {
        for batch in appends.chunks(25) {
            self.world.log.append(batch.to_vec()).await.unwrap();
            self.turn().await;
            tokio::time::sleep(Duration::from_millis(self.chance.below(12))).await;
        }
        self.join().await;
        for lost in std::mem::take(&mut self.lost) {
            self.group.wake(lost);
        }
        let ends = ends(appends);
        let failures = self.members.values().map(Member::failure);
        tokio::select! {
            () = stored_through(&self.world.store, &ends) => {}
            reason = first_failure(failures) => panic!("a member failed: {reason}"),
        }
        for (_, member) in std::mem::take(&mut self.members) {
            member.stop().await;
        }
    }
}

/// Waits until the first of these members fails.
async fn first_failure<F>(failures: impl Iterator<Item = F>) -> String
where
    F: Future<Output = String> + Send + 'static,
{
    let mut all = JoinSet::new();
    failures.for_each(|failure| drop(all.spawn(failure)));
    match all.join_next().await {
        Some(reason) => reason.unwrap(),
        None => std::future::pending().await,
    }
}

#[test]
fn members_that_come_go_and_write_on_when_lost_change_nothing() {
    let (mut zombies, mut parts) = (0, 0);
    for seed in 0..12 {
        let appends = stream(seed, 1_000);
        let life = runtime();
        let (world, by_cell) = life.block_on(async {
            let world = World::new();
            let by_cell = CellStore::new(world.store.clone(), seed, 50);
            // Half of the walks have a store that refuses who comes late, half one that does not.
            let store: Arc<dyn ProjectionStore> = match seed % 2 {
                0 => Arc::new(world.store.clone()),
                _ => Arc::new(by_cell.clone()),
            };
            let mut walk = Walk::new(&world, store, seed);
            walk.walk(&appends).await;
            zombies += walk.zombies;
            (world, by_cell)
        });
        drop(life);
        by_cell.check();
        parts += by_cell.parts();
        let rows = runtime().block_on(world.rows());
        check_same(&format!("seed {seed}"), &oracle::fold(&appends), &rows);
    }
    assert!(zombies > 10 && parts > 0, "{zombies} members were lost, {parts} flushes cut");
}

/// What a member held of a partition is old when the partition comes back to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_others_folded_meanwhile_is_not_forgotten() {
    // Without submissions, whose rows would stop a member with an old board before it writes.
    let mut appends = stream(34, 2_000);
    appends.retain(|append| append.target.topic != Topic::Submissions);
    let third = appends.len() / 3;
    let partitions = TopicPartition::all(PARTITIONS).count();
    let world = World::with(&appends[..third]).await;
    let group = MemoryGroup::new(PARTITIONS);
    let start = || Member::start(&world, &group, tiny(), Arc::new(world.store.clone()));
    let has = |member: &Member, count| {
        let standing = member.consumer.standing();
        standing.is_ready() && standing.partitions.len() == count
    };
    let one = start();
    stored_through(&world.store, &ends(&appends[..third])).await;
    let other = start();
    let half = partitions / 2;
    crate::world::until(|| has(&one, half) && has(&other, half)).await;
    world.log.append(appends[third..2 * third].to_vec()).await.unwrap();
    stored_through(&world.store, &ends(&appends[..2 * third])).await;
    other.stop().await;
    crate::world::until(|| has(&one, partitions)).await;
    world.log.append(appends[2 * third..].to_vec()).await.unwrap();
    stored_through(&world.store, &ends(&appends)).await;
    one.stop().await;
    check_same("come back", &oracle::fold(&appends), &world.rows().await);
}
