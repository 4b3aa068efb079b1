//! What a flush becomes: the right writes in the right step, under the right stamps.

use agon_projections::row::{
    Counts, FirstSeen, HistoryRow, Kept, Part, Progress, Rating, SubmissionRow, Tally, TallyKey,
    UserHash, Value,
};
use agon_projections::{CellFlush, CellKey, Flush, Row, RowKey};
use agon_schema::event::Metrics;
use agon_schema::record::RecordHash;
use agon_schema::{
    AgentId, ContentHash, EnvironmentId, EventTime, Identity, NaturalId, Timestamp, Topic,
    TopicPartition,
};

use super::plan::{Limits, Plan, PlanError, plan};
use super::write::{Kind, What, Write};
use crate::stamp::Stamps;

const SOURCE: TopicPartition = TopicPartition { topic: Topic::Matches, partition: 3 };
const LIMITS: Limits = Limits { rows: 500, bytes: 256 << 10 };

fn cell() -> CellKey {
    CellKey::Environment(EnvironmentId::new("go").unwrap())
}

fn at() -> EventTime {
    EventTime { at: Timestamp::from_micros(0).unwrap(), filled_in: false }
}

fn agent(n: u64) -> AgentId {
    AgentId::new(format!("a{n}")).unwrap()
}

fn entrant(n: u64, ver: u64) -> Row {
    let last = at();
    let rating = Rating { rating_micros: 7, games: 1, wins: 1, draws: 0, losses: 0, last, ver };
    Row { key: RowKey::Entrant(cell(), agent(n)), value: Value::Rating(rating) }
}

fn history(n: u64, offset: u64) -> Row {
    let value = Value::History(HistoryRow::Run {
        submission_id: NaturalId::new("s").unwrap(),
        value: 1.0,
        score_after: 1.0,
        occurred: at(),
    });
    Row { key: RowKey::History(cell(), agent(n), offset), value }
}

fn flush(from: Option<u64>, to: u64, own: Vec<Row>, side: Vec<Row>) -> Flush {
    let progress =
        Progress { applied: to + 5, record_hash: RecordHash([0; 16]), counts: Counts::default() };
    let cells = vec![CellFlush { key: cell(), from, to, own, side }];
    Flush { source: SOURCE, from, progress, cells, rows: vec![] }
}

fn planned(flush: &Flush) -> Plan {
    plan(flush, Stamps::new(0).unwrap(), LIMITS).unwrap()
}

fn kinds(writes: &[Write]) -> Vec<Kind> {
    writes.iter().map(Write::kind).collect()
}

#[test]
fn a_cell_is_one_batch_with_its_submissions_and_each_row_has_its_own_stamp() {
    let submission = SubmissionRow {
        agent: agent(1),
        artifact: None,
        occurred: at(),
        runs_completed: 1,
        runs_failed: 0,
        metrics: Metrics::default(),
        ver: 11,
    };
    let key = RowKey::Submission(cell(), NaturalId::new("s").unwrap());
    let submission = Row { key, value: Value::Submission(submission) };
    let server = Row { key: RowKey::Server(cell(), String::new()), value: Value::Server(4) };
    let key = TallyKey { part: Part::Hour, place: 60 };
    let tally = Tally { ver: 14, kept: Kept::Registers(vec![1]) };
    let tally = Row { key: RowKey::Tally(cell(), key), value: Value::Tally(tally) };
    let own = vec![entrant(1, 12), entrant(2, 15), server, tally];
    let plan = planned(&flush(Some(9), 20, own, vec![submission]));
    let [batch] = &plan.cells[..] else { panic!("{} batches", plan.cells.len()) };
    assert_eq!(kinds(batch)[0], Kind::Applied);
    assert_eq!(kinds(batch)[1..], [Kind::Own; 5]);
    let stamps: Vec<i64> = batch.iter().map(|write| write.stamp).collect();
    assert_eq!(stamps, [41, 25, 31, 41, 29, 23], "2 * offset + 1 of each row's last event");
    assert_eq!(plan.side, Vec::<Vec<Write>>::new());
    assert_eq!((kinds(&plan.progress), plan.progress[0].stamp), (vec![Kind::Progress], 51));
}

#[test]
fn the_first_flush_of_a_cell_alone_enters_it_in_the_index() {
    for (from, is_first) in [(None, true), (Some(0), false)] {
        let plan = planned(&flush(from, 20, vec![entrant(1, 20)], vec![]));
        let entered = plan.side.iter().flatten().any(|write| write.kind() == Kind::CellIndex);
        assert_eq!(entered, is_first);
    }
}

