//! Rating systems with their parameters: data in an environment's definition.

use serde::{Deserialize, Serialize};

use crate::event::Invalid;

/// How an environment rates its matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RatingSystem {
    /// Elo, as INTERFACE.md states it exactly.
    Elo(Elo),
}

impl RatingSystem {
    /// The name on boards and in definitions.
    pub fn name(&self) -> &'static str {
        match self {
            RatingSystem::Elo(_) => "elo",
        }
    }
}

impl Default for RatingSystem {
    fn default() -> RatingSystem {
        RatingSystem::Elo(Elo::default())
    }
}

/// How much one game may move a rating, for players with fewer than `below_games` games.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KStep {
    /// Exclusive; `None` for the last step, which has no end.
    pub below_games: Option<u32>,
    /// In points.
    pub k: f64,
}

/// Steps of K at most.
pub const K_STEPS_MAX: usize = 16;
/// Ratings, floors and advantages lie between minus and plus this many points.
pub const POINTS_MAX: f64 = 1_000_000.0;
/// K at most, in points.
pub const K_MAX: f64 = 10_000.0;

/// Parameters of Elo, in points. Fields are private: what exists is valid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Elo {
    start: f64,
    k_steps: Vec<KStep>,
    floor: Option<f64>,
    home_advantage: f64,
    draw_score: f64,
}

impl Default for Elo {
    /// Start 1500, K 32, no floor, no home advantage, a draw scores one half.
    fn default() -> Elo {
        Elo {
            start: 1500.0,
            k_steps: vec![KStep { below_games: None, k: 32.0 }],
            floor: None,
            home_advantage: 0.0,
            draw_score: 0.5,
        }
    }
}

fn points(field: &str, value: f64) -> Result<f64, Invalid> {
    if value.is_finite() && value.abs() <= POINTS_MAX {
        // -0.0 and 0.0 are one value and have one form.
        Ok(value + 0.0)
    } else {
        Err(Invalid::new(field, format!("is {value}; it must lie within ±{POINTS_MAX} points")))
    }
}

impl Elo {
    /// Parameters as given, or the first field that is wrong.
    ///
    /// # Errors
    /// A number that is not finite or out of range; steps of K that do not rise, or whose last one
    /// has an end; a start below the floor.
    pub fn new(
        start: f64,
        k_steps: Vec<KStep>,
        floor: Option<f64>,
        home_advantage: f64,
        draw_score: f64,
    ) -> Result<Elo, Invalid> {
        let start = points("/rating/start", start)?;
        let floor = floor.map(|floor| points("/rating/floor", floor)).transpose()?;
        let home_advantage = points("/rating/home_advantage", home_advantage)?;
        check_k_steps(&k_steps)?;
        if !(0.0..=1.0).contains(&draw_score) {
            let detail = format!("is {draw_score}; a draw scores between 0 and 1");
            return Err(Invalid::new("/rating/draw_score", detail));
        }
        if let Some(floor) = floor
            && start < floor
        {
            let detail = format!("is {floor}, above the start of {start}");
            return Err(Invalid::new("/rating/floor", detail));
        }
        Ok(Elo { start, k_steps, floor, home_advantage, draw_score: draw_score + 0.0 })
    }

    /// The rating of an agent without games.
    pub fn start(&self) -> f64 {
        self.start
    }

    /// K for a player who has played `games` games before this one.
    pub fn k(&self, games: u32) -> f64 {
        let step = self.k_steps.iter().find(|step| step.below_games.is_none_or(|end| games < end));
        // The last step has no end, so there always is one.
        step.map_or(0.0, |step| step.k)
    }

    /// The steps of K, rising; the last has no end.
    pub fn k_steps(&self) -> &[KStep] {
        &self.k_steps
    }

    /// What a rating never falls below.
    pub fn floor(&self) -> Option<f64> {
        self.floor
    }

    /// What counts for a player at home.
    pub fn home_advantage(&self) -> f64 {
        self.home_advantage
    }

    /// What a draw scores, between 0 and 1.
    pub fn draw_score(&self) -> f64 {
        self.draw_score
    }
}

fn check_k_steps(steps: &[KStep]) -> Result<(), Invalid> {
    let wrong = |detail: String| Err(Invalid::new("/rating/k", detail));
    if steps.is_empty() || steps.len() > K_STEPS_MAX {
        return wrong(format!("has {} steps; 1 to {K_STEPS_MAX} are allowed", steps.len()));
    }
    let mut end_before = 0;
    for (index, step) in steps.iter().enumerate() {
        if !(step.k > 0.0 && step.k <= K_MAX) {
            return wrong(format!("is {}; it must lie above 0 and at most at {K_MAX}", step.k));
        }
        let last = index + 1 == steps.len();
        match step.below_games {
            Some(_) if last => {
                return wrong("needs a last step without below_games, for all later games".into());
            }
            None if !last => {
                return wrong(format!("step {index} lacks below_games; only the last may"));
            }
            Some(end) if end <= end_before => {
                return wrong(format!("step {index} ends at {end}, not after {end_before}"));
            }
            Some(end) => end_before = end,
            None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(ends: &[(Option<u32>, f64)]) -> Vec<KStep> {
        ends.iter().map(|(below_games, k)| KStep { below_games: *below_games, k: *k }).collect()
    }

    #[test]
    fn k_follows_the_steps() {
        let k = steps(&[(Some(10), 40.0), (Some(20), 32.0), (None, 24.0)]);
        let elo = Elo::new(1500.0, k, None, 0.0, 0.5).unwrap();
        for (games, k) in
            [(0, 40.0), (9, 40.0), (10, 32.0), (19, 32.0), (20, 24.0), (u32::MAX, 24.0)]
        {
            assert_eq!(elo.k(games), k, "{games} games");
        }
    }

    #[test]
    fn wrong_parameters_are_named() {
        let one = || steps(&[(None, 32.0)]);
        for (result, pointer) in [
            (Elo::new(f64::NAN, one(), None, 0.0, 0.5), "/rating/start"),
            (Elo::new(1500.0, vec![], None, 0.0, 0.5), "/rating/k"),
            (Elo::new(1500.0, steps(&[(Some(3), 1.0)]), None, 0.0, 0.5), "/rating/k"),
            (Elo::new(1500.0, steps(&[(None, 1.0), (None, 1.0)]), None, 0.0, 0.5), "/rating/k"),
            (Elo::new(1500.0, steps(&[(None, 0.0)]), None, 0.0, 0.5), "/rating/k"),
            (Elo::new(1500.0, one(), Some(1600.0), 0.0, 0.5), "/rating/floor"),
            (Elo::new(1500.0, one(), None, f64::INFINITY, 0.5), "/rating/home_advantage"),
            (Elo::new(1500.0, one(), None, 0.0, 1.5), "/rating/draw_score"),
        ] {
            assert_eq!(result.unwrap_err().pointer, pointer);
        }
    }
}
