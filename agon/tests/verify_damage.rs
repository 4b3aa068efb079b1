//! What `verify` must find: a directory with rows in every table, in which one stored value after
//! another is damaged, rows are too many or too few, or the log is not the one that was folded.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::mem::discriminant;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agon_embedded::files::{DataDir, DiskFiles};
use agon_embedded::log::{EmbeddedLog, OpenOptions};
use agon_embedded::store::{EmbeddedStore, StoreConfig};
use agon_ports::{EventLog, StoreInspector};
use agon_projections::row::{HistoryRow, Part, Progress, TallyKey, UserHash, Value};
use agon_projections::row_bytes::{Prefix, key_bytes, prefix_bytes, row_of_bytes, value_bytes};
use agon_projections::{CellKey, RowKey, Table};
use agon_schema::{
    AgentId, ContentHash, EnvironmentId, Identity, NaturalId, Topic, TopicPartition,
};
use serde_json::Value as Json;
use support::{run, stderr, stdout, text};
use tokio::sync::{Mutex, MutexGuard};

/// One test at a time: a process that another test is just starting would inherit the lock of a
/// directory and hold it for a moment after it was given back.
static TURN: Mutex<()> = Mutex::const_new(());

/// All rows of a store, byte for byte.
type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A data directory of which this process holds the store.
struct Held {
    store: EmbeddedStore,
    _dir: DataDir,
}

impl Held {
    fn open(data: &Path) -> Held {
        let dir = DataDir::open(Arc::new(DiskFiles), data).unwrap();
        let options = OpenOptions::default();
        let log = EmbeddedLog::open(Arc::clone(dir.files()), dir.log_dir(), options).unwrap();
        let config = StoreConfig::default();
        let store = EmbeddedStore::open(data.join("store"), log.id(), config).unwrap();
        Held { store, _dir: dir }
    }

    async fn rows(&self, table: Table) -> Rows {
        let prefix = prefix_bytes(&Prefix::Table(table));
        self.store.entries(prefix, None, 100_000).await.unwrap().into_iter().collect()
    }
}

async fn all_rows(data: &Path) -> Rows {
    let held = Held::open(data);
    let mut rows = Rows::new();
    for table in Table::ALL {
        rows.extend(held.rows(table).await);
    }
    rows
}

fn put(data: &Path, rows: &[(Vec<u8>, Vec<u8>)]) {
    let held = Held::open(data);
    for (key, value) in rows {
        held.store.overwrite_raw_for_tests(key, value).unwrap();
    }
}

/// The exit code and the report.
fn verdict(data: &Path) -> (Option<i32>, Json) {
    let output = run(&["verify", "--data", text(data), "--format", "json"]);
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
    (output.status.code(), report)
}

/// Nothing is found; the report.
fn check_clean(data: &Path) -> Json {
    let (code, report) = verdict(data);
    assert_eq!((code, &report["differences"]), (Some(0), &0.into()), "{report}");
    report
}

/// Something is found; `kind, table, row` of each difference.
fn found(data: &Path) -> Vec<[String; 3]> {
    let (code, report) = verdict(data);
    assert_eq!(code, Some(1), "{report}");
    let named = report["named"].as_array().unwrap();
    assert_eq!(report["differences"].as_u64(), Some(named.len() as u64), "{report}");
    let name = |of: &Json| ["kind", "table", "row"].map(|key| of[key].as_str().unwrap().to_owned());
    named.iter().map(name).collect()
}

fn named(kind: &str, key: &RowKey) -> [String; 3] {
    [kind.to_owned(), key.table().name().to_owned(), key.to_string()]
}

/// Imports a little of everything; `part` tells one such import from another.
fn import(dir: &Path, data: &Path, part: &str, more: &[&str]) {
    let change = |id: &str, title: &str| {
        format!(
            "{{\"meta\":{{\"dt\":\"2020-02-02T13:05:06Z\",\"id\":\"{part}-{id}\"}},\
             \"title\":\"{title}\",\"user\":\"user {part}\",\"bot\":true,\
             \"server_name\":\"{part}.wikipedia.org\"}}\n"
        )
    };
    let changes = [
        change("1", "a"),
        change("2", "b"),
        change("1", "a"),
        change("1", "another"),
        format!("{{\"meta\":7,\"user\":\"{part}\"}}\n"),
    ];
    let files = [
        (
            "matches.csv",
            format!(
                "match_id,played_on,a,b,outcome_a,round\n{part}-1,2026-01-01,ana {part},bob,1,one\n\
             {part}-2,2026-01-02,bob,cy {part},0.5,two\n{part}-3,2026-01-03,cy {part},bob,0,\n"
            ),
        ),
        (
            "submissions.csv",
            format!(
                "submission_id,benchmark,agent,acc\n{part}-1,bench-{part},ana {part},0.25\n\
             {part}-2,bench-{part},bob,\n{part}-3,bench-{part},bob,0.125\n"
            ),
        ),
        ("changes.jsonl", changes.concat()),
    ];
    let kinds = [("matches", Some("--environment")), ("submissions", None), ("recentchange", None)];
    let environment = format!("env-{part}");
    for ((name, content), (kind, option)) in files.iter().zip(kinds) {
        let file = dir.join(name);
        fs::write(&file, content).unwrap();
        let mut args = vec!["import", kind, text(&file), "--data", text(data)];
        args.extend(option.iter().flat_map(|option| [*option, &environment]));
        args.extend(more);
        let output = run(&args);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{args:?}: {}", stderr(&output));
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let there = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_dir(&path, &there);
        } else {
            fs::copy(path, there).unwrap();
        }
    }
}

