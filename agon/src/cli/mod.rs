//! The command line, option by option. Every option is also an environment variable and a key of
//! `agon.toml`; [`crate::config`] joins them.

mod access;
mod bench;
mod guard;
mod healthcheck;
mod place;
mod role;
mod stream;
mod traces;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use access::SECRETS;
pub use bench::{Bench, BenchBehind, BenchConsume, BenchRun, BenchSource, BenchTakeover};
pub use guard::Guard;
pub use healthcheck::Healthcheck;
pub use place::{Data, Place, Servers, Source};
pub use role::{Api, Consumer, Init, Listen, Producer, Shutdown};
pub use stream::Streams;
pub use traces::Traces;

/// Live leaderboards from events: every score, rating and rank is a fold of one log.
#[derive(Debug, Parser)]
#[command(name = "agon", version, about, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Examples:\n  \
    agon serve --demo                       built-in agents play, watch the board fill\n  \
    agon serve --source wikimedia           reads the live stream of recent changes\n  \
    agon import matches FILE --environment chess  a file of results becomes a board\n  \
    agon board --environment chess --limit 10\n  \
    agon verify                             proves the board equals the log\n  \
    agon consumer --log kafka://k:9092 --store cql://c:9042/agon   one of several\n\n\
    Every option --some-option is also AGON_SOME_OPTION and the key some_option of agon.toml.\n\
    Exit codes: 0 done, 1 the answer is no, 2 wrong use, 3 something needed is not there.")]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Common {
    /// Configuration file; ./agon.toml is read when it exists.
    #[arg(long, global = true, env = "AGON_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What is logged: error, warn, info, debug, trace, or filters such as agon_consumer=debug.
    #[arg(
        long,
        global = true,
        env = "AGON_LOG_LEVEL",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub log_level: String,
    /// How it is logged, on standard error.
    #[arg(long, global = true, env = "AGON_LOG_FORMAT", default_value = "text", value_enum)]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run every role in one process, with log and store in one directory.
    Serve(Box<Serve>),
    /// Make topics, keyspace and tables where they are absent; refuse where they differ.
    Init(Box<Init>),
    /// Take writes into the log: one role of several.
    Producer(Box<Producer>),
    /// Fold the log into the store, sharing the partitions with other consumers.
    Consumer(Box<Consumer>),
    /// Answer reads from boards in memory.
    Api(Box<Api>),
    /// Read a file of results into the log and fold it.
    #[command(subcommand)]
    Import(Import),
    /// Check that everything stored equals the sequential fold of the log, bit for bit.
    Verify(Verify),
    /// Fold the store anew from the log.
    Rebuild(Rebuild),
    /// Show a leaderboard.
    Board(Board),
    /// Show the statistics of the recent-change stream.
    Stats(Stats),
    /// Look at records and dead letters.
    #[command(subcommand)]
    Events(Events),
    /// Add and list users.
    #[command(subcommand)]
    User(User),
    /// Check what this machine and this directory offer, with a remedy for each failure.
    Doctor(Doctor),
    /// Ask the role on this machine whether it is alive, or ready: exit code 0 or 1.
    Healthcheck(Healthcheck),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(Config),
    /// Measure, and print each figure beside its baseline.
    #[command(subcommand)]
    Bench(Bench),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Limits of the pipeline where log and store are made by the command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Partitions of each topic; recorded when the log is made, refused when it differs.
    #[arg(long, env = "AGON_PARTITIONS", value_name = "N")]
    pub partitions: Option<u32>,
    #[command(flatten)]
    pub fold: FoldLimits,
    #[command(flatten)]
    pub shutdown: Shutdown,
}

/// Limits of folding and flushing.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct FoldLimits {
    /// Workers that fold.
    #[arg(long, env = "AGON_WORKERS", default_value_t = 2, value_name = "N")]
    pub workers: usize,
    /// Rows that make a flush due.
    #[arg(long, env = "AGON_FLUSH_ROWS_MAX", default_value_t = 8_000, value_name = "ROWS")]
    pub flush_rows_max: usize,
    /// Bytes of folded records that make a flush due.
    #[arg(long, env = "AGON_FLUSH_BYTES_MAX", default_value_t = 2 << 20, value_name = "BYTES")]
    pub flush_bytes_max: usize,
    /// Age of the oldest unflushed record that makes a flush due.
    #[arg(long, env = "AGON_FLUSH_INTERVAL_MS", default_value_t = 20, value_name = "MS")]
    pub flush_interval_ms: u64,
}

#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    pub data: Data,
    #[command(flatten)]
    pub listen: Listen,
    /// Built-in agents play real games through the HTTP intake until stopped.
    #[arg(long, env = "AGON_DEMO")]
    pub demo: bool,
    #[command(flatten)]
    pub streams: Streams,
    #[command(flatten)]
    pub guard: Guard,
    #[command(flatten)]
    pub limits: Limits,
}

/// Where an import goes and how.
#[derive(Clone, Debug, Args)]
pub struct Into {
    #[command(flatten)]
    pub source: Source,
    /// Read everything, report every bad line, write nothing.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub limits: Limits,
}

