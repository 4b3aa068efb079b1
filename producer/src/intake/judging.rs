//! Brings together what a round needs to judge: the view of the store, the recent identities and
//! the remembered definitions. What it decides is decided by `judge`, which is pure.

use std::sync::Arc;
use std::time::Duration;

use agon_ports::{Assignment, PortError};
use agon_projections::row::HeadDetail;
use agon_schema::TopicPartition;

use super::Submitted;
use super::call::{Call, Decided, seen_before};
use super::candidate::{Candidate, Entry, definition_of, submission_of};
use super::shared::{Claims, Shared, State};
use super::view::{Asked, Seen};
use crate::judge::{Definition, Sight, Verdict, judge};
use crate::recent::{Key, Owner};

/// Looks at everything that is open, in the order of the call, and answers the partitions of what
/// stays open. With any other than fresh sight nothing does.
pub(crate) async fn judge_all(
    call: &Call,
    candidates: &[Candidate],
    decided: &mut [Decided],
    claims: &mut Claims,
    sight: Sight,
) -> Vec<TopicPartition> {
    let asked = asked(call, candidates, decided);
    if asked.is_empty() {
        return Vec::new();
    }
    let (seen, sight) = match Seen::load(&call.shared.lookup, &asked).await {
        Some(seen) => (seen, sight),
        None => (Seen::default(), Sight::Blocked),
    };
    let mut state = call.shared.state();
    remember(&call.shared, &mut state, &seen);
    let mut unsure = Vec::new();
    let mut released = Vec::new();
    for (candidate, decided) in candidates.iter().zip(decided) {
        if !matches!(decided, Decided::Open) {
            continue;
        }
        *decided = decide(call, candidate, &seen, &state, sight);
        match decided {
            Decided::Open => unsure.push(candidate.source),
            Decided::Take => {}
            _ => {
                // At once, so that what comes later in the call does not build upon it.
                state.recent.release(candidate.key, call.number);
                released.push(candidate.key);
            }
        }
    }
    drop(state);
    if !released.is_empty() {
        released.sort_unstable();
        claims.keys.retain(|key| released.binary_search(key).is_err());
    }
    unsure
}

fn asked<'a>(call: &'a Call, candidates: &'a [Candidate], decided: &[Decided]) -> Vec<Asked<'a>> {
    let state = call.shared.state();
    let open = candidates.iter().zip(decided).filter(|(_, d)| matches!(d, Decided::Open));
    let ask = |(candidate, _): (&'a Candidate, _)| Asked {
        candidate,
        entry: &call.entries[candidate.index],
        needs_head: !state.definitions.contains_key(&candidate.cell),
    };
    open.map(ask).collect()
}

/// Keeps the definitions that the store has. They never change, so forgetting costs a look only.
fn remember(shared: &Shared, state: &mut State, seen: &Seen) {
    for (cell, detail) in &seen.heads {
        if state.definitions.len() >= shared.config.definitions_max {
            state.definitions.clear();
        }
        state.definitions.insert(cell.clone(), detail.clone());
    }
}

fn decide(call: &Call, candidate: &Candidate, seen: &Seen, state: &State, sight: Sight) -> Decided {
    if let Some(first) = seen.first_seen.get(&candidate.index) {
        return seen_before(candidate, *first);
    }
    let Entry::Event(event) = &call.entries[candidate.index] else { return Decided::Take };
    let owner = Owner { call: call.number, index: candidate.index };
    let definition = definition(candidate, seen, state, owner);
    let has_submission = submission_of(event).is_none_or(|(id, identity)| {
        seen.submissions.contains(&(candidate.cell.clone(), id.clone()))
            || state.recent.precedes(Key { source: candidate.source, identity }, owner)
    });
    match judge(event, definition, has_submission, sight) {
        Verdict::Take => Decided::Take,
        Verdict::Unsure => Decided::Open,
        Verdict::Refuse(rejection) => {
            Decided::Done(Submitted::Refused { id: candidate.id, rejection })
        }
    }
}

fn definition<'a>(
    candidate: &Candidate,
    seen: &'a Seen,
    state: &'a State,
    owner: Owner,
) -> Definition<'a> {
    let known = seen.heads.get(&candidate.cell).or_else(|| state.definitions.get(&candidate.cell));
    match known {
        Some(HeadDetail::Environment(_)) => Definition::Environment,
        Some(HeadDetail::Benchmark(defined)) => Definition::Benchmark(defined),
        Some(HeadDetail::Stream(_)) | None => {
            let precedes = definition_of(&candidate.cell).is_some_and(|identity| {
                let key = Key { source: candidate.source, identity };
                state.appended.contains(&key) || state.recent.precedes(key, owner)
            });
            if precedes { Definition::Before } else { Definition::Unseen }
        }
    }
}

/// Waits until the store has passed what is in the log now, in these partitions.
pub(crate) async fn wait_for_view(
    shared: &Arc<Shared>,
    sources: &[TopicPartition],
    wait: Duration,
) -> Sight {
    let reached = async {
        let mut ends: Assignment = shared.log.ends().await?;
        ends.retain(|source, _| sources.contains(source));
        shared.progress.reach(&ends).await;
        Ok::<_, PortError>(())
    };
    match tokio::time::timeout(wait, reached).await {
        Ok(Ok(())) => Sight::Certain,
        Ok(Err(error)) => {
            tracing::warn!(%error, "the log's ends cannot be read; events are left to the fold");
            Sight::Blocked
        }
        Err(_) => Sight::Blocked,
    }
}
