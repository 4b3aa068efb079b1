//! What was answered to whom, and what must therefore count: pure bookkeeping.
//!
//! An acknowledged event counts exactly once; one without an answer counts once or not at all; a
//! refused one does not count. Bounded by the events of the run.

use std::collections::{BTreeMap, BTreeSet};

use crate::traffic::{Board, Event};

/// What is known of an event, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// It was said that it does not count, and nothing else was ever said.
    Refused,
    /// No answer, or one that leaves open whether the log has it.
    Unknown,
    /// The log has it.
    Taken,
}

#[derive(Clone, Debug)]
struct Entry {
    board: Board,
    agents: Vec<String>,
    answer: Answer,
}

/// Every event that was sent, by its id.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<String, Entry>,
}

/// An agent's count on each board.
pub type Counts = BTreeMap<(Board, String), u64>;

/// What is wrong, each with at most a few examples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Acknowledged and not counted.
    pub lost: u64,
    /// Counted more often than once.
    pub counted_twice: u64,
    /// Counted although refused.
    pub counted_refused: u64,
    /// What was expected and found.
    pub examples: Vec<String>,
}

/// Examples that a verdict names.
const EXAMPLES_MAX: usize = 20;

impl Verdict {
    fn name(&mut self, example: String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example);
        }
    }
}

impl Ledger {
    /// Notes an answer; the one that says most stands. A refusal after silence leaves open whether
    /// the silent attempt was taken.
    pub fn note(&mut self, event: &Event, answer: Answer) {
        let Event { id, board, agents, .. } = event;
        let entry = self.entries.entry(id.clone()).or_insert_with(|| Entry {
            board: board.clone(),
            agents: agents.clone(),
            answer,
        });
        entry.answer = entry.answer.max(answer);
    }

    /// Events with this answer.
    pub fn count(&self, answer: Answer) -> u64 {
        self.entries.values().filter(|entry| entry.answer == answer).count() as u64
    }

    /// Every event with its board.
    pub fn events(&self) -> impl Iterator<Item = (&str, &Board)> {
        self.entries.iter().map(|(id, entry)| (id.as_str(), &entry.board))
    }

    /// What the boards must show when these events, and only these, count.
    pub fn expected(&self, counted: &BTreeSet<String>) -> Counts {
        let mut counts = Counts::new();
        for id in counted {
            let Some(entry) = self.entries.get(id) else { continue };
            for agent in &entry.agents {
                *counts.entry((entry.board.clone(), agent.clone())).or_default() += 1;
            }
        }
        counts
    }

    /// Compares what was answered with the events that are found one by one, and those with the
    /// counts of the boards.
    pub fn judge(&self, counted: &BTreeSet<String>, boards: &Counts) -> Verdict {
        let mut verdict = Verdict::default();
        for (id, entry) in &self.entries {
            match (entry.answer, counted.contains(id)) {
                (Answer::Taken, false) => {
                    verdict.lost += 1;
                    verdict.name(format!("{id} was acknowledged and is not found"));
                }
                (Answer::Refused, true) => {
                    verdict.counted_refused += 1;
                    verdict.name(format!("{id} was refused and is found"));
                }
                _ => {}
            }
        }
        let expected = self.expected(counted);
        let keys: BTreeSet<_> = expected.keys().chain(boards.keys()).collect();
        for key in keys {
            let of = |counts: &Counts| counts.get(key).copied().unwrap_or(0);
            let (expected, found) = (of(&expected), of(boards));
            verdict.lost += expected.saturating_sub(found);
            verdict.counted_twice += found.saturating_sub(expected);
            if expected != found {
                verdict.name(format!("{key:?}: {expected} events, the board counts {found}"));
            }
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, agents: [&str; 2]) -> Event {
        Event {
            id: id.to_owned(),
            board: board(),
            agents: agents.map(str::to_owned).to_vec(),
            body: serde_json::Value::Null,
        }
    }

    fn board() -> Board {
        Board::Environment("arena-0".to_owned())
    }

    fn ids(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|&id| id.to_owned()).collect()
    }

    fn counts(of: &[(&str, u64)]) -> Counts {
        of.iter().map(|&(agent, count)| ((board(), agent.to_owned()), count)).collect()
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.note(&event("taken", ["a", "b"]), Answer::Taken);
        ledger.note(&event("open", ["a", "c"]), Answer::Unknown);
        ledger.note(&event("refused", ["b", "c"]), Answer::Refused);
        ledger
    }

    /// Lost, counted twice, counted although refused.
    fn judge(counted: &[&str], boards: &[(&str, u64)]) -> (u64, u64, u64) {
        let verdict = ledger().judge(&ids(counted), &counts(boards));
        assert_eq!(verdict.examples.is_empty(), verdict == Verdict::default());
        (verdict.lost, verdict.counted_twice, verdict.counted_refused)
    }

    #[test]
    fn what_has_no_answer_may_count_or_not() {
        assert_eq!(judge(&["taken"], &[("a", 1), ("b", 1)]), (0, 0, 0));
        assert_eq!(judge(&["taken", "open"], &[("a", 2), ("b", 1), ("c", 1)]), (0, 0, 0));
    }

    #[test]
    fn what_was_acknowledged_counts_exactly_once() {
        assert_eq!(judge(&[], &[]), (1, 0, 0));
        assert_eq!(judge(&["taken"], &[("a", 1)]), (1, 0, 0));
        assert_eq!(judge(&["taken"], &[("a", 2), ("b", 2)]), (0, 2, 0));
        // One lost and one twice do not cancel out.
        assert_eq!(judge(&["taken"], &[("a", 0), ("b", 2)]), (1, 1, 0));
    }

    #[test]
    fn what_nobody_sent_or_was_refused_does_not_count() {
        assert_eq!(judge(&["taken"], &[("a", 1), ("b", 1), ("z", 1)]), (0, 1, 0));
        let all = [("a", 1), ("b", 2), ("c", 1)];
        assert_eq!(judge(&["taken", "refused"], &all), (0, 0, 1));
    }

    #[test]
    fn the_answer_that_says_most_stands() {
        let mut ledger = ledger();
        ledger.note(&event("open", ["a", "c"]), Answer::Refused);
        assert_eq!(ledger.count(Answer::Unknown), 1);
        ledger.note(&event("open", ["a", "c"]), Answer::Taken);
        ledger.note(&event("open", ["a", "c"]), Answer::Unknown);
        assert_eq!((ledger.count(Answer::Taken), ledger.count(Answer::Unknown)), (2, 0));
    }
}
