//! A cell that needs several pages is never shown half before and half after a flush.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agon_ports::{ProjectionStore, Retry, Scan};
use agon_projections::row::{Counts, Progress, Rating, Value};
use agon_projections::row_bytes::Prefix;
use agon_projections::{CellFlush, CellKey, Flush, Row, RowKey, Table};
use agon_schema::record::RecordHash;
use agon_schema::{AgentId, EnvironmentId, EventTime, Timestamp};

use self::support::fold::SOURCE;
use self::support::{Keyspace, is_absent};

/// More than one page.
const ENTRANTS: usize = 12_000;

fn cell() -> CellKey {
    CellKey::Environment(EnvironmentId::new("go").unwrap())
}

/// Changes every entrant.
fn flush(from: Option<u64>, to: u64) -> Arc<Flush> {
    let last = EventTime { at: Timestamp::from_micros(0).unwrap(), filled_in: false };
    let rating =
        Rating { rating_micros: to as i64, games: 1, wins: 0, draws: 1, losses: 0, last, ver: to };
    let own = (0..ENTRANTS).map(|n| {
        let key = RowKey::Entrant(cell(), AgentId::new(format!("a{n:06}")).unwrap());
        Row { key, value: Value::Rating(rating) }
    });
    let own = own.collect();
    let cells = vec![CellFlush { key: cell(), from, to, own, side: vec![] }];
    let record_hash = RecordHash([0; 16]);
    let progress = Progress { applied: to, record_hash, counts: Counts::default() };
    Arc::new(Flush { source: SOURCE, from, progress, cells, rows: vec![] })
}

fn versions(rows: &[Row]) -> Vec<u64> {
    let mut versions: Vec<u64> = rows
        .iter()
        .map(|row| match &row.value {
            Value::Rating(rating) => rating.ver,
            other => panic!("{other:?} is no rating"),
        })
        .collect();
    versions.dedup();
    versions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_are_joined_are_of_one_state() {
    if is_absent() {
        return;
    }
    let keyspace = Keyspace::new();
    keyspace.init().await;
    let (writer, reader) = (keyspace.open().await, keyspace.open().await);
    writer.flush(flush(None, 0)).await.unwrap();
    let is_done = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&is_done);
    let writing = tokio::spawn(async move {
        for to in 1..=12 {
            writer.flush(flush(Some(to - 1), to)).await.unwrap();
            // A reader that never comes to its end would prove nothing.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        done.store(true, Ordering::SeqCst);
    });
    let scan = Scan::first(Prefix::Cell(Table::Entrants, cell()), ENTRANTS + 1);
    let mut whole = 0;
    let mut states = Vec::new();
    while !is_done.load(Ordering::SeqCst) || whole == 0 {
        match reader.scan(scan.clone()).await {
            Ok(rows) => {
                assert_eq!(rows.len(), ENTRANTS);
                let versions = versions(&rows);
                assert_eq!(versions.len(), 1, "torn: {versions:?}");
                states.extend(versions);
                whole += 1;
            }
            Err(error) => assert_eq!(error.retry, Retry::Later, "{error}"),
        }
    }
    writing.await.unwrap();
    assert!(states.is_sorted(), "{states:?}");
    let rows = reader.scan(scan).await.unwrap();
    assert_eq!(versions(&rows), [12]);
}
