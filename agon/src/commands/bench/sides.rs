//! Sides that are measured in turn, and the table that sets each beside the others.

use super::median;
use crate::exit::Exit;
use crate::output;

/// Ticks a second in which the system counts processor time.
const TICKS: f64 = 100.0;

/// One of the sides, with a figure a round.
pub struct Side {
    /// What it is, for a stranger.
    pub name: String,
    /// What it handles: events or rows.
    pub unit: &'static str,
    /// Units a second.
    pub per_s: Vec<f64>,
    /// Seconds of this process' processors for a million units.
    pub cpu_s: Vec<f64>,
}

impl Side {
    /// A side that was not measured yet.
    pub fn new(name: impl Into<String>, unit: &'static str) -> Side {
        Side { name: name.into(), unit, per_s: Vec::new(), cpu_s: Vec::new() }
    }

    /// Adds a round: so many units in so many seconds, of which the processors were busy some.
    pub fn add(&mut self, units: f64, (took_s, cpu_s): (f64, f64)) {
        self.per_s.push(units / took_s);
        self.cpu_s.push(cpu_s / units * 1e6);
    }
}

/// How one side is to stand beside another, by their numbers from 0.
pub struct Goal {
    /// The side.
    pub side: usize,
    /// The side that it is compared with.
    pub baseline: usize,
    /// The least ratio.
    pub least: f64,
}

/// Prints a line a side and a line a goal.
///
/// # Errors
/// When standard output cannot be written to.
pub fn print(sides: &[Side], goals: &[Goal]) -> Result<(), Exit> {
    output::line(format_args!(
        "{:>2} {:<74} {:>12} {:>14} {:>14}",
        "", "side", "a second", "a CPU second", "CPU s/million"
    ))?;
    for (number, side) in sides.iter().enumerate() {
        let cpu_s = median(&side.cpu_s);
        output::line(format_args!(
            "{:>2} {:<74} {:>12.0} {:>14.0} {cpu_s:>14.2} {}",
            number + 1,
            side.name,
            median(&side.per_s),
            1e6 / cpu_s,
            side.unit
        ))?;
    }
    for goal in goals {
        let (Some(ours), Some(base)) = (sides.get(goal.side), sides.get(goal.baseline)) else {
            continue;
        };
        output::line(ratio(goal, &ours.per_s, &base.per_s))?;
    }
    Ok(())
}

/// The ratio round by round: its median, its range, and whether the goal is met.
fn ratio(goal: &Goal, ours: &[f64], base: &[f64]) -> String {
    let ratios: Vec<f64> = ours.iter().zip(base).map(|(a, b)| a / b).collect();
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let middle = median(&ratios);
    let verdict = if middle >= goal.least { "met" } else { "not met" };
    format!(
        "side {} / side {}: ratio {middle:.2} ({least:.2} to {most:.2}, {} rounds), goal {}: \
         {verdict}",
        goal.side + 1,
        goal.baseline + 1,
        ratios.len(),
        goal.least
    )
}

/// Seconds that the processors gave to this process; NaN where the system does not say.
pub fn cpu_seconds() -> f64 {
    std::fs::read_to_string("/proc/self/stat")
        .ok()
        .and_then(|text| cpu_of(&text))
        .unwrap_or(f64::NAN)
}

/// Fields 14 and 15, counted after the name, which may hold anything.
fn cpu_of(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "1 (a) b) S 1 1 1 0 -1 4194560 1 2 3 4 150 50 0 0 20 0";
        assert_eq!(cpu_of(stat), Some(2.0));
        assert_eq!(cpu_of("1 (a) S 1"), None);
        assert!(!cpu_seconds().is_nan() || !cfg!(target_os = "linux"));
    }

    #[test]
    fn ratios_are_of_rounds_and_say_whether_the_goal_is_met() {
        let goal = Goal { side: 1, baseline: 0, least: 0.85 };
        let text = ratio(&goal, &[90.0, 80.0, 95.0], &[100.0, 100.0, 100.0]);
        assert_eq!(text, "side 2 / side 1: ratio 0.90 (0.80 to 0.95, 3 rounds), goal 0.85: met");
        assert!(ratio(&goal, &[50.0], &[100.0]).ends_with("not met"));
    }
}
