//! Which faults come when: a pure function of the seed and the size of the deployment.
//!
//! Kinds are dealt like cards from a shuffled deck, so that each kind comes as often as any other
//! and a short run has seen them all. Faults on different targets overlap; one target has one at a
//! time.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde::Serialize;

/// What the schedule is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Decides everything below.
    pub seed: u64,
    /// Within which faults begin.
    pub duration_ms: u64,
    /// Consumers that are meant to run.
    pub consumers: usize,
    /// Brokers, and nodes of the store: 1 or 3 of each.
    pub nodes: u32,
    /// After which a silent consumer loses its partitions.
    pub session_timeout_ms: u64,
}

/// The way between Agon and a server, which leads through proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// To the brokers.
    Log,
    /// To the nodes of the store.
    Store,
}

/// One fault, with what ends it. Nodes count from 1, consumers from 0; `down_ms` and `for_ms` are
/// how long it stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are described above, once")]
pub enum Fault {
    /// SIGKILL, and a new process later.
    KillConsumer { consumer: usize, down_ms: u64 },
    /// SIGSTOP for longer than the session timeout, then SIGCONT: a zombie wakes.
    PauseConsumer { consumer: usize, for_ms: u64 },
    /// SIGTERM, and a new process later.
    StopConsumer { consumer: usize, down_ms: u64 },
    /// One more joins, and leaves in order.
    AddConsumer { for_ms: u64 },
    /// One more joins and is killed, several times in a row.
    Rebalance { times: u32 },
    /// SIGKILL with requests under way, and a new process later.
    KillProducer { down_ms: u64 },
    /// SIGKILL, and a new process later.
    KillApi { down_ms: u64 },
    /// SIGKILL, and a start with the same data.
    KillBroker { node: u32, down_ms: u64 },
    /// SIGSTOP and SIGCONT.
    PauseBroker { node: u32, for_ms: u64 },
    /// SIGKILL, and a start with the same data.
    KillStore { node: u32, down_ms: u64 },
    /// SIGSTOP and SIGCONT.
    PauseStore { node: u32, for_ms: u64 },
    /// Every connection is cut once.
    Cut { link: Link },
    /// Nobody listens.
    Refuse { link: Link, for_ms: u64 },
    /// Requests are delivered, replies vanish.
    ReplyLost { link: Link, for_ms: u64 },
    /// Every piece waits.
    Delay { link: Link, delay_ms: u64, for_ms: u64 },
    /// Connections break after so many bytes, inside a request.
    CutAfter { link: Link, bytes: u64, for_ms: u64 },
    /// SIGTERM, and a start with the same data at once.
    RestartBroker { node: u32 },
    /// SIGTERM, and a start with the same data at once.
    RestartStore { node: u32 },
    /// The other nodes reach it, Agon does not: every byte between them vanishes.
    CutOffBroker { node: u32, for_ms: u64 },
    /// The other nodes reach it, Agon does not: every byte between them vanishes.
    CutOffStore { node: u32, for_ms: u64 },
    /// All but one are away, the first of them killed and the others paused: no quorum.
    LoseBrokers { stays: u32, for_ms: u64 },
    /// All but one are away, the first of them killed and the others paused: no quorum.
    LoseStores { stays: u32, for_ms: u64 },
}

/// What a fault is done to; one at a time has one fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A consumer that is meant to run.
    Consumer(usize),
    /// The place of one more consumer.
    Extra,
    /// The write side.
    Producer,
    /// The read side.
    Api,
    /// All brokers: of three, one at a time has a fault, unless two are lost together.
    Brokers,
    /// All nodes of the store, in the same way.
    Stores,
    /// The proxies of one way.
    Link(Link),
}

/// A fault and when it begins, in milliseconds from the start of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// When.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub fault: Fault,
}

/// How many of [`KINDS`] come where there is one node of each: without another one, nobody goes on
/// meanwhile. They stand first, so that a seed's schedule on one node stays what it was.
pub const KINDS_OF_ONE: usize = 16;

