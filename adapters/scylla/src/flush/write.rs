//! One statement of a flush: which table, which values, under which stamp.

use std::sync::Arc;

use agon_projections::{FOLD_VERSION, GENERATION};
use agon_schema::topic::partition_of;
use agon_schema::{AgentId, TopicPartition};
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;

use crate::cell_name::CellName;
use crate::chunk::Chunk;

/// The generation as the column holds it.
pub(crate) const LIVE: i32 = GENERATION as i32;
/// The fold version as the column holds it.
pub(crate) const FOLDED_BY: i32 = FOLD_VERSION as i32;

/// What is written; the order is that of [`Kind`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// A cell's `applied`.
    Applied {
        cell: Arc<CellName>,
        applied: i64,
    },
    /// A cell's head.
    Head {
        cell: Arc<CellName>,
        head: Vec<u8>,
    },
    /// A cell's own row, or a submission.
    Own {
        cell: Arc<CellName>,
        tbl: i8,
        id: Vec<u8>,
        value: Vec<u8>,
        ver: i64,
    },
    /// That there is such a cell.
    CellIndex {
        cell: Arc<CellName>,
    },
    User {
        cell: Arc<CellName>,
        user: [u8; 16],
        since: i64,
    },
    FirstSeen {
        cell: Arc<CellName>,
        identity: [u8; 16],
        offset: i64,
        content: [u8; 16],
    },
    Matches {
        cell: Arc<CellName>,
        chunk: Chunk,
    },
    History {
        cell: Arc<CellName>,
        agent: AgentId,
        chunk: Chunk,
    },
    AgentCell {
        cell: Arc<CellName>,
        agent: AgentId,
        since: i64,
    },
    DeadLetter {
        source: TopicPartition,
        offset: u64,
        value: Vec<u8>,
    },
    Refusal {
        source: TopicPartition,
        mark: [u8; 16],
        since: i64,
    },
    Progress {
        source: TopicPartition,
        applied: i64,
        value: Vec<u8>,
    },
}

/// Which prepared statement writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Applied,
    Head,
    Own,
    CellIndex,
    User,
    FirstSeen,
    Matches,
    History,
    AgentCell,
    DeadLetter,
    Refusal,
    Progress,
}

/// What is written, under its stamp.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Write {
    pub(crate) what: What,
    pub(crate) stamp: i64,
}

/// The bucket of a hash: its first four bits, so that buckets are in the order of their bytes.
pub(crate) fn bucket_of(mark: &[u8; 16]) -> i8 {
    (mark[0] >> 4) as i8
}

/// Buckets of hashes.
pub(crate) const BUCKETS: i8 = 16;

/// Buckets of the agents of a cell, for their histories, and of all agents, for the cells they are
/// in. Never to be changed: rows would be looked for where they are not.
const HISTORY_BUCKETS: u32 = 32;
const AGENT_BUCKETS: u32 = 64;

/// The bucket of an agent's history in a cell.
pub(crate) fn history_bucket(agent: &AgentId) -> i8 {
    partition_of(agent.as_str().as_bytes(), HISTORY_BUCKETS) as i8
}

/// The bucket of the cells that an agent is in.
pub(crate) fn agent_bucket(agent: &AgentId) -> i8 {
    partition_of(agent.as_str().as_bytes(), AGENT_BUCKETS) as i8
}

/// The bucket of an offset. Whole windows of chunks lie in one.
pub(crate) fn bucket_of_offset(offset: u64) -> i64 {
    (offset >> 18) as i64
}

/// The columns `topic` and `partition`.
pub(crate) fn columns_of(source: TopicPartition) -> (i8, i32) {
    // The same 32 bits: only equality is ever asked for.
    (source.topic.code() as i8, source.partition as i32)
}

impl Write {
    pub(crate) fn kind(&self) -> Kind {
        match &self.what {
            What::Applied { .. } => Kind::Applied,
            What::Head { .. } => Kind::Head,
            What::Own { .. } => Kind::Own,
            What::CellIndex { .. } => Kind::CellIndex,
            What::User { .. } => Kind::User,
            What::FirstSeen { .. } => Kind::FirstSeen,
            What::Matches { .. } => Kind::Matches,
            What::History { .. } => Kind::History,
            What::AgentCell { .. } => Kind::AgentCell,
            What::DeadLetter { .. } => Kind::DeadLetter,
            What::Refusal { .. } => Kind::Refusal,
            What::Progress { .. } => Kind::Progress,
        }
    }

