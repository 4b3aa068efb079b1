//! Elo, exactly: integer millionths in, integer millionths out.
//!
//! Source: A. Elo, *The Rating of Chessplayers* (1978), in the logistic form with divisor 400; for
//! more than two players every pair is one game at K / (players - 1).

use agon_schema::rating::Elo;

/// Millionths of a point in a point.
pub const MICROS: f64 = 1_000_000.0;

/// log2(10) / 400: with it `10^(d/400)` is one `exp2`.
const LOG2_10_BY_400: f64 = std::f64::consts::LOG2_10 / 400.0;

/// Ratings are kept within ± this many millionths, so that no sequence of matches can overflow.
pub const RATING_MICROS_MAX: i64 = 1_000_000_000_000_000;

/// One player before a match.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// In millionths of a point.
    pub rating_micros: i64,
    /// Matches played before this one.
    pub games: u32,
    /// From 1, the best.
    pub placement: u32,
    /// Whether the home advantage counts.
    pub home: bool,
}

/// The expected score of a player who stands `difference` points above the other, in (0, 1).
pub fn expected_score(difference: f64) -> f64 {
    1.0 / (1.0 + libm::exp2(-difference * LOG2_10_BY_400))
}

/// A rating in points as millionths.
pub fn to_micros(points: f64) -> i64 {
    (points * MICROS).round_ties_even() as i64
}

/// The ratings after a match of two to 64 players, who stand in the order of placement, then id.
/// Appends one rating in millionths for each to `after`. Every change is computed from the ratings
/// before the match and rounded once, half to even.
pub fn rate(elo: &Elo, players: &[Standing], after: &mut Vec<i64>) {
    match players {
        [first, second] => {
            let changes = rate_two(elo, first, second);
            after.push(moved(elo, first.rating_micros, changes.0));
            after.push(moved(elo, second.rating_micros, changes.1));
        }
        _ => rate_many(elo, players, after),
    }
}

fn rate_two(elo: &Elo, first: &Standing, second: &Standing) -> (i64, i64) {
    let expected = expected_score(points(elo, first) - points(elo, second));
    let drawn = first.placement == second.placement;
    let (score_first, score_second) =
        if drawn { (elo.draw_score(), elo.draw_score()) } else { (1.0, 0.0) };
    let (k_first, k_second) = (elo.k(first.games), elo.k(second.games));
    let change = to_micros(k_first * (score_first - expected));
    // With one K, what one wins the other loses, to the last digit.
    if k_first == k_second && score_first + score_second == 1.0 {
        return (change, -change);
    }
    (change, to_micros(k_second * (score_second - (1.0 - expected))))
}

fn rate_many(elo: &Elo, players: &[Standing], after: &mut Vec<i64>) {
    let others = players.len().saturating_sub(1).max(1) as f64;
    let mut sums = vec![0.0; players.len()];
    for (index, one) in players.iter().enumerate() {
        for (offset, other) in players[index + 1..].iter().enumerate() {
            let expected = expected_score(points(elo, one) - points(elo, other));
            let drawn = one.placement == other.placement;
            let (score, score_other) =
                if drawn { (elo.draw_score(), elo.draw_score()) } else { (1.0, 0.0) };
            sums[index] += score - expected;
            sums[index + 1 + offset] += score_other - (1.0 - expected);
        }
    }
    for (player, sum) in players.iter().zip(sums) {
        let change = to_micros(elo.k(player.games) / others * sum);
        after.push(moved(elo, player.rating_micros, change));
    }
}

fn points(elo: &Elo, player: &Standing) -> f64 {
    let home = if player.home { elo.home_advantage() } else { 0.0 };
    player.rating_micros as f64 / MICROS + home
}

fn moved(elo: &Elo, rating_micros: i64, change: i64) -> i64 {
    let lowest = elo.floor().map_or(-RATING_MICROS_MAX, to_micros);
    rating_micros.saturating_add(change).clamp(lowest, RATING_MICROS_MAX)
}