/// The names of all kinds of faults, as the report and the printed schedule have them.
pub const KINDS: [&str; 22] = [
    "kill_consumer",
    "pause_consumer",
    "stop_consumer",
    "add_consumer",
    "rebalance",
    "kill_producer",
    "kill_api",
    "kill_broker",
    "pause_broker",
    "kill_store",
    "pause_store",
    "cut",
    "refuse",
    "reply_lost",
    "delay",
    "cut_after",
    "restart_broker",
    "restart_store",
    "cut_off_broker",
    "cut_off_store",
    "lose_brokers",
    "lose_stores",
];

impl Fault {
    /// Its kind, one of [`KINDS`].
    pub fn kind(&self) -> &'static str {
        let index = match self {
            Fault::KillConsumer { .. } => 0,
            Fault::PauseConsumer { .. } => 1,
            Fault::StopConsumer { .. } => 2,
            Fault::AddConsumer { .. } => 3,
            Fault::Rebalance { .. } => 4,
            Fault::KillProducer { .. } => 5,
            Fault::KillApi { .. } => 6,
            Fault::KillBroker { .. } => 7,
            Fault::PauseBroker { .. } => 8,
            Fault::KillStore { .. } => 9,
            Fault::PauseStore { .. } => 10,
            Fault::Cut { .. } => 11,
            Fault::Refuse { .. } => 12,
            Fault::ReplyLost { .. } => 13,
            Fault::Delay { .. } => 14,
            Fault::CutAfter { .. } => 15,
            Fault::RestartBroker { .. } => 16,
            Fault::RestartStore { .. } => 17,
            Fault::CutOffBroker { .. } => 18,
            Fault::CutOffStore { .. } => 19,
            Fault::LoseBrokers { .. } => 20,
            Fault::LoseStores { .. } => 21,
        };
        KINDS[index]
    }

    /// The node it is done to, or the only one that it leaves.
    pub fn node(&self) -> Option<u32> {
        match *self {
            Fault::KillBroker { node, .. }
            | Fault::PauseBroker { node, .. }
            | Fault::RestartBroker { node }
            | Fault::CutOffBroker { node, .. }
            | Fault::KillStore { node, .. }
            | Fault::PauseStore { node, .. }
            | Fault::RestartStore { node }
            | Fault::CutOffStore { node, .. } => Some(node),
            Fault::LoseBrokers { stays, .. } | Fault::LoseStores { stays, .. } => Some(stays),
            _ => None,
        }
    }

    /// What it is done to.
    pub fn target(&self) -> Target {
        match *self {
            Fault::KillConsumer { consumer, .. }
            | Fault::PauseConsumer { consumer, .. }
            | Fault::StopConsumer { consumer, .. } => Target::Consumer(consumer),
            Fault::AddConsumer { .. } | Fault::Rebalance { .. } => Target::Extra,
            Fault::KillProducer { .. } => Target::Producer,
            Fault::KillApi { .. } => Target::Api,
            Fault::KillBroker { .. }
            | Fault::PauseBroker { .. }
            | Fault::RestartBroker { .. }
            | Fault::CutOffBroker { .. }
            | Fault::LoseBrokers { .. } => Target::Brokers,
            Fault::KillStore { .. }
            | Fault::PauseStore { .. }
            | Fault::RestartStore { .. }
            | Fault::CutOffStore { .. }
            | Fault::LoseStores { .. } => Target::Stores,
            Fault::Cut { link }
            | Fault::Refuse { link, .. }
            | Fault::ReplyLost { link, .. }
            | Fault::Delay { link, .. }
            | Fault::CutAfter { link, .. } => Target::Link(link),
        }
    }

    /// For how long its target is left alone afterwards, its own time included: a killed server
    /// needs a while to come up, a killed consumer's partitions one session timeout.
    fn busy_ms(&self) -> u64 {
        match *self {
            Fault::KillConsumer { down_ms, .. } | Fault::StopConsumer { down_ms, .. } => {
                down_ms + 4_000
            }
            Fault::KillProducer { down_ms } | Fault::KillApi { down_ms } => down_ms + 4_000,
            Fault::KillBroker { down_ms: away_ms, .. }
            | Fault::LoseBrokers { for_ms: away_ms, .. } => away_ms + 10_000,
            Fault::KillStore { down_ms: away_ms, .. }
            | Fault::LoseStores { for_ms: away_ms, .. } => away_ms + 20_000,
            Fault::RestartBroker { .. } => 10_000,
            Fault::RestartStore { .. } => 20_000,
            Fault::PauseConsumer { for_ms, .. }
            | Fault::AddConsumer { for_ms }
            | Fault::PauseBroker { for_ms, .. }
            | Fault::PauseStore { for_ms, .. }
            | Fault::CutOffBroker { for_ms, .. }
            | Fault::CutOffStore { for_ms, .. }
            | Fault::Refuse { for_ms, .. }
            | Fault::ReplyLost { for_ms, .. }
            | Fault::Delay { for_ms, .. }
            | Fault::CutAfter { for_ms, .. } => for_ms + 3_000,
            Fault::Rebalance { times } => u64::from(times) * 3_000,
            Fault::Cut { .. } => 1_000,
        }
    }
}