#[test]
fn of_users_and_identities_the_earliest_stays() {
    let first = |mark: u8, offset| {
        let value = Value::FirstSeen(FirstSeen { offset, content: ContentHash([1; 16]) });
        Row { key: RowKey::FirstSeen(cell(), Identity([mark; 16])), value }
    };
    let user = Row { key: RowKey::User(cell(), UserHash([9; 16])), value: Value::Since(13) };
    let side = vec![first(0x01, 10), user, first(0xf1, 11), first(0x0f, 12)];
    let plan = planned(&flush(Some(9), 20, vec![], side));
    // One batch a partition: the bucket is the first four bits.
    let groups: Vec<_> = plan.side.iter().map(|writes| kinds(writes)).collect();
    let one = vec![Kind::FirstSeen];
    assert_eq!(groups, [vec![Kind::User], vec![Kind::FirstSeen; 2], one]);
    let stamps: Vec<i64> = plan.side.iter().flatten().map(|write| write.stamp).collect();
    assert_eq!(stamps, [27, 21, 25, 23].map(|stamp| (1 << 50) - stamp));
}

#[test]
fn a_history_is_one_chunk_a_flush_and_agent_in_buckets_of_agents() {
    let side = vec![history(1, 10), history(2, 10), history(1, 12), history(1, 5_000)];
    let plan = planned(&flush(Some(9), 5_000, vec![], side));
    let span = |write: &Write| match &write.what {
        What::History { agent, chunk, .. } => {
            (agent.as_str().to_owned(), chunk.first, chunk.last, write.stamp)
        }
        other => panic!("{other:?}"),
    };
    let mut spans: Vec<_> = plan.side.iter().flatten().map(span).collect();
    spans.sort();
    // No chunk crosses a multiple of 4096.
    let expected = [("a1", 10, 12, 25), ("a1", 5_000, 5_000, 10_001), ("a2", 10, 10, 21)];
    assert_eq!(spans, expected.map(|(agent, a, b, c)| (agent.to_owned(), a, b, c)));
    assert_eq!(plan.side.len(), 2, "one batch a bucket");

    let side: Vec<Row> = (0..400).map(|n| history(n, 10 + n)).collect();
    let plan = planned(&flush(Some(9), 5_000, vec![], side));
    assert_eq!((plan.side.len(), plan.side.iter().flatten().count()), (32, 400));
}

#[test]
fn the_cells_of_agents_share_batches_beyond_their_cell() {
    let of = |name: &str, side: &[u64]| {
        let key = CellKey::Environment(EnvironmentId::new(name).unwrap());
        let row = |n: &u64| {
            let key = RowKey::AgentCell(agent(*n), key.clone());
            Row { key, value: Value::Since(10) }
        };
        let side = side.iter().map(row).collect();
        CellFlush { key: key.clone(), from: None, to: 10, own: vec![], side }
    };
    let mut flush = flush(None, 10, vec![], vec![]);
    flush.cells = vec![of("chess", &[1, 2]), of("go", &[1])];
    let plan = planned(&flush);
    let mut groups: Vec<_> = plan.side.iter().map(|writes| kinds(writes)).collect();
    groups.sort_by_key(Vec::len);
    let agents = |count| vec![Kind::AgentCell; count];
    assert_eq!(groups[..1], [agents(1)]);
    assert!(groups.contains(&agents(2)) && groups.contains(&vec![Kind::CellIndex; 2]));
}

#[test]
fn side_batches_end_at_the_limits_and_a_cell_never() {
    let side = (0..2_500)
        .map(|n: u64| {
            let mut mark = [0; 16];
            mark[8..].copy_from_slice(&n.to_be_bytes());
            Row { key: RowKey::User(cell(), UserHash(mark)), value: Value::Since(10) }
        })
        .collect();
    let own = (0..2_500).map(|n| entrant(n, 10)).collect();
    let plan = planned(&flush(Some(9), 10, own, side));
    assert_eq!(plan.side.iter().map(Vec::len).collect::<Vec<_>>(), [500; 5]);
    assert_eq!(plan.cells.iter().map(Vec::len).collect::<Vec<_>>(), [2_501]);
}

#[test]
fn a_cell_beyond_one_mutation_and_rows_out_of_place_are_refused() {
    let stamps = Stamps::new(0).unwrap();
    let too_many = flush(None, 10, (0..65_535).map(|n| entrant(n, 10)).collect(), vec![]);
    let error = plan(&too_many, stamps, LIMITS).unwrap_err();
    assert!(matches!(error, PlanError::CellTooLarge { writes: 65_536, .. }), "{error}");

    let stranger = Row { key: RowKey::DeadLetter(SOURCE, 10), value: Value::Since(10) };
    let misplaced = flush(None, 10, vec![stranger.clone()], vec![]);
    assert!(matches!(plan(&misplaced, stamps, LIMITS), Err(PlanError::OtherPlace(_))));
    let mut unequal = flush(None, 10, vec![], vec![]);
    unequal.rows.push(stranger);
    assert!(matches!(plan(&unequal, stamps, LIMITS), Err(PlanError::OtherValue(_))));

    let late = flush(None, 1 << 40, vec![], vec![]);
    assert!(matches!(plan(&late, stamps, LIMITS), Err(PlanError::Stamp(_))));
}
