//! A store whose whole content follows from how many flushes it took, so that any state can be
//! told from a state that it never was in.

use std::path::Path;
use std::sync::Arc;

use agon_embedded::store::{EmbeddedStore, OpenError, StoreConfig};
use agon_ports::{PortError, ProjectionStore, Retry, scan_all};
use agon_projections::row::{Counts, Progress, UserHash, Value};
use agon_projections::row_bytes::Prefix;
use agon_projections::{CellKey, Flush, Row, RowKey, Table};
use agon_schema::record::RecordHash;
use agon_schema::{LogId, Topic, TopicPartition};
use uuid::Uuid;

pub const LOG: LogId = LogId(Uuid::from_u128(7));

/// Partitions that are flushed in turn.
const PARTITIONS: u64 = 2;
/// Rows of a partition that flushes rewrite, a quarter each.
const SERVERS: u64 = 40;

/// A memory so small that flushes become tables soon.
pub fn small() -> StoreConfig {
    StoreConfig { memtable_bytes: 60_000, cache_bytes: 1 << 20, ..StoreConfig::default() }
}

pub fn open(dir: &Path) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(dir, LOG, small())
}

fn source(partition: u64) -> TopicPartition {
    TopicPartition { topic: Topic::RecentChange, partition: partition as u32 }
}

fn progress(applied: u64) -> Progress {
    let record_hash = RecordHash([applied as u8; 16]);
    Progress { applied, record_hash, counts: Counts { counted: applied, ..Counts::default() } }
}

fn server(partition: u64, number: u64, offset: u64) -> Row {
    let cell = CellKey::Stream(partition as u32);
    Row { key: RowKey::Server(cell, format!("server {number}")), value: Value::Server(offset) }
}

fn user(partition: u64, offset: u64) -> Row {
    let mut name = [0xab; 16];
    name[..8].copy_from_slice(&offset.to_be_bytes());
    let key = RowKey::User(CellKey::Stream(partition as u32), UserHash(name));
    Row { key, value: Value::Since(offset) }
}

/// The flush of this number: of the partition whose turn it is, by one record.
pub fn flush(number: u64) -> Arc<Flush> {
    let (partition, offset) = (number % PARTITIONS, number / PARTITIONS);
    let written = (0..SERVERS).filter(|server| server % 4 == offset % 4);
    let mut rows: Vec<Row> = written.map(|number| server(partition, number, offset)).collect();
    rows.push(user(partition, offset));
    let from = offset.checked_sub(1);
    let progress = progress(offset);
    Arc::new(Flush { source: source(partition), from, progress, cells: vec![], rows })
}

/// All rows after so many flushes, by tables.
fn rows_after(flushes: u64) -> Vec<(Table, Vec<Row>)> {
    let mut servers = Vec::new();
    let mut users = Vec::new();
    let mut all_progress = Vec::new();
    for partition in 0..PARTITIONS {
        // Offsets 0 to here, exclusive, of this partition.
        let end = (flushes + PARTITIONS - 1 - partition) / PARTITIONS;
        for number in 0..SERVERS {
            let written = (0..end).rev().find(|offset| offset % 4 == number % 4);
            servers.extend(written.map(|offset| server(partition, number, offset)));
        }
        users.extend((0..end).map(|offset| user(partition, offset)));
        all_progress.extend(end.checked_sub(1).map(|applied| Row {
            key: RowKey::Progress(source(partition)),
            value: Value::Progress(progress(applied)),
        }));
    }
    // Names stand in the order of their bytes: 10 before 2.
    servers.sort_by(|left, right| left.key.cmp(&right.key));
    vec![(Table::Servers, servers), (Table::Users, users), (Table::Progress, all_progress)]
}

/// How many flushes a store holds, which must be all up to there and no others. By scans, and by
/// keys.
pub async fn flushes_of(store: &EmbeddedStore) -> Result<u64, PortError> {
    let mut flushes = 0;
    for row in scan_all(store, Prefix::Table(Table::Progress)).await? {
        let Value::Progress(progress) = row.value else { panic!("{:?}", row.value) };
        flushes += progress.applied + 1;
    }
    for table in Table::ALL {
        let stored = scan_all(store, Prefix::Table(table)).await?;
        let expected = rows_after(flushes).into_iter().find(|(of, _)| *of == table);
        let expected = expected.map(|(_, rows)| rows).unwrap_or_default();
        assert!(stored == expected, "{} are not those after {flushes} flushes", table.name());
        let keys: Vec<_> = stored.iter().map(|row| row.key.clone()).collect();
        let rows = store.get(keys).await?;
        assert!(rows.into_iter().flatten().eq(stored), "{} by keys", table.name());
    }
    Ok(flushes)
}

/// Writes flushes up to this number, exclusive.
pub async fn flush_until(store: &EmbeddedStore, end: u64) {
    for number in flushes_of(store).await.unwrap()..end {
        store.flush(flush(number)).await.unwrap();
    }
}

/// A refused read says that trying again is of no use.
pub fn assert_damage(error: &PortError) {
    assert_eq!(error.retry, Retry::Never, "{error}");
    assert!(error.reason.contains("the store is damaged"), "{error}");
}
