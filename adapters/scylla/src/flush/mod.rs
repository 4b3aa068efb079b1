//! Flushing: what is written, and in which order it is sent.

mod plan;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use plan::{Limits, Plan, plan};
pub(crate) use write::{
    BUCKETS, FOLDED_BY, Kind, LIVE, Write, agent_bucket, bucket_of, bucket_of_offset, columns_of,
    history_bucket,
};
