//! The laws of the games, against plain grids that share nothing with the bitboards.

use agon_runner::games::connect_four::{COLUMNS, ROWS};
use agon_runner::games::{ConnectFour, Game, IllegalMove, Move, Moves, Outcome, Side, TicTacToe};
use proptest::prelude::*;

/// A board that anybody can check by eye: who holds (column, row).
type Grid = Vec<Vec<Option<Side>>>;

/// Lays a record of moves out on a grid; a move gives a column and, unless it falls, a row.
fn grid(columns: usize, rows: usize, moves: &[Move], falls: bool) -> Grid {
    let mut grid = vec![vec![None; rows]; columns];
    for (ply, &mv) in moves.iter().enumerate() {
        let side = if ply % 2 == 0 { Side::First } else { Side::Second };
        let (column, row) = if falls {
            let column = usize::from(mv);
            (column, grid[column].iter().position(Option::is_none).expect("a free row"))
        } else {
            (usize::from(mv) % columns, usize::from(mv) / columns)
        };
        assert_eq!(grid[column][row], None, "a cell is taken once");
        grid[column][row] = Some(side);
    }
    grid
}

/// The side that holds `length` cells in a line, found by walking from every cell.
fn line_owner(grid: &Grid, length: i32) -> Option<Side> {
    let at = |column: i32, row: i32| -> Option<Side> {
        let column = grid.get(usize::try_from(column).ok()?)?;
        *column.get(usize::try_from(row).ok()?)?
    };
    for column in 0..grid.len() as i32 {
        for row in 0..grid[0].len() as i32 {
            for (dc, dr) in [(1, 0), (0, 1), (1, 1), (1, -1)] {
                let owner = at(column, row);
                if owner.is_some()
                    && (1..length).all(|n| at(column + n * dc, row + n * dr) == owner)
                {
                    return owner;
                }
            }
        }
    }
    None
}

