//! Events that say otherwise under an identity that is taken: refused, or kept as dead letters.
//! Each is kept once; one that the store has, or that is on its way, is not appended again.

use agon_projections::RowKey;
use agon_projections::fold::refusal_mark;
use agon_schema::Identity;

use super::call::{Call, Decided};
use super::candidate::Candidate;
use super::shared::Claims;
use super::{OnConflict, Submitted};
use crate::recent::{Claim, Key, Owner};

/// Decides about every conflict.
pub(crate) async fn judge_conflicts(
    call: &Call,
    candidates: &[Candidate],
    decided: &mut [Decided],
    claims: &mut Claims,
) {
    let (numbers, keys) = claim_refusals(call, candidates, decided, claims);
    if keys.is_empty() {
        return;
    }
    // What cannot be looked up is kept: a dead letter may come twice then.
    let rows = call.shared.lookup.get(keys).await.unwrap_or_default();
    for (number, row) in numbers.into_iter().zip(rows) {
        if let (Decided::Keep { first, .. }, Some(_)) = (&decided[number], row) {
            let id = candidates[number].id;
            let conflict = Submitted::Conflict { id, first: *first, kept: None };
            decided[number] = Decided::Done(conflict);
        }
    }
}

/// Claims the refusals of what is to be kept; answers their numbers and what to look up for each.
fn claim_refusals(
    call: &Call,
    candidates: &[Candidate],
    decided: &mut [Decided],
    claims: &mut Claims,
) -> (Vec<usize>, Vec<RowKey>) {
    let (mut numbers, mut keys) = (Vec::new(), Vec::new());
    let mut state = call.shared.state();
    for (number, (candidate, decided)) in candidates.iter().zip(decided).enumerate() {
        let Decided::Conflict { first } = *decided else { continue };
        let conflict = Submitted::Conflict { id: candidate.id, first, kept: None };
        if call.on_conflict == OnConflict::Refuse {
            *decided = Decided::Done(conflict);
            continue;
        }
        let mark = refusal_mark(&candidate.record);
        let refusal = Key { source: candidate.source, identity: Identity(mark.0) };
        let owner = Owner { call: call.number, index: candidate.index };
        *decided = match state.recent.claim(refusal, mark, owner) {
            Claim::Yours => {
                claims.keys.push(refusal);
                numbers.push(number);
                keys.push(RowKey::Refusal(candidate.source, mark));
                Decided::Keep { first, refusal }
            }
            Claim::Busy(done) => Decided::Busy(done),
            Claim::Known { .. } | Claim::Earlier { .. } => Decided::Done(conflict),
        };
    }
    (numbers, keys)
}