/// The schedule of a plan; the same for the same plan, on every machine.
pub fn schedule(plan: &Plan) -> Vec<Step> {
    let mut chance = StdRng::seed_from_u64(plan.seed);
    let mut free_at: BTreeMap<Target, u64> = BTreeMap::new();
    let mut deck: Vec<usize> = Vec::new();
    let mut steps = Vec::new();
    let mut at_ms = 3_000;
    loop {
        if deck.is_empty() {
            let kinds = if plan.nodes > 1 { KINDS.len() } else { KINDS_OF_ONE };
            deck = (0..kinds).collect();
            deck.shuffle(&mut chance);
        }
        let Some(card) = deck.pop() else { return steps };
        let fault = deal(card, plan, &mut chance);
        at_ms += chance.random_range(500..4_000);
        at_ms = at_ms.max(free_at.get(&fault.target()).copied().unwrap_or(0));
        if at_ms >= plan.duration_ms {
            return steps;
        }
        free_at.insert(fault.target(), at_ms + fault.busy_ms());
        steps.push(Step { at_ms, fault });
    }
}

/// A fault of the kind with this index in [`KINDS`].
fn deal(card: usize, plan: &Plan, chance: &mut StdRng) -> Fault {
    // Every draw is made for every card: what one card is does not shift what the next ones are.
    let consumer = chance.random_range(0..plan.consumers.max(1));
    let broker = chance.random_range(1..=plan.nodes.max(1));
    let store = chance.random_range(1..=plan.nodes.max(1));
    let link = if chance.random_bool(0.5) { Link::Log } else { Link::Store };
    let down_ms = chance.random_range(500..6_000);
    let for_ms = chance.random_range(1_000..8_000);
    let asleep_ms = plan.session_timeout_ms + chance.random_range(1_000..6_000);
    let delay_ms = chance.random_range(10..300);
    let bytes = chance.random_range(1..20_000);
    let times = chance.random_range(2..=4);
    match card {
        0 => Fault::KillConsumer { consumer, down_ms },
        1 => Fault::PauseConsumer { consumer, for_ms: asleep_ms },
        2 => Fault::StopConsumer { consumer, down_ms },
        3 => Fault::AddConsumer { for_ms: for_ms + 2_000 },
        4 => Fault::Rebalance { times },
        5 => Fault::KillProducer { down_ms },
        6 => Fault::KillApi { down_ms },
        7 => Fault::KillBroker { node: broker, down_ms },
        8 => Fault::PauseBroker { node: broker, for_ms },
        9 => Fault::KillStore { node: store, down_ms },
        10 => Fault::PauseStore { node: store, for_ms },
        11 => Fault::Cut { link },
        12 => Fault::Refuse { link, for_ms },
        13 => Fault::ReplyLost { link, for_ms },
        14 => Fault::Delay { link, delay_ms, for_ms },
        15 => Fault::CutAfter { link, bytes, for_ms },
        16 => Fault::RestartBroker { node: broker },
        17 => Fault::RestartStore { node: store },
        18 => Fault::CutOffBroker { node: broker, for_ms },
        19 => Fault::CutOffStore { node: store, for_ms },
        // Longer than an append waits, so that writers are told.
        20 => Fault::LoseBrokers { stays: broker, for_ms: for_ms + 4_000 },
        _ => Fault::LoseStores { stays: store, for_ms: for_ms + 4_000 },
    }
}

#[cfg(test)]
mod tests;
