//! Rows: what a fold leaves behind. A store keeps them by key; it decides nothing about them.

use std::fmt;

use agon_schema::event::{BenchmarkDefined, EnvironmentDefined, Metrics};
use agon_schema::record::RecordHash;
use agon_schema::{AgentId, ContentHash, EventTime, Identity, NaturalId, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::cell::CellKey;
use crate::rejection::Rejection;
pub use crate::tally::{Kept, Part, Tally, TallyKey};

/// What a table holds. The codes stand in stored keys and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Table {
    /// One row a cell: definition, totals, how far it is true.
    Heads = 1,
    /// One row an entrant of a board.
    Entrants = 2,
    /// Messages by server.
    Servers = 3,
    /// Distinct users, by the hash of their name.
    Users = 4,
    /// Identities that took effect, with the first offset.
    FirstSeen = 5,
    /// Contents that were rejected for good, with the latest offset.
    Refusals = 6,
    /// Matches by offset.
    Matches = 7,
    /// Submissions by id.
    Submissions = 8,
    /// What happened to an agent, by offset.
    History = 9,
    /// The boards that an agent stands on.
    AgentCells = 10,
    /// Rejected records.
    DeadLetters = 11,
    /// How far each partition is folded.
    Progress = 12,
    /// What a partition of the stream keeps to answer for users, names and windows.
    Tallies = 13,
}

impl Table {
    /// All of them, in the order of their codes.
    pub const ALL: [Table; 13] = [
        Table::Heads,
        Table::Entrants,
        Table::Servers,
        Table::Users,
        Table::FirstSeen,
        Table::Refusals,
        Table::Matches,
        Table::Submissions,
        Table::History,
        Table::AgentCells,
        Table::DeadLetters,
        Table::Progress,
        Table::Tallies,
    ];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Heads => "heads",
            Table::Entrants => "entrants",
            Table::Servers => "servers",
            Table::Users => "users",
            Table::FirstSeen => "first_seen",
            Table::Refusals => "refusals",
            Table::Matches => "matches",
            Table::Submissions => "submissions",
            Table::History => "history",
            Table::AgentCells => "agent_cells",
            Table::DeadLetters => "dead_letters",
            Table::Progress => "progress",
            Table::Tallies => "tallies",
        }
    }
}

/// The key of a row; its generation is the live one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowKey {
    /// See [`Table::Heads`].
    Head(CellKey),
    /// See [`Table::Entrants`].
    Entrant(CellKey, AgentId),
    /// See [`Table::Servers`].
    Server(CellKey, String),
    /// See [`Table::Users`].
    User(CellKey, UserHash),
    /// See [`Table::FirstSeen`].
    FirstSeen(CellKey, Identity),
    /// See [`Table::Refusals`].
    Refusal(TopicPartition, ContentHash),
    /// See [`Table::Matches`].
    Match(CellKey, u64),
    /// See [`Table::Submissions`].
    Submission(CellKey, NaturalId),
    /// See [`Table::History`].
    History(CellKey, AgentId, u64),
    /// See [`Table::AgentCells`].
    AgentCell(AgentId, CellKey),
    /// See [`Table::DeadLetters`].
    DeadLetter(TopicPartition, u64),
    /// See [`Table::Progress`].
    Progress(TopicPartition),
    /// See [`Table::Tallies`].
    Tally(CellKey, TallyKey),
}

