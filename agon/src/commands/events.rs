//! `agon events`: records and dead letters, as they are.

use std::collections::BTreeMap;
use std::time::Duration;

use agon_ports::{Assignment, EventLog, LogRecord, Order, ProjectionStore, ReadLimits, Scan};
use agon_projections::row::{DeadLetter, Value};
use agon_projections::row_bytes::Prefix;
use agon_projections::{RowKey, Table};
use agon_schema::{Timestamp, Topic, TopicPartition, decode};

use crate::cli::{Data, DeadLetters, Events};
use crate::exit::Exit;
use crate::node::{self, BadStore, Node};
use crate::output;

/// Runs the command.
///
/// # Errors
/// When the directory is in use or cannot be read, or there is no such dead letter.
pub async fn run(command: Events) -> Result<(), Exit> {
    match command {
        Events::Tail { data, limit } => tail(&open(&data)?, limit).await,
        Events::DeadLetters(DeadLetters::List { data, limit }) => list(&open(&data)?, limit).await,
        Events::DeadLetters(DeadLetters::Show { id, data }) => {
            // Before the directory is opened: wrong use leaves nothing behind.
            let (source, offset) = parse_id(&id)?;
            show(&open(&data)?, source, offset).await
        }
    }
}

fn open(data: &Data) -> Result<Node, Exit> {
    node::must_exist(&data.data)?;
    Node::open(node::lock(&data.data)?, None, BadStore::Refuse)
}

/// The last records of every partition, merged by the time of appending.
async fn tail(node: &Node, limit: usize) -> Result<(), Exit> {
    let ends = node.log.ends().await.map_err(Exit::missing)?;
    let from: Assignment = ends
        .iter()
        .filter(|(_, end)| **end > 0)
        .map(|(source, end)| (*source, end.saturating_sub(limit as u64)))
        .collect();
    let mut left: u64 = from.iter().map(|(source, start)| ends[source] - start).sum();
    let mut newest: BTreeMap<(i64, TopicPartition, u64), LogRecord> = BTreeMap::new();
    let mut reader = node.log.read(from).await.map_err(Exit::missing)?;
    while left > 0 {
        let limits = ReadLimits { records_max: 1_024, bytes_max: 1 << 20 };
        let page = reader.next(limits, Duration::from_secs(5)).await.map_err(Exit::missing)?;
        if page.is_empty() {
            return Err(Exit::missing("no record came from the log for 5 s"));
        }
        left = left.saturating_sub(page.len() as u64);
        for record in page {
            let position = record.position;
            let key = (record.record.appended_at_ms, position.source, position.offset);
            newest.insert(key, record);
            if newest.len() > limit {
                newest.pop_first();
            }
        }
    }
    for record in newest.values() {
        output::line(one_line(record))?;
    }
    Ok(())
}

fn one_line(record: &LogRecord) -> String {
    let position = record.position;
    let appended = Timestamp::from_micros(record.record.appended_at_ms.saturating_mul(1_000))
        .map_or_else(|error| error.to_string(), |at| at.to_string());
    let what = match decode(&record.record) {
        Ok(event) => format!("{event:?}"),
        Err(error) => format!("no event: {error}"),
    };
    format!("{}/{}\t{appended}\t{what}", position.source, position.offset)
}

async fn list(node: &Node, limit: usize) -> Result<(), Exit> {
    let mut after = None;
    let mut left = limit;
    while left > 0 {
        let prefix = Prefix::Table(Table::DeadLetters);
        let scan = Scan { prefix, after, order: Order::Rising, limit: left.min(1_000) };
        let asked = scan.limit;
        let page = node.store.scan(scan).await.map_err(Exit::missing)?;
        let is_last = page.len() < asked;
        for row in &page {
            if let (RowKey::DeadLetter(source, offset), Value::DeadLetter(letter)) =
                (&row.key, &row.value)
            {
                let DeadLetter { rejection, event_type, key, .. } = letter;
                output::line(format_args!(
                    "{source}/{offset}\t{}\t{event_type}\t{key:?}\t{}",
                    rejection.reason, rejection.detail
                ))?;
            }
        }
        left -= page.len();
        after = page.into_iter().last().map(|row| row.key);
        if is_last {
            break;
        }
    }
    Ok(())
}

async fn show(node: &Node, source: TopicPartition, offset: u64) -> Result<(), Exit> {
    let key = RowKey::DeadLetter(source, offset);
    let row = node.store.get(vec![key]).await.map_err(Exit::missing)?.pop().flatten();
    let Some(Value::DeadLetter(letter)) = row.map(|row| row.value) else {
        return Err(Exit::No(format!("{source}/{offset} is no dead letter")));
    };
    output::line(format_args!("reason  {}", letter.rejection.reason))?;
    output::line(format_args!("detail  {}", letter.rejection.detail))?;
    let reader = node.log.read(Assignment::from([(source, offset)])).await;
    let limits = ReadLimits { records_max: 1, bytes_max: 1 };
    let page = reader.map_err(Exit::missing)?.next(limits, Duration::from_secs(5)).await;
    let Some(record) = page.map_err(Exit::missing)?.into_iter().next() else {
        return Err(Exit::missing("the log does not hold the record"));
    };
    output::line(format_args!("key     {:?}", String::from_utf8_lossy(&record.record.key)))?;
    for (name, value) in &record.record.headers {
        output::line(format_args!("header  {name}: {:?}", String::from_utf8_lossy(value)))?;
    }
    output::line(format_args!("value   {:?}", String::from_utf8_lossy(&record.record.value)))
}

fn parse_id(id: &str) -> Result<(TopicPartition, u64), Exit> {
    let read = || {
        let mut parts = id.split('/');
        let name = parts.next()?;
        let topic = Topic::ALL.into_iter().find(|topic| topic.name() == name)?;
        let partition = parts.next()?.parse().ok()?;
        let offset = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some((TopicPartition { topic, partition }, offset))
    };
    read().ok_or_else(|| {
        Exit::Usage(format!("{id:?} is no id; write TOPIC/PARTITION/OFFSET as `list` prints it"))
    })
}