/// Plays as `picks` say and holds every law of [`Game`] at every ply.
fn check_game<G: Game>(picks: &[usize], owner: impl Fn(&[Move]) -> Option<Side>, cells: u32) {
    let mut game = G::start();
    let mut moves = Vec::new();
    for pick in picks.iter().cycle() {
        assert_eq!(game.plies() as usize, moves.len());
        assert_eq!(game.to_move(), Side::after(game.plies()), "sides alternate");
        let legal = game.legal_moves();
        let expected = match owner(&moves) {
            Some(side) => Outcome::Won(side),
            None if game.plies() == cells => Outcome::Draw,
            None => Outcome::Ongoing,
        };
        assert_eq!(game.outcome(), expected, "after {moves:?}");
        assert_eq!(legal.is_empty(), expected != Outcome::Ongoing, "after {moves:?}");
        for mv in 0..=u8::MAX {
            let played = game.play(mv);
            assert_eq!(played.is_ok(), legal.contains(mv), "move {mv} after {moves:?}");
            let wins = played.is_ok_and(|next| next.outcome() == Outcome::Won(game.to_move()));
            let said = game.winning_moves(game.to_move()).contains(mv);
            assert_eq!(said, wins, "move {mv} after {moves:?}");
        }
        let Some(mv) = legal.nth(pick % legal.len().max(1)) else { return };
        moves.push(mv);
        game = game.play(mv).expect("a legal move");
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn tic_tac_toe_keeps_the_laws(picks in prop::collection::vec(0usize..9, 1..10)) {
        let owner = |moves: &[Move]| line_owner(&grid(3, 3, moves, false), 3);
        check_game::<TicTacToe>(&picks, owner, 9);
    }

    #[test]
    fn connect_four_keeps_the_laws(picks in prop::collection::vec(0usize..7, 1..43)) {
        let owner = |moves: &[Move]| {
            line_owner(&grid(usize::from(COLUMNS), usize::from(ROWS), moves, true), 4)
        };
        check_game::<ConnectFour>(&picks, owner, 42);
    }

    #[test]
    fn threats_of_the_other_side_are_its_lines(picks in prop::collection::vec(0usize..7, 1..43)) {
        let (mut game, mut moves) = (ConnectFour::start(), Vec::new());
        for pick in picks {
            let legal = game.legal_moves();
            let other = game.to_move().other();
            for mv in legal {
                let mut board = grid(7, 6, &moves, true);
                let column = &mut board[usize::from(mv)];
                let row = column.iter().position(Option::is_none).expect("a legal column");
                column[row] = Some(other);
                let threat = line_owner(&board, 4) == Some(other);
                prop_assert_eq!(game.winning_moves(other).contains(mv), threat);
            }
            let Some(mv) = legal.nth(pick % legal.len().max(1)) else { break };
            moves.push(mv);
            game = game.play(mv).expect("a legal move");
        }
    }
}

/// Counts the ways to play `plies` moves; a game that ended earlier does not count.
fn perft<G: Game>(game: G, plies: u32) -> u64 {
    match plies {
        0 => 1,
        1 => game.legal_moves().len() as u64,
        _ => game.children().map(|(_, next)| perft(next, plies - 1)).sum(),
    }
}

/// Counts complete games by how they end: won by the first side, by the second, drawn.
fn complete<G: Game>(game: G) -> [u64; 3] {
    match game.outcome() {
        Outcome::Won(Side::First) => [1, 0, 0],
        Outcome::Won(Side::Second) => [0, 1, 0],
        Outcome::Draw => [0, 0, 1],
        Outcome::Ongoing => game.children().fold([0; 3], |sum, (_, next)| {
            let more = complete(next);
            [sum[0] + more[0], sum[1] + more[1], sum[2] + more[2]]
        }),
    }
}

#[test]
fn tic_tac_toe_has_255168_games() {
    let [first, second, draws] = complete(TicTacToe::start());
    assert_eq!([first, second, draws], [131_184, 77_904, 46_080]);
    assert_eq!(first + second + draws, 255_168);
}

#[test]
fn connect_four_has_the_known_counts() {
    let known = [1, 7, 49, 343, 2_401, 16_807, 117_649, 823_536, 5_673_234];
    for (plies, count) in known.into_iter().enumerate() {
        assert_eq!(perft(ConnectFour::start(), plies as u32), count, "{plies} plies");
    }
}

fn check_refused<G: Game>(moves: &[Move], mv: Move) {
    let game = moves.iter().fold(G::start(), |game, &mv| game.play(mv).expect("a legal move"));
    let refused = IllegalMove { game: G::ID, mv, ply: moves.len() as u32 };
    assert_eq!(game.play(mv), Err(refused), "{mv} after {moves:?}");
}

#[test]
fn what_is_not_legal_is_refused() {
    check_refused::<TicTacToe>(&[4], 4);
    check_refused::<TicTacToe>(&[], 9);
    check_refused::<TicTacToe>(&[0, 3, 1, 4, 2], 8);
    check_refused::<ConnectFour>(&[], 7);
    check_refused::<ConnectFour>(&[], 255);
    check_refused::<ConnectFour>(&[0, 0, 0, 0, 0, 0], 0);
    check_refused::<ConnectFour>(&[0, 1, 0, 1, 0, 1, 0], 5);
}

#[test]
fn a_set_of_moves_gives_its_members_in_order() {
    let moves: Moves = [6, 0, 3, 200, 16].into_iter().collect();
    assert_eq!(moves.into_iter().collect::<Vec<_>>(), [0, 3, 6]);
    let nth: Vec<Option<Move>> = [0, 1, 2, 3, usize::MAX].map(|n| moves.nth(n)).to_vec();
    assert_eq!(nth, [Some(0), Some(3), Some(6), None, None]);
    assert_eq!((moves.len(), moves.is_empty(), Moves::default().nth(0)), (3, false, None));
}
