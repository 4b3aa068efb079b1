//! The raw reader shows what a keyspace holds as an embedded store would hold it, hides what no
//! completed flush vouches for, and names what no flush wrote.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use agon_ports::conformance::store_inspector::StoreInspectorFixture;
use agon_ports::{ProjectionStore, StoreInspector};
use agon_projections::row::{
    Counts, DeadLetter, FirstSeen, Head, HeadDetail, HistoryRow, MatchRow, Progress, Rating,
    UserHash, Value,
};
use agon_projections::row_bytes::{Prefix, key_bytes, prefix_bytes, value_bytes};
use agon_projections::{
    CellFlush, CellKey, FOLD_VERSION, Flush, GENERATION, Reason, Rejection, Row, RowKey, Table,
};
use agon_schema::event::EnvironmentDefined;
use agon_schema::rating::RatingSystem;
use agon_schema::record::RecordHash;
use agon_schema::{
    AgentId, ContentHash, EnvironmentId, EventTime, Identity, NaturalId, Timestamp, Topic,
    TopicPartition,
};
use agon_scylla::ScyllaInspector;

use self::support::{Keyspace, LOG, is_absent};

/// A keyspace for each case.
struct Fixture(Keyspace);

#[async_trait::async_trait]
impl StoreInspectorFixture for Fixture {
    async fn open(&mut self) -> (Arc<dyn ProjectionStore>, Arc<dyn StoreInspector>) {
        self.0.init().await;
        let inspector = ScyllaInspector::open(&self.0.address, LOG).await.unwrap();
        (Arc::new(self.0.open().await), Arc::new(inspector))
    }
}

fn make_fixture() -> Fixture {
    Fixture(Keyspace::new())
}

agon_ports::store_inspector_conformance!(make_fixture, skipped_when: is_absent);

const SOURCE: TopicPartition = TopicPartition { topic: Topic::Matches, partition: 3 };

fn go() -> CellKey {
    CellKey::Environment(EnvironmentId::new("go").unwrap())
}

fn ana() -> AgentId {
    AgentId::new("ana").unwrap()
}

/// Every kind of row at an offset; what lies beside the cell is another row at each.
fn rows(offset: u64) -> (Vec<Row>, Vec<Row>, Vec<Row>) {
    let at = Timestamp::from_micros(offset as i64).unwrap();
    let (occurred, match_id) = (EventTime { at, filled_in: false }, NaturalId::new("m").unwrap());
    let definition = EnvironmentDefined {
        id: EnvironmentId::new("go").unwrap(),
        version: 1,
        rating: RatingSystem::default(),
    };
    let detail = HeadDetail::Environment(definition);
    let head = Head { applied: offset, counted: 1, last: Some(occurred), detail };
    let (games, rating_micros) = (1, offset as i64);
    let rating =
        Rating { rating_micros, games, wins: 1, draws: 0, losses: 0, last: occurred, ver: offset };
    let played = MatchRow { match_id: match_id.clone(), players: vec![], occurred, context: None };
    let history = HistoryRow::Run {
        submission_id: match_id,
        value: offset as f64,
        score_after: 0.0,
        occurred,
    };
    let content = ContentHash([7; 16]);
    let rejection = Rejection::new(Reason::Malformed, offset);
    let text = String::new;
    let letter = DeadLetter { rejection, event_type: text(), event_id: text(), key: text() };
    let marks = [(offset * 37) as u8; 16];
    let row = |key, value| Row { key, value };
    let own = vec![
        row(RowKey::Head(go()), Value::Head(head)),
        row(RowKey::Entrant(go(), ana()), Value::Rating(rating)),
    ];
    let side = vec![
        row(RowKey::Match(go(), offset), Value::Match(played)),
        row(RowKey::History(go(), ana(), offset), Value::History(history)),
        row(
            RowKey::FirstSeen(go(), Identity(marks)),
            Value::FirstSeen(FirstSeen { offset, content }),
        ),
        row(RowKey::User(go(), UserHash(marks)), Value::Since(offset)),
    ];
    let rest = vec![
        row(RowKey::DeadLetter(SOURCE, offset), Value::DeadLetter(letter)),
        row(RowKey::Refusal(SOURCE, ContentHash(marks)), Value::Since(offset)),
    ];
    (own, side, rest)
}

