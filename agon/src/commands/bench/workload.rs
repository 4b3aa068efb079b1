//! Matches as a load: Zipf-distributed agents, so a few play much and most play little.

use agon_schema::event::{EnvironmentDefined, MatchFinished, Player, Players};
use agon_schema::rating::RatingSystem;
use agon_schema::{AgentId, EnvironmentId, Event, EventTime, NaturalId, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::exit::Exit;

/// The environment of the benches that need one only.
pub const ENVIRONMENT: &str = "bench";
/// Agents that play there.
const AGENTS: usize = 100_000;

/// Ranks from 0 on, of which rank r comes 1/(r+1) as often as the first.
struct Zipf {
    // Cumulated weights, rank by rank.
    weights: Vec<f64>,
}

impl Zipf {
    fn new(ranks: usize) -> Zipf {
        let mut sum = 0.0;
        let weights = (1..=ranks.max(1)).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Zipf { weights: weights.collect() }
    }

    fn draw(&self, random: &mut StdRng) -> usize {
        let total = self.weights.last().copied().unwrap_or(1.0);
        let point = random.random::<f64>() * total;
        self.weights.partition_point(|weight| *weight < point).min(self.weights.len() - 1)
    }
}

/// A seeded source of matches.
pub struct Workload {
    random: StdRng,
    agents: Zipf,
    environments: Vec<EnvironmentId>,
    number: u64,
    run: u64,
}

impl Workload {
    /// Matches of one run in one environment; runs of other numbers have other ids.
    pub fn new(run: u64) -> Workload {
        let environments = EnvironmentId::new(ENVIRONMENT).into_iter().collect();
        Workload::of(run, AGENTS, environments)
    }

    /// Matches of so many agents, two at least, spread evenly over so many environments.
    ///
    /// # Errors
    /// Never for these names; the types ask.
    pub fn spread(run: u64, agents: usize, environments: u32) -> Result<Workload, Exit> {
        let names = (0..environments.max(1)).map(|n| EnvironmentId::new(format!("bench-{n:04}")));
        let names = names.collect::<Result<_, _>>().map_err(Exit::missing)?;
        Ok(Workload::of(run, agents, names))
    }

    fn of(run: u64, agents: usize, environments: Vec<EnvironmentId>) -> Workload {
        let (agents, random) = (Zipf::new(agents.max(2)), StdRng::seed_from_u64(run));
        Workload { random, agents, environments, number: 0, run }
    }

    /// The definitions of its environments.
    pub fn definitions(&self) -> Vec<Event> {
        let define = |id: &EnvironmentId| {
            let rating = RatingSystem::default();
            Event::EnvironmentDefined(EnvironmentDefined { id: id.clone(), version: 1, rating })
        };
        self.environments.iter().map(define).collect()
    }

    /// The names of its environments.
    pub fn environments(&self) -> &[EnvironmentId] {
        &self.environments
    }

    /// The next match.
    ///
    /// # Errors
    /// Never for these ids and players; the types ask.
    pub fn next(&mut self) -> Result<Event, Exit> {
        let a = self.agents.draw(&mut self.random);
        let b = loop {
            let b = self.agents.draw(&mut self.random);
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
        let environment = match &self.environments[..] {
            [only] => only,
            many => &many[self.random.random_range(0..many.len())],
        };
        Ok(Event::MatchFinished(MatchFinished {
            environment: environment.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn equal_seeds_give_equal_matches_and_others_do_not() {
        let take = |run| Workload::spread(run, 1_000, 8).unwrap().take(500).unwrap();
        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
    }

    #[test]
    fn rank_r_is_drawn_one_rth_as_often_as_the_first() {
        let (zipf, mut random) = (Zipf::new(100), StdRng::seed_from_u64(1));
        let mut drawn = vec![0_u32; 100];
        for _ in 0..200_000 {
            drawn[zipf.draw(&mut random)] += 1;
        }
        for rank in [2, 3, 10, 100] {
            let share = f64::from(drawn[rank - 1]) / f64::from(drawn[0]) * rank as f64;
            assert!((0.85..1.15).contains(&share), "rank {rank}: {share}");
        }
    }

    #[test]
    fn matches_are_of_two_agents_in_every_environment() {
        let mut workload = Workload::spread(3, 2, 5).unwrap();
        let (mut ids, mut environments) = (BTreeSet::new(), BTreeSet::new());
        for event in workload.take(200).unwrap() {
            let Event::MatchFinished(event) = event else { panic!("{event:?}") };
            let [a, b] = event.players.as_slice() else { panic!("{event:?}") };
            assert_ne!(a.agent, b.agent);
            ids.insert(event.match_id);
            environments.insert(event.environment);
        }
        assert_eq!((ids.len(), environments.len()), (200, 5));
        assert_eq!(workload.definitions().len(), 5);
    }
}