impl RowKey {
    /// The table it belongs to.
    pub fn table(&self) -> Table {
        match self {
            RowKey::Head(_) => Table::Heads,
            RowKey::Entrant(..) => Table::Entrants,
            RowKey::Server(..) => Table::Servers,
            RowKey::User(..) => Table::Users,
            RowKey::FirstSeen(..) => Table::FirstSeen,
            RowKey::Refusal(..) => Table::Refusals,
            RowKey::Match(..) => Table::Matches,
            RowKey::Submission(..) => Table::Submissions,
            RowKey::History(..) => Table::History,
            RowKey::AgentCell(..) => Table::AgentCells,
            RowKey::DeadLetter(..) => Table::DeadLetters,
            RowKey::Progress(_) => Table::Progress,
            RowKey::Tally(..) => Table::Tallies,
        }
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table().name();
        match self {
            RowKey::Head(cell) => write!(f, "{table}: {cell}"),
            RowKey::Entrant(cell, agent) => write!(f, "{table}: {cell}, agent {agent:?}"),
            RowKey::Server(cell, name) => write!(f, "{table}: {cell}, server {name:?}"),
            RowKey::User(cell, user) => write!(f, "{table}: {cell}, user {:02x?}", user.0),
            RowKey::FirstSeen(cell, id) => write!(f, "{table}: {cell}, event {}", id.uuid()),
            RowKey::Refusal(source, hash) => write!(f, "{table}: {source}, {:02x?}", hash.0),
            RowKey::Match(cell, offset) => write!(f, "{table}: {cell}, offset {offset}"),
            RowKey::Submission(cell, id) => write!(f, "{table}: {cell}, submission {id:?}"),
            RowKey::History(cell, agent, offset) => {
                write!(f, "{table}: {cell}, agent {agent:?}, offset {offset}")
            }
            RowKey::AgentCell(agent, cell) => write!(f, "{table}: agent {agent:?}, {cell}"),
            RowKey::DeadLetter(source, offset) => write!(f, "{table}: {source}, offset {offset}"),
            RowKey::Progress(source) => write!(f, "{table}: {source}"),
            RowKey::Tally(cell, key) => write!(f, "{table}: {cell}, {key}"),
        }
    }
}

/// A row: its key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where it stands.
    pub key: RowKey,
    /// What it holds; the variant that belongs to the key's table.
    pub value: Value,
}

/// The value of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// Of [`Table::Heads`].
    Head(Head),
    /// Of [`Table::Entrants`] in an environment.
    Rating(Rating),
    /// Of [`Table::Entrants`] in a benchmark.
    Score(Score),
    /// Of [`Table::Servers`]: messages.
    Server(u64),
    /// Of the tables whose rows say no more than when they came to be: the offset.
    Since(u64),
    /// Of [`Table::FirstSeen`].
    FirstSeen(FirstSeen),
    /// Of [`Table::Matches`].
    Match(MatchRow),
    /// Of [`Table::Submissions`].
    Submission(SubmissionRow),
    /// Of [`Table::History`].
    History(HistoryRow),
    /// Of [`Table::DeadLetters`].
    DeadLetter(DeadLetter),
    /// Of [`Table::Progress`].
    Progress(Progress),
    /// Of [`Table::Tallies`].
    Tally(Tally),
}

/// What is true of a cell as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The offset of the last event that changed the cell.
    pub applied: u64,
    /// Events that took effect.
    pub counted: u64,
    /// When the last of them happened, if it says.
    pub last: Option<EventTime>,
    /// What the kind of cell adds.
    pub detail: HeadDetail,
}

/// What a kind of cell adds to its head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum HeadDetail {
    /// The definition in force.
    Environment(EnvironmentDefined),
    /// The definition in force.
    Benchmark(BenchmarkDefined),
    /// Totals of the partition.
    Stream(StreamTotals),
}

/// What was counted of one partition of the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamTotals {
    /// Changes, without duplicates and canary events.
    pub messages: u64,
    /// Those by bots; an event that does not say is by none.
    pub bots: u64,
    /// Distinct names; a user's events all stand in one partition, so partitions add up. Exact
    /// below [`EXACT_USERS_MAX`](crate::stream::EXACT_USERS_MAX), else counted by a sketch.
    pub distinct_users: u64,
    /// Records that became dead letters.
    pub rejected: u64,
    /// What the sketch counted beyond the exact ones, in millionths of a user.
    pub users_beyond_micros: u64,
}