#[derive(Debug, Subcommand)]
pub enum Import {
    /// Matches: csv, csv.gz, jsonl or jsonl.gz.
    ///
    /// csv columns: match_id,played_at|played_on,a,b,outcome_a (1, 0.5, 0); optional
    /// score_a,score_b,home (a, b or empty); other columns are carried as context. jsonl: one body
    /// of POST /matches a line. The order of the file is the order of the fold.
    Matches {
        /// The file.
        file: PathBuf,
        /// The environment; defined with defaults when the log has no definition of it.
        #[arg(long, env = "AGON_ENVIRONMENT", value_name = "ID")]
        environment: String,
        #[command(flatten)]
        into: Into,
    },
    /// Submissions: csv, csv.gz, jsonl or jsonl.gz.
    ///
    /// csv columns: submission_id,benchmark,agent,submitted_at; numeric columns left over are
    /// metrics. jsonl: one body of POST /submissions a line.
    Submissions {
        /// The file.
        file: PathBuf,
        /// The benchmark of every line, when the file does not say it.
        #[arg(long, env = "AGON_BENCHMARK", value_name = "ID")]
        benchmark: Option<String>,
        /// Other names of columns: submission_id=COLUMN,agent=COLUMN,benchmark=COLUMN,…
        #[arg(long, env = "AGON_MAP", value_name = "FIELD=COLUMN,…")]
        map: Option<String>,
        #[command(flatten)]
        into: Into,
    },
    /// Recent changes of wikis: jsonl, jsonl.gz, or a recorded .sse stream.
    Recentchange {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        into: Into,
    },
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// How a table is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// For people.
    Table,
    /// The body of the HTTP answer.
    Json,
    /// Comma-separated values with a header line.
    Csv,
}

#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    pub place: Place,
    /// How the report is printed.
    #[arg(long, value_enum, default_value = "text")]
    pub format: ReportFormat,
}

#[derive(Debug, Args)]
pub struct Rebuild {
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub limits: Limits,
}

#[derive(Debug, Args)]
pub struct Board {
    #[command(flatten)]
    pub source: Source,
    /// The board of this environment.
    #[arg(long, value_name = "ID", required_unless_present = "benchmark")]
    pub environment: Option<String>,
    /// The board of this benchmark.
    #[arg(long, value_name = "ID", conflicts_with = "environment")]
    pub benchmark: Option<String>,
    /// Lines at most, from 1 to 1,000.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
    /// How it is printed; json is the body of GET /leaderboard.
    #[arg(long, value_enum, default_value = "table")]
    pub format: TableFormat,
}

/// How the statistics are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatsFormat {
    /// For people.
    Table,
    /// The body of GET /stats.
    Json,
}

#[derive(Debug, Args)]
pub struct Stats {
    #[command(flatten)]
    pub source: Source,
    /// How far back from the newest event; without it, all of it.
    #[arg(long, value_enum)]
    pub window: Option<StatsWindow>,
    /// Names in the lists of the busiest servers and users, from 1 to 100.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub limit: u16,
    /// How it is printed; json is the body of GET /stats.
    #[arg(long, value_enum, default_value = "table")]
    pub format: StatsFormat,
}

/// How far back statistics reach.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum StatsWindow {
    #[value(name = "1m")]
    Minute,
    #[value(name = "1h")]
    Hour,
    #[value(name = "24h")]
    Day,
}

#[derive(Debug, Subcommand)]
pub enum Events {
    /// The newest records of the log, oldest first.
    Tail {
        #[command(flatten)]
        source: Source,
        /// Records at most, from 1 to 1,000.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Records that do not count, and why.
    #[command(subcommand)]
    DeadLetters(DeadLetters),
}

#[derive(Debug, Subcommand)]
pub enum DeadLetters {
    /// All of them, one a line.
    List {
        #[command(flatten)]
        source: Source,
        /// Lines at most.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Append the record again under its own id, once what it lacked is there.
    Replay {
        /// Its id, as `list` prints it: TOPIC/PARTITION/OFFSET.
        id: String,
        #[command(flatten)]
        source: Source,
    },
    /// One of them with the record's headers and value.
    Show {
        /// Its id, as `list` prints it: TOPIC/PARTITION/OFFSET.
        id: String,
        #[command(flatten)]
        source: Source,
    },
}

#[derive(Debug, Subcommand)]
pub enum User {
    /// Add a user; the password is read from standard input or a file.
    Add {
        /// The name.
        name: String,
        /// What the user may do; repeat for several.
        #[arg(long, required = true, value_name = "viewer|author|producer|operator|admin")]
        role: Vec<agon_edge::Role>,
        /// Read the password from the first line of standard input.
        #[arg(long, required_unless_present = "password_file")]
        password_stdin: bool,
        /// Read the password from the first line of a file that not everyone may read.
        #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
        password_file: Option<PathBuf>,
        /// Where there is such a user with these roles, give it this password, which ends its
        /// sessions. With the password that it has nothing is changed.
        #[arg(long)]
        or_set_password: bool,
        #[command(flatten)]
        place: Place,
    },
    /// All users with their roles.
    List {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    pub place: Place,
    /// The address that serve would listen on.
    #[arg(long, env = "AGON_LISTEN", default_value = "127.0.0.1:8080", value_name = "HOST:PORT")]
    pub listen: String,
}

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Every setting of every command, and where its value comes from.
    Print,
    /// Every route that `serve` answers, and who may use it.
    #[command(hide = true)]
    Routes,
}
