//! What the built-in agents can do, counted over seeds. The counts are exact: the same seeds give
//! the same games, so a change of them is a change of an agent (or of the random generator).

use agon_runner::agents::search::{PROVEN, WIN, forced_values};
use agon_runner::agents::{Agent, Insight, ROSTER};
use agon_runner::arena::{Played, play_game};
use agon_runner::dice::dice;
use agon_runner::games::{ConnectFour, Game, Outcome, Side, TicTacToe};
use proptest::prelude::*;
use rand::Rng;

fn agent(name: &str) -> &'static Agent {
    ROSTER.iter().find(|agent| agent.name == name).expect("a built-in agent")
}

/// Wins, draws and losses of `a` against `b`, sides alternating.
fn tally<G: Insight>(a: &Agent, b: &Agent, games: u64) -> [u32; 3] {
    let mut tally = [0; 3];
    for seed in 0..games {
        let (first, second, own) =
            if seed % 2 == 0 { (a, b, Side::First) } else { (b, a, Side::Second) };
        let Played { winner, .. } = play_game::<G>(first, second, seed).expect("legal moves only");
        let index = match winner {
            Some(side) if side == own => 0,
            None => 1,
            Some(_) => 2,
        };
        tally[index] += 1;
    }
    tally
}

/// One row a pair: a's wins, draws and losses in 100 games of each game.
fn check_counts<G: Insight>(rows: &[(&str, &str, [u32; 3])]) {
    for &(a, b, expected) in rows {
        assert_eq!(tally::<G>(agent(a), agent(b), 100), expected, "{a} against {b} in {}", G::ID);
    }
}

#[test]
fn everyone_beats_random_at_tic_tac_toe() {
    check_counts::<TicTacToe>(&[
        ("greedy", "random", [72, 6, 22]),
        ("blocker", "random", [82, 15, 3]),
        ("centre", "random", [92, 7, 1]),
        ("rollouts-10", "random", [87, 6, 7]),
        ("rollouts-50", "random", [88, 6, 6]),
        ("lookahead-2", "random", [91, 9, 0]),
        ("searcher", "random", [88, 12, 0]),
    ]);
}

#[test]
fn everyone_beats_random_at_connect_four() {
    check_counts::<ConnectFour>(&[
        ("greedy", "random", [71, 0, 29]),
        ("blocker", "random", [96, 0, 4]),
        ("centre", "random", [99, 0, 1]),
        ("rollouts-10", "random", [95, 0, 5]),
        ("lookahead-2", "random", [100, 0, 0]),
    ]);
    // These think longer, so they play fewer games here.
    for name in ["rollouts-50", "searcher"] {
        assert_eq!(tally::<ConnectFour>(agent(name), agent("random"), 10), [10, 0, 0], "{name}");
    }
}

#[test]
fn each_idea_beats_the_one_before_at_connect_four() {
    check_counts::<ConnectFour>(&[
        ("blocker", "greedy", [83, 0, 17]),
        ("centre", "blocker", [71, 1, 28]),
        ("lookahead-2", "centre", [86, 14, 0]),
    ]);
    let counts = tally::<ConnectFour>(agent("searcher"), agent("lookahead-2"), 10);
    assert!(counts[0] >= 6, "searcher against lookahead-2: {counts:?}");
}

#[test]
fn the_searcher_never_loses_tic_tac_toe() {
    for opponent in &ROSTER {
        let [_, _, losses] = tally::<TicTacToe>(agent("searcher"), opponent, 60);
        assert_eq!(losses, 0, "against {}", opponent.name);
    }
}

/// Lets the opponent try every move there is; gives the number of games.
fn never_loses(game: TicTacToe, own: Side, seed: u64) -> u32 {
    match game.outcome() {
        Outcome::Won(winner) => {
            assert_eq!(winner, own, "lost: {game:?}");
            1
        }
        Outcome::Draw => 1,
        Outcome::Ongoing if game.to_move() == own => {
            let choice = agent("searcher").choose(&game, &mut dice(seed, 0)).expect("a move");
            never_loses(game.play(choice.mv).expect("a legal move"), own, seed)
        }
        Outcome::Ongoing => game.children().map(|(_, next)| never_loses(next, own, seed)).sum(),
    }
}

#[test]
fn no_play_whatever_beats_the_searcher_at_tic_tac_toe() {
    for seed in 0..3 {
        assert!(never_loses(TicTacToe::start(), Side::First, seed) > 20, "seed {seed}");
        assert!(never_loses(TicTacToe::start(), Side::Second, seed) > 100, "seed {seed}");
    }
}

/// Minimax without pruning or insight: what the search must agree with.
fn plain_value<G: Game>(game: &G, depth: u32, ply: i32) -> i32 {
    match game.outcome() {
        Outcome::Won(_) => ply - WIN,
        Outcome::Draw => 0,
        Outcome::Ongoing if depth == 0 => 0,
        Outcome::Ongoing => game
            .children()
            .map(|(_, next)| -plain_value(&next, depth - 1, ply + 1))
            .max()
            .expect("a game that goes on has moves"),
    }
}

/// A position after so many random plies, or earlier where the game ended.
fn random_position<G: Game>(plies: u32, seed: u64) -> G {
    let mut dice = dice(seed, 0);
    let mut game = G::start();
    for _ in 0..plies {
        let legal = game.legal_moves();
        let Some(mv) = legal.nth(dice.random_range(0..legal.len().max(1))) else { break };
        game = game.play(mv).expect("a legal move");
    }
    game
}

/// The search sees what plain minimax sees within the depth; what it proves beyond is deeper.
fn check_forced<G: Insight>(game: &G, plies: u32) {
    for (mv, value) in forced_values(game, plies) {
        let next = game.play(mv).expect("a legal move");
        let plain = -plain_value(&next, plies - 1, 1);
        let is_within = WIN - value.abs() <= plies as i32;
        let seen = if value.abs() > PROVEN && is_within { value } else { 0 };
        assert_eq!(seen, plain, "move {mv} in {game:?}");
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_search_agrees_with_minimax(seed: u64, plies in 0u32..36) {
        check_forced(&random_position::<ConnectFour>(plies, seed), 4);
        check_forced(&random_position::<TicTacToe>(plies.clamp(3, 9), seed), 9);
    }

    #[test]
    fn every_agent_answers_legally_and_the_same_again(seed: u64, plies in 0u32..42) {
        let game = random_position::<ConnectFour>(plies, seed);
        prop_assert!(game.estimate().abs() <= 1000);
        for agent in ROSTER.iter().filter(|agent| agent.name != "rollouts-50") {
            let choice = agent.choose(&game, &mut dice(seed, 1));
            prop_assert_eq!(choice, agent.choose(&game, &mut dice(seed, 1)), "{}", agent.name);
            let legal = game.legal_moves();
            prop_assert_eq!(choice.is_none(), legal.is_empty(), "{}", agent.name);
            prop_assert!(choice.is_none_or(|choice| legal.contains(choice.mv)), "{}", agent.name);
        }
    }
}

#[test]
fn a_seed_gives_one_game_and_another_seed_another() {
    let play = |seed| play_game::<ConnectFour>(&ROSTER[0], &ROSTER[2], seed).expect("legal moves");
    assert_eq!(play(7), play(7));
    assert_ne!(play(7), play(8));
}
