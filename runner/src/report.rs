//! The account of a league: what became of everything it sent.

use crate::client::{Delivery, Receipt, Rejected};
use tracing::{error, warn};

/// How deliveries of one kind ended, item by item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Taken as new.
    pub accepted: u64,
    /// Known already, be it from an attempt whose answer was lost.
    pub duplicates: u64,
    /// Refused.
    pub refused: u64,
    /// Given up, or cut short by the stop: it is not known whether they were taken.
    pub undelivered: u64,
}

/// What a league did from its start to its stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeagueReport {
    /// Environments and benchmarks.
    pub definitions: Tally,
    /// Matches.
    pub matches: Tally,
    /// Submissions.
    pub submissions: Tally,
    /// Scores of submissions that were sent without metrics.
    pub scores: Tally,
    /// Requests that were repetitions.
    pub retries: u64,
}

impl Tally {
    /// Adds how the delivery of these items ended, and logs what did not end well.
    pub(crate) fn count(&mut self, path: &str, ids: &[&str], delivery: &Delivery) {
        let items = ids.len() as u64;
        let first_id = ids.first().copied().unwrap_or_default();
        match delivery {
            Delivery::Answered(Receipt { accepted, duplicates, rejected }) => {
                self.accepted += accepted;
                self.duplicates += duplicates;
                self.refused += rejected.len() as u64;
                // One line a request: the others of a batch mostly have the same reason.
                if let Some(Rejected { index, code, detail }) = rejected.first() {
                    let id = ids.get(*index).copied().unwrap_or_default();
                    warn!(path, id, code, detail, refused = rejected.len(), "items were refused");
                }
            }
            Delivery::Refused(problem) => {
                self.refused += items;
                let (status, code, detail) = (problem.status, &problem.code, &problem.detail);
                warn!(path, first_id, items, status, code, detail, "the request was refused");
            }
            Delivery::Undelivered { attempts, reason } => {
                self.undelivered += items;
                error!(path, first_id, items, attempts, reason, "gave up; the league goes on");
            }
            Delivery::Stopped => self.undelivered += items,
        }
    }
}
