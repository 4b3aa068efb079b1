//! The one task that appends: a batch at a time, while the next one fills.

use std::sync::Arc;

use agon_ports::PortError;
use agon_schema::Position;
use tokio::time::Instant;

use super::shared::{Piece, Shared};
use crate::batch::{BatchLimits, Cut, cut};

/// What the appender does next.
enum Next {
    Append(Vec<Piece>),
    WaitUntil(Instant),
    Wait,
    Stop,
}

/// Appends until the intake is closed and drained.
pub(crate) async fn run(shared: Arc<Shared>) {
    let ended = Ended(Arc::clone(&shared));
    let limits = shared.config.batch();
    loop {
        match next(&shared, &limits) {
            Next::Append(pieces) => append(&shared, pieces).await,
            Next::WaitUntil(due) => {
                tokio::select! {
                    () = shared.work.notified() => {}
                    () = tokio::time::sleep_until(due) => {}
                }
            }
            Next::Wait => shared.work.notified().await,
            Next::Stop => break,
        }
    }
    drop(ended);
}

fn next(shared: &Shared, limits: &BatchLimits) -> Next {
    let mut state = shared.state();
    let Some(oldest) = state.queue.front() else {
        let is_done = state.is_closed && shared.is_idle();
        return if is_done { Next::Stop } else { Next::Wait };
    };
    let age = oldest.queued_at.elapsed();
    let sizes = state.queue.iter().map(Piece::size);
    match cut(sizes, age, state.is_closed, limits) {
        Cut::Take(count) => Next::Append(state.queue.drain(..count).collect()),
        Cut::Wait(rest) => Next::WaitUntil(Instant::now() + rest),
        Cut::Empty => Next::Wait,
    }
}

async fn append(shared: &Shared, mut pieces: Vec<Piece>) {
    let appended_at_ms = shared.clock.now().micros().div_euclid(1000);
    let mut records = Vec::with_capacity(pieces.iter().map(|piece| piece.appends.len()).sum());
    for piece in &mut pieces {
        for mut append in std::mem::take(&mut piece.appends) {
            append.record.appended_at_ms = appended_at_ms;
            records.push(append);
        }
    }
    let count = records.len();
    shared.metrics.batch_records.observe(count as f64);
    match shared.log.append(records).await {
        Ok(positions) if positions.len() == count => settle(shared, pieces, &positions),
        Ok(positions) => {
            let reason = format!("the log answered {} positions", positions.len());
            shared.fail(pieces, PortError::never(format!("append {count} records"), reason));
        }
        Err(error) => {
            tracing::warn!(%error, "the log did not acknowledge");
            shared.fail(pieces, error);
        }
    }
}

fn settle(shared: &Shared, pieces: Vec<Piece>, mut positions: &[Position]) {
    let mut state = shared.state();
    for piece in pieces {
        let (own, rest) = positions.split_at(piece.claims.len());
        positions = rest;
        for (claim, position) in piece.claims.iter().zip(own) {
            shared.metrics.appended(position.source.topic);
            state.recent.settle(*claim, *position);
        }
        for definition in piece.definitions {
            if state.appended.len() >= shared.config.definitions_max {
                state.appended.clear();
            }
            state.appended.insert(definition);
        }
        // Nobody listens when the caller has gone; the records are in the log all the same.
        let _ = piece.reply.send(Ok(own.to_vec()));
    }
}

/// However the task ends, nobody waits for it for ever.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.close();
        self.0.fail(Vec::new(), PortError::later("append", "the intake has stopped"));
    }
}