/// The flush of `(from, to]`.
fn flush(from: Option<u64>, to: u64) -> Flush {
    let (own, ..) = rows(to);
    let mut cell = CellFlush { key: go(), from, to, own, side: vec![] };
    let mut rest = Vec::new();
    for offset in from.map_or(0, |from| from + 1)..=to {
        let (_, side, more) = rows(offset);
        cell.side.extend(side);
        rest.extend(more);
    }
    if from.is_none() {
        let key = RowKey::AgentCell(ana(), go());
        cell.side.push(Row { key, value: Value::Since(0) });
    }
    let record_hash = RecordHash([to as u8; 16]);
    let progress = Progress { applied: to, record_hash, counts: Counts::default() };
    Flush { source: SOURCE, from, progress, cells: vec![cell], rows: rest }
}

/// A keyspace into which some flushes went, and what it must hold.
struct Filled {
    keyspace: Keyspace,
    inspector: ScyllaInspector,
    expected: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Filled {
    async fn new(ends: &[u64]) -> Filled {
        let keyspace = Keyspace::new();
        keyspace.init().await;
        let store = keyspace.open().await;
        let (mut from, mut expected) = (None, BTreeMap::new());
        for to in ends {
            let flush = flush(from, *to);
            let progress = Row {
                key: RowKey::Progress(SOURCE),
                value: Value::Progress(flush.progress.clone()),
            };
            let rows = flush.rows().chain([&progress]);
            expected.extend(rows.map(|row| (key_bytes(&row.key), value_bytes(&row.value))));
            store.flush(Arc::new(flush)).await.unwrap();
            from = Some(*to);
        }
        let inspector = ScyllaInspector::open(&keyspace.address, LOG).await.unwrap();
        Filled { keyspace, inspector, expected }
    }

    /// Runs a statement that stands for a write by someone else; words in capitals are columns and
    /// values of partitions.
    async fn write(&self, cql: &str) {
        let by = "generation, fold_version";
        let live = format!("{GENERATION}, {FOLD_VERSION}");
        let is_live = format!("generation = {GENERATION} AND fold_version = {FOLD_VERSION}");
        let words: [(&str, &str); 12] = [
            ("KEY", &format!("cell_kind = 1 AND cell_id = 'go' AND {is_live}")),
            ("PART", &format!("topic = 1 AND partition = 3 AND {is_live}")),
            ("IS_LIVE", &is_live),
            ("LIVE", &live),
            ("(CELL", &format!("(cell_kind, cell_id, {by}")),
            ("(SOURCE", &format!("(topic, partition, {by}")),
            ("(GO", &format!("(1, 'go', {live}")),
            ("(NEW", &format!("(1, 'new', {live}")),
            ("(THREE", &format!("(1, 3, {live}")),
            ("ZERO", &format!("0x{}", "00".repeat(16))),
            ("INTO ", &format!("INTO {}.", self.keyspace.address.keyspace())),
            (" ks.", &format!(" {}.", self.keyspace.address.keyspace())),
        ];
        let replaced = |cql: String, (word, by): &(&str, &str)| cql.replace(word, by);
        let cql = words.iter().fold(cql.to_owned(), replaced);
        let session = self.keyspace.session().await;
        session.query_unpaged(cql.clone(), ()).await.unwrap_or_else(|e| panic!("{cql}: {e}"));
    }

    async fn listed(&self, page: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut found = BTreeMap::new();
        for table in Table::ALL {
            let prefix = prefix_bytes(&Prefix::Table(table));
            let mut after = None;
            loop {
                let rows = self.inspector.entries(prefix.clone(), after, page).await.unwrap();
                let (count, last) = (rows.len(), rows.last().map(|(key, _)| key.clone()));
                assert!(rows.is_sorted() && count <= page);
                let before = found.len();
                found.extend(rows);
                assert_eq!(found.len(), before + count, "{} twice", table.name());
                after = last;
                if count < page {
                    break;
                }
            }
        }
        found
    }

    async fn value(&self, key: &RowKey) -> Option<Vec<u8>> {
        self.inspector.values(vec![key_bytes(key)]).await.unwrap().remove(0)
    }

    async fn foreign(&self) -> Vec<String> {
        self.inspector.foreign_stamps(100).await.unwrap()
    }
}

#[tokio::test]
async fn chunks_are_taken_apart_over_windows_buckets_and_pages() {
    if is_absent() {
        return;
    }
    let (window, bucket) = (4_096, 1 << 18);
    let filled = Filled::new(&[0, 40, 41, 90]).await;
    for page in [1_000, 7] {
        assert!(filled.listed(page).await == filled.expected, "pages of {page}");
    }
    let keys: Vec<Vec<u8>> = filled.expected.keys().cloned().collect();
    let values = filled.inspector.values(keys).await.unwrap();
    assert!(values.into_iter().flatten().eq(filled.expected.values().cloned()));
    assert_eq!(filled.foreign().await, [] as [String; 0]);
    // Chunks of a crash overlap the ones of the flushes after it; others lie far off.
    let chunk = |offsets: &[u64]| {
        let mut bytes = "01".to_owned();
        let mut last = offsets[0];
        for offset in offsets {
            let (_, side, _) = rows(*offset);
            let value = value_bytes(&side[0].value);
            bytes += &format!("{:02x}{:02x}", offset - last, value.len());
            bytes.extend(value.iter().map(|byte| format!("{byte:02x}")));
            last = *offset;
        }
        (offsets[0], last, bytes)
    };
    let more = [[30, 31], [window, window + 1], [bucket, bucket + 9]];
    for offsets in &more {
        let (first, last, bytes) = chunk(offsets);
        filled
            .write(&format!(
                "UPDATE ks.matches USING TIMESTAMP {} SET last = {last}, chunk = 0x{bytes} \
                 WHERE KEY AND bucket = {} AND first = {first}",
                2 * last + 1,
                first >> 18
            ))
            .await;
    }
    assert!(filled.listed(50).await == filled.expected, "what lies above is hidden");
    let applied = bucket + 9;
    filled
        .write(&format!(
            "UPDATE ks.cells USING TIMESTAMP {} SET applied = {applied} WHERE KEY",
            2 * applied + 1
        ))
        .await;
    let matches = prefix_bytes(&Prefix::Table(Table::Matches));
    for page in [1_000, 3] {
        let listed = filled.listed(page).await;
        let offsets = listed
            .keys()
            .filter(|key| key.starts_with(&matches))
            .map(|key| u64::from_be_bytes(key[key.len() - 8..].try_into().unwrap()));
        assert!(offsets.eq((0..=90).chain(more[1]).chain(more[2])), "pages of {page}");
    }
}

#[tokio::test]
async fn what_no_completed_flush_vouches_for_is_hidden() {
    if is_absent() {
        return;
    }
    let filled = Filled::new(&[5]).await;
    let early = |offset: u64| (1_u64 << 50) - (2 * offset + 1);
    let mark = "0x0102030405060708090a0b0c0d0e0f10";
    let six = early(6);
    for cql in [
        format!(
            "users (CELL, bucket, user, since) VALUES (GO, 0, {mark}, 6) USING TIMESTAMP {six}"
        ),
        format!(
            "first_seen (CELL, bucket, identity, offset, content) \
             VALUES (GO, 0, {mark}, 6, {mark}) USING TIMESTAMP {six}"
        ),
        // The buckets of agents are their murmur2 over 64, and over 32 for histories.
        "agent_cells (bucket, generation, fold_version, agent, cell_kind, cell_id, since) \
         VALUES (33, LIVE, 'zoe', 1, 'go', 6) USING TIMESTAMP 13"
            .to_owned(),
        format!(
            "users (CELL, bucket, user, since) VALUES (NEW, 0, 0x01, 0) USING TIMESTAMP {}",
            early(0)
        ),
        "dead_letters (SOURCE, bucket, offset, value) VALUES (THREE, 0, 6, 0x00) \
         USING TIMESTAMP 13"
            .to_owned(),
    ] {
        filled.write(&format!("INSERT INTO {cql}")).await;
    }
    assert!(filled.listed(100).await == filled.expected);
    assert_eq!(filled.foreign().await, [] as [String; 0]);
    let marks = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    let user = RowKey::User(go(), UserHash(marks));
    assert_eq!(filled.value(&user).await, Some(value_bytes(&Value::Since(6))));
    // A refusal is shown: nobody else says what became of those bytes.
    let cql = format!(
        "INSERT INTO refusals (SOURCE, bucket, mark, since) VALUES (THREE, 0, {mark}, 6) \
         USING TIMESTAMP 13"
    );
    filled.write(&cql).await;
    let refusal = key_bytes(&RowKey::Refusal(SOURCE, ContentHash(marks)));
    let listed = filled.listed(100).await;
    assert_eq!(listed.get(&refusal), Some(&value_bytes(&Value::Since(6))));
    assert_eq!(listed.len(), filled.expected.len() + 1);
}

#[tokio::test]
async fn what_was_written_by_hand_is_named() {
    if is_absent() {
        return;
    }
    let filled = Filled::new(&[5]).await;
    assert_eq!(filled.foreign().await, [] as [String; 0]);
    let agent = format!("{}: {}, agent \"ana\"", "history", go());
    // What a later write beats comes before it.
    for (cql, table, named) in [
        (
            "UPDATE ks.cells USING TIMESTAMP 99 SET ver = 5 WHERE KEY AND tbl = 2 \
             AND id = 0x616e61",
            "entrants",
            "ver is stamped 99, its offset demands 11".to_owned(),
        ),
        (
            "UPDATE ks.cells SET value = 0x00 WHERE KEY AND tbl = 2 AND id = 0x616e61",
            "entrants",
            RowKey::Entrant(go(), ana()).to_string(),
        ),
        (
            "INSERT INTO cells (CELL, tbl, id, value) VALUES (GO, 2, 0x7a6f65, 0x00)",
            "entrants",
            "zoe".to_owned(),
        ),
        (
            "UPDATE ks.cells USING TIMESTAMP 13 SET applied = 6 WHERE KEY",
            "heads",
            "head is stamped 11".to_owned(),
        ),
        ("UPDATE ks.cells SET applied = 5 WHERE KEY", "heads", "applied is stamped".to_owned()),
        (
            "DELETE FROM ks.cell_index WHERE IS_LIVE",
            "heads",
            "cell_index does not have it".to_owned(),
        ),
        (
            "UPDATE ks.users SET since = 0 WHERE KEY AND bucket = 0 AND user = ZERO",
            "users",
            "since is stamped".to_owned(),
        ),
        (
            "UPDATE ks.first_seen SET content = 0x00 WHERE KEY AND bucket = 0 AND identity = ZERO",
            "first_seen",
            "content is stamped".to_owned(),
        ),
        (
            "UPDATE ks.matches SET chunk = 0x01 WHERE KEY AND bucket = 0 AND first = 0",
            "matches",
            "offset 0 and on".to_owned(),
        ),
        (
            "UPDATE ks.history SET last = 4 WHERE KEY AND bucket = 8 AND \
             agent = 'ana' AND first = 0",
            "history",
            agent,
        ),
        (
            "UPDATE ks.agent_cells SET since = 0 WHERE bucket = 40 AND IS_LIVE \
             AND agent = 'ana' AND cell_kind = 1 AND cell_id = 'go'",
            "agent_cells",
            "ana".to_owned(),
        ),
        (
            "UPDATE ks.dead_letters SET value = 0x00 WHERE PART AND bucket = 0 AND offset = 4",
            "dead_letters",
            RowKey::DeadLetter(SOURCE, 4).to_string(),
        ),
        (
            "UPDATE ks.refusals SET since = 0 WHERE PART AND bucket = 0 AND mark = ZERO",
            "refusals",
            "since is stamped".to_owned(),
        ),
        (
            "UPDATE ks.progress SET applied = 5 WHERE PART",
            "progress",
            RowKey::Progress(SOURCE).to_string(),
        ),
    ] {
        let before = filled.foreign().await;
        filled.write(cql).await;
        let mut found = filled.foreign().await;
        found.retain(|name| !before.contains(name));
        let is_named =
            |name: &String| name.starts_with(&format!("{table}: ")) && name.contains(&named);
        assert!(found.len() == 1 && found.iter().all(is_named), "{cql}: {found:?}");
    }
    assert_eq!(filled.inspector.foreign_stamps(2).await.unwrap().len(), 2);
}
