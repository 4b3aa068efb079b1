//! Rows that stand under a hash, in buckets: users, identities, refused contents.

use agon_ports::Order;
use agon_projections::row::{FirstSeen, UserHash, Value};
use agon_projections::{CellKey, Row, RowKey};
use agon_schema::{ContentHash, Identity, TopicPartition};

use super::bind::{Bind, Start, of_cell, of_source};
use super::{Page, Reader};
use crate::error::RequestError;
use crate::flush::{BUCKETS, bucket_of};

/// Which of the three, and whose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Marked {
    Users(CellKey),
    FirstSeen(CellKey),
    Refusals(TopicPartition),
}

/// A row of any of them.
struct Found {
    mark: [u8; 16],
    offset: u64,
    /// Of an identity.
    content: [u8; 16],
}

impl Marked {
    fn partition(&self, bucket: i8) -> Vec<Bind> {
        let mut values = match self {
            Marked::Users(cell) | Marked::FirstSeen(cell) => of_cell(cell),
            Marked::Refusals(source) => of_source(*source),
        };
        values.push(Bind::Tiny(bucket));
        values
    }

    fn row(&self, found: &Found) -> Row {
        let (mark, offset) = (found.mark, found.offset);
        match self {
            Marked::Users(cell) => {
                let key = RowKey::User(cell.clone(), UserHash(mark));
                Row { key, value: Value::Since(offset) }
            }
            Marked::FirstSeen(cell) => {
                let first = FirstSeen { offset, content: ContentHash(found.content) };
                let key = RowKey::FirstSeen(cell.clone(), Identity(mark));
                Row { key, value: Value::FirstSeen(first) }
            }
            Marked::Refusals(source) => {
                let key = RowKey::Refusal(*source, ContentHash(mark));
                Row { key, value: Value::Since(offset) }
            }
        }
    }
}

/// The hash in a key of one of the three tables.
pub(super) fn mark_of(key: &RowKey) -> Option<[u8; 16]> {
    match key {
        RowKey::User(_, user) => Some(user.0),
        RowKey::FirstSeen(_, identity) => Some(identity.0),
        RowKey::Refusal(_, mark) => Some(mark.0),
        _ => None,
    }
}

impl Reader {
    /// The rows under these hashes, all of one bucket, that are not above `through`.
    pub(super) async fn marked_in(
        &self,
        of: &Marked,
        marks: &[[u8; 16]],
        through: u64,
    ) -> Result<Vec<Row>, RequestError> {
        let Some(first) = marks.first() else { return Ok(vec![]) };
        let mut values = of.partition(bucket_of(first));
        values.push(Bind::Blobs(marks.iter().map(|mark| mark.to_vec()).collect()));
        let found = match of {
            Marked::Users(_) => with_since(self.link.rows(&self.reads.users_in, values).await?),
            Marked::Refusals(_) => {
                with_since(self.link.rows(&self.reads.refusals_in, values).await?)
            }
            Marked::FirstSeen(_) => {
                with_content(self.link.rows(&self.reads.first_seen_in, values).await?)
            }
        };
        let found = found?.into_iter().filter(|found| found.offset <= through);
        Ok(found.map(|found| of.row(&found)).collect())
    }

    /// A page of the rows that are not above `through`.
    pub(super) async fn marked(
        &self,
        of: &Marked,
        through: u64,
        page: Page<'_>,
    ) -> Result<Vec<Row>, RequestError> {
        let mut after = page.after.and_then(mark_of);
        let start = after.map(|mark| bucket_of(&mark));
        let mut rows = Vec::new();
        for bucket in buckets(start, page.order) {
            loop {
                let left = page.limit - rows.len();
                if left == 0 {
                    return Ok(rows);
                }
                let found = self.bucket(of, bucket, after.take(), page.order, left).await?;
                let shown = found.iter().filter(|found| found.offset <= through);
                rows.extend(shown.map(|found| of.row(found)));
                if found.len() < left {
                    break;
                }
                after = found.last().map(|found| found.mark);
            }
        }
        Ok(rows)
    }

    async fn bucket(
        &self,
        of: &Marked,
        bucket: i8,
        after: Option<[u8; 16]>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Found>, RequestError> {
        let start = Start { after: after.map(|mark| Bind::Blob(mark.to_vec())), order, limit };
        let values = of.partition(bucket);
        match of {
            Marked::Users(_) => with_since(self.reads.users.rows(&self.link, values, start).await?),
            Marked::Refusals(_) => {
                with_since(self.reads.refusals.rows(&self.link, values, start).await?)
            }
            Marked::FirstSeen(_) => {
                with_content(self.reads.first_seen.rows(&self.link, values, start).await?)
            }
        }
    }
}

/// The buckets from one on, in their order.
fn buckets(start: Option<i8>, order: Order) -> Box<dyn Iterator<Item = i8> + Send> {
    let last = BUCKETS - 1;
    match order {
        Order::Rising => Box::new(start.unwrap_or(0)..=last),
        Order::Falling => Box::new((0..=start.unwrap_or(last)).rev()),
    }
}

fn with_since(rows: Vec<(Vec<u8>, i64)>) -> Result<Vec<Found>, RequestError> {
    let found = |(mark, offset): (Vec<u8>, i64)| {
        Ok(Found { mark: mark16(mark)?, offset: offset as u64, content: [0; 16] })
    };
    rows.into_iter().map(found).collect()
}

fn with_content(rows: Vec<(Vec<u8>, i64, Vec<u8>)>) -> Result<Vec<Found>, RequestError> {
    let found = |(mark, offset, content): (Vec<u8>, i64, Vec<u8>)| {
        Ok(Found { mark: mark16(mark)?, offset: offset as u64, content: mark16(content)? })
    };
    rows.into_iter().map(found).collect()
}

fn mark16(bytes: Vec<u8>) -> Result<[u8; 16], RequestError> {
    let length = bytes.len();
    bytes
        .try_into()
        .map_err(|_| RequestError::damaged(format!("a hash has {length} bytes instead of 16")))
}
