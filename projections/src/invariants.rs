//! The laws, each named once and used by tests, by `verify` and by debug assertions.

use crate::row::{Counts, Progress, Rating, Score, StreamTotals};

/// INV-1: every game was won, drawn or lost.
pub fn games_add_up(rating: &Rating) -> bool {
    let parts = u64::from(rating.wins) + u64::from(rating.draws) + u64::from(rating.losses);
    parts == u64::from(rating.games)
}

/// INV-2: in matches of two players, with one K, half a point for a draw, no floor and no start
/// that differs, matches move points between players but make and lose none.
pub fn points_are_conserved(start_micros: i64, ratings: &[Rating]) -> bool {
    let sum: i128 = ratings.iter().map(|rating| i128::from(rating.rating_micros)).sum();
    sum == i128::from(start_micros) * ratings.len() as i128
}

/// INV-3: an agent has a score exactly when a run counted.
pub fn score_follows_runs(score: &Score) -> bool {
    score.score.is_some() == (score.runs > 0) && score.score.is_none_or(f64::is_finite)
}

/// INV-4: bots are messages, and no more users were seen than messages.
pub fn totals_are_bounded(totals: &StreamTotals) -> bool {
    totals.bots <= totals.messages && totals.distinct_users <= totals.messages
}

/// INV-5: every record up to the position was counted, a duplicate or rejected.
pub fn progress_accounts_for_all(progress: &Progress) -> bool {
    let Counts { counted, duplicates, rejected } = progress.counts;
    counted + duplicates + rejected == progress.applied + 1
}