/// An agent's standing in an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rating {
    /// The rating, in millionths of a point.
    pub rating_micros: i64,
    /// Matches played.
    pub games: u32,
    /// Of these: placed better than everyone else.
    pub wins: u32,
    /// Of these: shared the best placement.
    pub draws: u32,
    /// Of these: someone placed better.
    pub losses: u32,
    /// When the last one happened.
    pub last: EventTime,
    /// The offset of the last event that touched this row.
    pub ver: u64,
}

/// An agent's standing on a benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The aggregated score; `None` until a run counts, and then the agent is on no board.
    pub score: Option<f64>,
    /// The metrics of the run that the score shows: the best, else the latest.
    pub metrics: Metrics,
    /// The submission of that run, else the latest one.
    pub submission_id: NaturalId,
    /// Submissions received.
    pub submissions: u32,
    /// Completed runs.
    pub runs: u32,
    /// The sum of the metric over all completed runs, added in log order.
    pub sum: f64,
    /// When the last event that touched this row happened.
    pub last: EventTime,
    /// The offset of that event.
    pub ver: u64,
}

/// The first time that an identity took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstSeen {
    /// Where it stands.
    pub offset: u64,
    /// What it said.
    pub content: ContentHash,
}

/// The hash of a user's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UserHash(pub [u8; 16]);

/// How a match ended for one player.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GameResult {
    /// Placed better than everyone else.
    Win,
    /// Shared the best placement.
    Draw,
    /// Someone placed better.
    Loss,
}

/// A match with what it did to the ratings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatchRow {
    /// Its id.
    pub match_id: NaturalId,
    /// The players in the order of placement, then id.
    pub players: Vec<MatchPlayer>,
    /// When.
    pub occurred: EventTime,
    /// A JSON object, if the producer sent one.
    pub context: Option<String>,
}

/// One player of a match.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatchPlayer {
    /// Who.
    pub agent: AgentId,
    /// From 1, the best.
    pub placement: u32,
    /// What the game counted.
    pub score: Option<f64>,
    /// Whether the home advantage counted.
    pub home: bool,
    /// In millionths of a point.
    pub rating_before_micros: i64,
    /// In millionths of a point.
    pub rating_after_micros: i64,
}

/// Where a submission stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubmissionRow {
    /// Whose.
    pub agent: AgentId,
    /// Where the artifact is.
    pub artifact: Option<String>,
    /// When it was handed in.
    pub occurred: EventTime,
    /// Completed runs of it.
    pub runs_completed: u32,
    /// Failed runs of it.
    pub runs_failed: u32,
    /// The metrics of its latest completed run.
    pub metrics: Metrics,
    /// The offset of the last event that touched this row.
    pub ver: u64,
}

/// One thing that happened to an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum HistoryRow {
    /// A match; its row stands at the same offset.
    Match {
        /// Which.
        match_id: NaturalId,
        /// How it ended.
        result: GameResult,
        /// In millionths of a point.
        rating_before_micros: i64,
        /// In millionths of a point.
        rating_after_micros: i64,
        /// When.
        occurred: EventTime,
    },
    /// A completed run.
    Run {
        /// Of which submission.
        submission_id: NaturalId,
        /// The benchmark's metric in this run.
        value: f64,
        /// The aggregated score after it.
        score_after: f64,
        /// When.
        occurred: EventTime,
    },
}

/// A record that does not count, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Why.
    pub rejection: Rejection,
    /// The record's `ce_type`, as far as it has one; at most 100 characters.
    pub event_type: String,
    /// The record's `ce_id`, as far as it has one; at most 100 characters.
    pub event_id: String,
    /// The record's key; at most 128 characters.
    pub key: String,
}

/// How far a partition is folded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The offset of the last folded record.
    pub applied: u64,
    /// The hash of the record there; a resume compares it.
    pub record_hash: RecordHash,
    /// What became of the records so far.
    pub counts: Counts,
}

/// What became of a partition's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Took effect.
    pub counted: u64,
    /// Said what had been said before.
    pub duplicates: u64,
    /// Became dead letters.
    pub rejected: u64,
}
