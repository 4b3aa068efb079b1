//! Matches as a load: Zipf-distributed agents, so a few play much and most play little.

use agon_schema::event::{MatchFinished, Player, Players};
use agon_schema::{AgentId, EnvironmentId, Event, EventTime, NaturalId, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::exit::Exit;

/// The environment of every bench.
pub const ENVIRONMENT: &str = "bench";
/// Agents that play.
pub const AGENTS: usize = 100_000;

/// A seeded source of matches.
pub struct Workload {
    random: StdRng,
    // Cumulated weights of the agents, rank by rank.
    weights: Vec<f64>,
    number: u64,
    run: u64,
}

impl Workload {
    /// Matches of one run; runs of other numbers have other ids.
    pub fn new(run: u64) -> Workload {
        let mut sum = 0.0;
        let weights = (1..=AGENTS).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Workload { weights: weights.collect(), random: StdRng::seed_from_u64(run), number: 0, run }
    }

    fn agent(&mut self) -> usize {
        let total = self.weights.last().copied().unwrap_or(1.0);
        let point = self.random.random::<f64>() * total;
        self.weights.partition_point(|weight| *weight < point).min(AGENTS - 1)
    }

    /// The next match.
    ///
    /// # Errors
    /// Never for these ids and players; the types ask.
    pub fn next(&mut self) -> Result<Event, Exit> {
        let a = self.agent();
        let b = loop {
            let b = self.agent();
            if b != a {
                break b;
            }
        };
        self.number += 1;
        let player = |agent: usize, placement| {
            let agent = AgentId::new(format!("agent-{agent:06}")).map_err(Exit::missing)?;
            Ok::<_, Exit>(Player { agent, placement, score: None, home: false })
        };
        let second = if self.random.random_bool(0.2) { 1 } else { 2 };
        let players = Players::new(vec![player(a, 1)?, player(b, second)?]);
        let at = Timestamp::from_micros(1_700_000_000_000_000 + self.number as i64);
        let match_id = format!("{:08x}-{:010}", self.run, self.number);
        Ok(Event::MatchFinished(MatchFinished {
            environment: EnvironmentId::new(ENVIRONMENT).map_err(Exit::missing)?,
            match_id: NaturalId::new(match_id).map_err(Exit::missing)?,
            players: players.map_err(Exit::missing)?,
            occurred: EventTime { at: at.map_err(Exit::missing)?, filled_in: false },
            context: None,
        }))
    }

    /// So many matches.
    ///
    /// # Errors
    /// As [`Workload::next`].
    pub fn take(&mut self, count: u64) -> Result<Vec<Event>, Exit> {
        (0..count).map(|_| self.next()).collect()
    }
}