    /// About as many bytes as it takes in a request: the values and what stands around them.
    pub(crate) fn size_bytes(&self) -> usize {
        const AROUND: usize = 100;
        let values = match &self.what {
            What::Applied { cell, .. } | What::CellIndex { cell } => cell.id.len(),
            What::Head { cell, head } => cell.id.len() + head.len(),
            What::Own { cell, id, value, .. } => cell.id.len() + id.len() + value.len(),
            What::User { cell, .. } | What::FirstSeen { cell, .. } => cell.id.len() + 32,
            What::Matches { cell, chunk } => cell.id.len() + chunk.bytes.len(),
            What::History { cell, agent, chunk } => {
                cell.id.len() + agent.as_str().len() + chunk.bytes.len()
            }
            What::AgentCell { cell, agent, .. } => cell.id.len() + agent.as_str().len(),
            What::DeadLetter { value, .. } | What::Progress { value, .. } => value.len(),
            What::Refusal { .. } => 16,
        };
        AROUND + values
    }
}

impl SerializeRow for Write {
    fn serialize(
        &self,
        ctx: &RowSerializationContext<'_>,
        out: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        let (live, by, stamp) = (LIVE, FOLDED_BY, self.stamp);
        match &self.what {
            What::Applied { cell, applied } => {
                (cell.kind, &cell.id, live, by, applied, stamp).serialize(ctx, out)
            }
            What::Head { cell, head } => {
                (cell.kind, &cell.id, live, by, head, stamp).serialize(ctx, out)
            }
            What::Own { cell, tbl, id, value, ver } => {
                (cell.kind, &cell.id, live, by, tbl, id, value, ver, stamp).serialize(ctx, out)
            }
            What::CellIndex { cell } => (live, by, cell.kind, &cell.id, stamp).serialize(ctx, out),
            What::User { cell, user, since } => {
                let bucket = bucket_of(user);
                (cell.kind, &cell.id, live, by, bucket, user, since, stamp).serialize(ctx, out)
            }
            What::FirstSeen { cell, identity, offset, content } => {
                let bucket = bucket_of(identity);
                (cell.kind, &cell.id, live, by, bucket, identity, offset, content, stamp)
                    .serialize(ctx, out)
            }
            What::Matches { cell, chunk: Chunk { first, last, bytes } } => {
                let bucket = bucket_of_offset(*first);
                let (first, last) = (*first as i64, *last as i64);
                (cell.kind, &cell.id, live, by, bucket, first, last, bytes, stamp)
                    .serialize(ctx, out)
            }
            What::History { cell, agent, chunk: Chunk { first, last, bytes } } => {
                let (bucket, agent) = (history_bucket(agent), agent.as_str());
                let (first, last) = (*first as i64, *last as i64);
                (cell.kind, &cell.id, live, by, bucket, agent, first, last, bytes, stamp)
                    .serialize(ctx, out)
            }
            What::AgentCell { cell, agent, since } => {
                let (bucket, agent) = (agent_bucket(agent), agent.as_str());
                (bucket, live, by, agent, cell.kind, &cell.id, since, stamp).serialize(ctx, out)
            }
            What::DeadLetter { source, offset, value } => {
                let ((topic, partition), bucket) = (columns_of(*source), bucket_of_offset(*offset));
                (topic, partition, live, by, bucket, *offset as i64, value, stamp)
                    .serialize(ctx, out)
            }
            What::Refusal { source, mark, since } => {
                let ((topic, partition), bucket) = (columns_of(*source), bucket_of(mark));
                (topic, partition, live, by, bucket, mark, since, stamp).serialize(ctx, out)
            }
            What::Progress { source, applied, value } => {
                let (topic, partition) = columns_of(*source);
                (topic, partition, live, by, applied, value, stamp).serialize(ctx, out)
            }
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}
