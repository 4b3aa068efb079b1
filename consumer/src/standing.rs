//! What a consumer works on at present, and what keeps it from more.

use std::collections::BTreeSet;

use agon_schema::TopicPartition;

/// Where a consumer is on its way to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Asks the group to be let in.
    Joining,
    /// Is a member and has no share: the others have not agreed yet.
    Waiting,
    /// Was given a share and looks up where the store stands.
    Resuming,
    /// Reads, folds and stores its share, which may be empty.
    Working,
    /// Works no more: it was stopped or it failed.
    Ended,
}

impl Phase {
    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Joining => "joining",
            Phase::Waiting => "waiting",
            Phase::Resuming => "resuming",
            Phase::Working => "working",
            Phase::Ended => "ended",
        }
    }
}

/// What a consumer does and has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How far it has come. It is ready when it works.
    pub phase: Phase,
    /// The partitions that are its own: in a group its share, alone all of them.
    pub partitions: BTreeSet<TopicPartition>,
    /// What is in its way: why log, store or group did not answer at the last attempt.
    pub hindrance: Option<String>,
}

impl Standing {
    pub(crate) fn new(phase: Phase) -> Standing {
        Standing { phase, partitions: BTreeSet::new(), hindrance: None }
    }

    pub(crate) fn with(phase: Phase, partitions: &BTreeSet<TopicPartition>) -> Standing {
        Standing { phase, partitions: partitions.clone(), hindrance: None }
    }

    /// Whether it works on what is its own.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Working
    }
}
