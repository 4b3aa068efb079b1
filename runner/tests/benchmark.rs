//! The benchmark's answers, proved once more by plain minimax, and the scores of the agents.

use agon_runner::agents::{Agent, ROSTER};
use agon_runner::benchmark::{Position, TASKS, Task, positions, score};
use agon_runner::games::{ConnectFour, Game, Outcome};

/// In how many plies the side to move wins (positive) or loses (negative) by force, within
/// `depth`; `None` when neither is forced. No pruning, no insight.
fn forced_end(game: &ConnectFour, depth: i32) -> Option<i32> {
    match game.outcome() {
        Outcome::Won(_) => return Some(0),
        Outcome::Draw => return None,
        Outcome::Ongoing if depth == 0 => return None,
        Outcome::Ongoing => {}
    }
    let ends: Vec<Option<i32>> = game
        .children()
        .map(|(_, next)| {
            // Seen from here a loss of the other side in n plies is a win in n + 1.
            forced_end(&next, depth - 1).map(|end| if end <= 0 { 1 - end } else { -1 - end })
        })
        .collect();
    let wins = ends.iter().flatten().filter(|&&end| end > 0).min();
    let is_lost = ends.iter().all(|end| end.is_some_and(|end| end < 0));
    let loss = if is_lost { ends.iter().flatten().min() } else { None };
    wins.or(loss).copied()
}

fn check_position(position: &Position) {
    let Position { game, task, right } = position;
    let mut quickest_win = None;
    let mut slowest_loss = None;
    for (mv, next) in game.children() {
        let end = forced_end(&next, 4).map(|end| if end <= 0 { 1 - end } else { -1 - end });
        let is_right = match task {
            Task::Win { .. } => end.is_some_and(|end| end > 0),
            Task::Block { .. } => end.is_none(),
        };
        assert_eq!(right.contains(mv), is_right, "move {mv} in {position:?}");
        match end {
            Some(end) if end > 0 => quickest_win = quickest_win.min(Some(end)).or(Some(end)),
            Some(end) => slowest_loss = slowest_loss.max(Some(-end)),
            None => {}
        }
    }
    match *task {
        Task::Win { plies } => assert_eq!(quickest_win, Some(plies as i32), "{position:?}"),
        Task::Block { plies } => {
            assert_eq!((quickest_win, slowest_loss), (None, Some(plies as i32)), "{position:?}");
        }
    }
}

#[test]
fn every_answer_is_proved() {
    let positions = positions();
    for task in TASKS {
        assert_eq!(positions.iter().filter(|p| p.task == task).count(), 12, "{task:?}");
    }
    for position in &positions {
        check_position(position);
        assert!(position.game.legal_moves().len() >= position.right.len() + 2);
    }
}

#[test]
fn stronger_agents_solve_more() {
    let positions = positions();
    let solved = |agent: &Agent| {
        let card = score(agent, &positions, 1);
        assert_eq!(card.positions, 60, "{}", agent.name);
        assert_eq!(card.solved, card.wins_solved + card.blocks_solved, "{}", agent.name);
        (agent.name, card.wins_solved, card.blocks_solved)
    };
    let expected = [
        ("random", 7, 2),
        ("greedy", 18, 2),
        ("blocker", 20, 13),
        ("centre", 29, 14),
        ("rollouts-10", 24, 11),
        ("rollouts-50", 29, 16),
        ("lookahead-2", 35, 24),
        ("searcher", 36, 24),
    ];
    assert_eq!(ROSTER.each_ref().map(solved), expected);
}

#[test]
fn a_score_depends_on_agent_and_seed_alone() {
    let positions = positions();
    assert_eq!(score(&ROSTER[0], &positions, 5), score(&ROSTER[0], &positions, 5));
    let metrics = score(&ROSTER[7], &positions, 5).metrics();
    assert_eq!(metrics["accuracy"], 1.0);
    assert_eq!((metrics["solved"], metrics["positions"]), (60.0, 60.0));
    assert_eq!(score(&ROSTER[7], &[], 5).accuracy(), 0.0);
}