fn replace_dir(with: &Path, dir: &Path) {
    fs::remove_dir_all(dir).unwrap();
    copy_dir(with, dir);
}

/// A directory with rows in every table.
struct Filled {
    dir: tempfile::TempDir,
    data: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

async fn filled() -> Filled {
    let turn = TURN.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    import(dir.path(), &data, "one", &[]);
    Filled { dir, data, _turn: turn }
}

/// The value with the smallest change in one field.
fn changed(value: &Value) -> Value {
    let mut value = value.clone();
    match &mut value {
        Value::Head(head) => head.counted += 1,
        Value::Rating(rating) => rating.rating_micros += 1,
        Value::Score(score) => score.sum = score.sum.next_up(),
        Value::Server(number) | Value::Since(number) => *number += 1,
        Value::FirstSeen(first) => first.content.0[15] ^= 1,
        Value::Match(row) => row.players[1].rating_after_micros -= 1,
        Value::Submission(row) => row.occurred.filled_in ^= true,
        Value::History(HistoryRow::Match { rating_before_micros, .. }) => {
            *rating_before_micros += 1
        }
        Value::History(HistoryRow::Run { score_after, .. }) => *score_after = score_after.next_up(),
        Value::DeadLetter(letter) => letter.event_type.push('s'),
        Value::Progress(progress) => progress.counts.duplicates += 1,
        Value::Tally(tally) => tally.ver += 1,
    }
    value
}

/// One row for each kind of value in each table.
async fn one_of_each(data: &Path) -> Vec<(RowKey, Value)> {
    let mut rows: Vec<(RowKey, Value)> = Vec::new();
    for (key, value) in all_rows(data).await {
        let row = row_of_bytes(&key, &value).unwrap();
        let kind = (row.key.table(), discriminant(&row.value));
        if !rows.iter().any(|(key, value)| (key.table(), discriminant(value)) == kind) {
            rows.push((row.key, row.value));
        }
    }
    let tables: Vec<Table> = Table::ALL.into_iter().collect();
    let mut there: Vec<Table> = rows.iter().map(|(key, _)| key.table()).collect();
    there.dedup();
    assert_eq!(there, tables, "the import fills every table");
    rows
}

#[tokio::test]
async fn one_damaged_value_is_named_whatever_it_is() {
    let Filled { dir: _dir, data, _turn } = filled().await;
    let clean = check_clean(&data);
    for (key, value) in one_of_each(&data).await {
        let bytes = key_bytes(&key);
        let right = value_bytes(&value);
        let damages = [
            value_bytes(&changed(&value)),
            vec![0xff; 9],
            Vec::new(),
            [&right[..], &[0]].concat(),
            right[..right.len() - 1].to_vec(),
        ];
        for damage in damages {
            put(&data, &[(bytes.clone(), damage.clone())]);
            assert_eq!(found(&data), [named("unequal", &key)], "{damage:02x?}");
        }
        let output = run(&["verify", "--data", text(&data)]);
        let shown = stdout(&output);
        assert!(shown.contains(&format!("unequal: {key}\n")), "{shown}");
        assert!(shown.contains(" 1 differences, ") && output.status.code() == Some(1), "{shown}");
        assert!(stderr(&output).contains("agon rebuild"), "{}", stderr(&output));
        put(&data, &[(bytes, right)]);
    }
    assert_eq!(check_clean(&data), clean);
}

#[tokio::test]
async fn every_row_is_compared_and_none_is_written() {
    let Filled { dir: _dir, data, _turn } = filled().await;
    let clean = check_clean(&data);
    let before = all_rows(&data).await;
    assert_eq!(clean["rows"].as_u64(), Some(before.len() as u64));
    let damage = |(key, value): (&Vec<u8>, &Vec<u8>)| {
        let row = row_of_bytes(key, value).unwrap();
        (key.clone(), value_bytes(&changed(&row.value)))
    };
    let damaged: Vec<_> = before.iter().map(damage).collect();
    put(&data, &damaged);
    let (code, report) = verdict(&data);
    assert_eq!((code, &report["differences"]), (Some(1), &clean["rows"]));
    assert_eq!(report["hash"], clean["hash"], "the hash is of the fold, not of the store");
    assert_eq!(all_rows(&data).await, damaged.into_iter().collect::<Rows>());
    assert_eq!(run(&["rebuild", "--data", text(&data)]).status.code(), Some(0));
    assert_eq!(check_clean(&data), clean);
    assert_eq!(all_rows(&data).await, before);
}

#[tokio::test]
async fn a_row_too_many_is_named() {
    let Filled { dir: _dir, data, _turn } = filled().await;
    let cell = CellKey::Environment(EnvironmentId::new("env-one").unwrap());
    let agent = AgentId::new("zoe").unwrap();
    let folded = all_rows(&data).await;
    let is_empty =
        |source: &TopicPartition| !folded.contains_key(&key_bytes(&RowKey::Progress(*source)));
    let sources = (0..16).map(|partition| TopicPartition { topic: Topic::Matches, partition });
    let source = sources.into_iter().find(is_empty).unwrap();
    let id = NaturalId::new("none").unwrap();
    let keys = [
        RowKey::Head(CellKey::Stream(77)),
        RowKey::Entrant(cell.clone(), agent.clone()),
        RowKey::Server(CellKey::Stream(0), String::new()),
        RowKey::User(CellKey::Stream(0), UserHash([1; 16])),
        RowKey::FirstSeen(cell.clone(), Identity([2; 16])),
        RowKey::Refusal(source, ContentHash([3; 16])),
        RowKey::Match(cell.clone(), 1_000),
        RowKey::Submission(cell.clone(), id),
        RowKey::History(cell.clone(), agent.clone(), 1_000),
        RowKey::AgentCell(agent, cell),
        RowKey::DeadLetter(source, 1_000),
        RowKey::Progress(source),
        RowKey::Progress(TopicPartition { partition: 99, ..source }),
        RowKey::Tally(CellKey::Stream(0), TallyKey { part: Part::Day, place: 96 }),
    ];
    let mut expected = Vec::new();
    for key in keys {
        put(&data, &[(key_bytes(&key), value_bytes(&Value::Since(0)))]);
        expected.push(named("unexpected", &key));
        assert_eq!(found(&data), expected);
    }
    let no_key = [&prefix_bytes(&Prefix::Table(Table::Users))[..], &[0xfe; 3]].concat();
    put(&data, &[(no_key, Vec::new())]);
    let found = found(&data);
    assert_eq!(found.len(), expected.len() + 1);
    let is_named = |[_, table, row]: &[String; 3]| table == "users" && row.ends_with("fefefe");
    assert!(found.iter().any(is_named), "{found:?}");
}

/// Every row that the second import made or changed.
fn news(before: &Rows, after: &Rows) -> Rows {
    let is_new = |(key, value): &(&Vec<u8>, &Vec<u8>)| before.get(*key) != Some(*value);
    after.iter().filter(is_new).map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[tokio::test]
async fn rows_too_few_are_named() {
    let Filled { dir, data, _turn } = filled().await;
    let old_store = dir.path().join("old-store");
    copy_dir(&data.join("store"), &old_store);
    let before = all_rows(&data).await;
    import(dir.path(), &data, "two", &[]);
    let after = all_rows(&data).await;
    // The old store claims to be as far as the new one.
    replace_dir(&old_store, &data.join("store"));
    let (claims, lost): (Rows, Rows) =
        news(&before, &after).into_iter().partition(|(key, _)| key[0] == Table::Progress as u8);
    put(&data, &claims.clone().into_iter().collect::<Vec<_>>());
    let expected = lost.keys().map(|key| {
        let row = row_of_bytes(key, &lost[key]).unwrap();
        named(if before.contains_key(key) { "unequal" } else { "missing" }, &row.key)
    });
    let mut expected: Vec<_> = expected.collect();
    let mut missing: Vec<_> = expected.iter().filter(|[kind, ..]| kind == "missing").collect();
    missing.dedup_by(|a, b| a[1] == b[1]);
    assert_eq!(missing.len(), Table::ALL.len() - 1, "{missing:?}");
    let mut seen = found(&data);
    expected.sort();
    seen.sort();
    assert_eq!(seen, expected);
    // A store with all rows that claims to be no further than before.
    replace_dir(&old_store, &data.join("store"));
    put(&data, &lost.into_iter().collect::<Vec<_>>());
    assert!(!found(&data).is_empty());
    put(&data, &claims.into_iter().collect::<Vec<_>>());
    check_clean(&data);
}

#[tokio::test]
async fn a_store_ahead_of_its_log_is_named() {
    let Filled { dir, data, _turn } = filled().await;
    let old_log = dir.path().join("old-log");
    copy_dir(&data.join("log"), &old_log);
    let before = all_rows(&data).await;
    import(dir.path(), &data, "two", &[]);
    let progress: Vec<_> = news(&before, &all_rows(&data).await)
        .into_iter()
        .filter_map(|(key, value)| Some(row_of_bytes(&key, &value)?.key))
        .filter(|key| key.table() == Table::Progress)
        .collect();
    check_clean(&data);
    replace_dir(&old_log, &data.join("log"));
    let (code, report) = verdict(&data);
    assert_eq!(code, Some(1), "{report}");
    let of_log: Vec<_> =
        report["named"].as_array().unwrap().iter().filter(|n| n["kind"] == "log").collect();
    for key in &progress {
        assert!(of_log.iter().any(|n| n["row"] == key.to_string()), "{key}: {of_log:?}");
    }
    assert_eq!(of_log.len(), progress.len());
}

#[tokio::test]
async fn another_log_of_the_same_length_is_found() {
    let Filled { dir, data, _turn } = filled().await;
    let other = dir.path().join("other");
    copy_dir(&data, &other);
    let row =
        |outcome| format!("match_id,played_on,a,b,outcome_a\nm,2026-02-01,ana,bob,{outcome}\n");
    for (data, outcome) in [(&data, 0), (&other, 1)] {
        let file = dir.path().join("last.csv");
        fs::write(&file, row(outcome)).unwrap();
        let args = ["import", "matches", text(&file), "--environment", "env-one", "--data"];
        assert_eq!(run(&[&args[..], &[text(data)]].concat()).status.code(), Some(0));
    }
    assert_ne!(check_clean(&data)["hash"], check_clean(&other)["hash"]);
    replace_dir(&other.join("log"), &data.join("log"));
    let found = found(&data);
    for table in [Table::Entrants, Table::Matches, Table::FirstSeen, Table::Progress] {
        assert!(found.iter().any(|[_, name, _]| name == table.name()), "{table:?}: {found:?}");
    }
}

#[tokio::test]
async fn a_progress_row_is_believed_in_no_part() {
    let Filled { dir: _dir, data, _turn } = filled().await;
    let held = all_rows(&data).await;
    let stored: Vec<(RowKey, Progress)> = held
        .iter()
        .filter_map(|(key, value)| match row_of_bytes(key, value)? {
            agon_projections::Row { key, value: Value::Progress(progress) } => {
                Some((key, progress))
            }
            _ => None,
        })
        .collect();
    for (key, progress) in stored {
        let damage = |change: fn(&mut Progress)| {
            let mut progress = progress.clone();
            change(&mut progress);
            progress
        };
        let mut damages = vec![
            damage(|p| p.record_hash.0[0] ^= 1),
            damage(|p| p.counts.counted += 1),
            damage(|p| p.counts.rejected += 1),
            damage(|p| p.applied += 1),
            damage(|p| p.applied = u64::MAX),
        ];
        if progress.applied > 0 {
            damages.push(damage(|p| p.applied -= 1));
        }
        for damaged in damages {
            put(&data, &[(key_bytes(&key), value_bytes(&Value::Progress(damaged.clone())))]);
            let found = found(&data);
            let is_named =
                |[_, table, row]: &[String; 3]| table == "progress" && *row == key.to_string();
            assert!(found.iter().any(is_named), "{damaged:?}: {found:?}");
        }
        put(&data, &[(key_bytes(&key), value_bytes(&Value::Progress(progress)))]);
    }
    check_clean(&data);
}

#[tokio::test]
async fn rows_and_hash_depend_on_what_was_folded_alone() {
    let _turn = TURN.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let settings: [&[&str]; 3] = [
        &[],
        &["--flush-rows-max", "7", "--workers", "1"],
        &["--flush-rows-max", "1", "--flush-interval-ms", "1", "--workers", "4"],
    ];
    let mut reports = Vec::new();
    let mut stored = Vec::new();
    for (index, setting) in settings.into_iter().enumerate() {
        let data = dir.path().join(format!("data-{index}"));
        import(dir.path(), &data, "one", setting);
        reports.push(check_clean(&data));
        stored.push(all_rows(&data).await);
    }
    for name in ["cells", "rows", "hash"] {
        assert!(reports.iter().all(|report| report[name] == reports[0][name]), "{reports:?}");
    }
    // The submissions say no time, so the times of appending are stored, and are others.
    assert!(stored[1] != stored[0] && stored[1].keys().eq(stored[0].keys()));
    let other = dir.path().join("other");
    import(dir.path(), &other, "two", &[]);
    assert_ne!(check_clean(&other)["hash"], reports[0]["hash"]);
}
