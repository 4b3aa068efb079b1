//! `nemesis`: breaks a real deployment of Agon by a seed, and says whether anything was lost.
//!
//! Starts Kafka and Cassandra, every role of the given binary, sends events, carries out the
//! seed's faults, heals, drains, verifies, and compares every answer with what counts.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agon_simulator::deployment::DeploymentConfig;
use agon_simulator::nemesis::{NemesisConfig, run};
use agon_simulator::schedule::{Plan, schedule};
use agon_simulator::servers::ServersConfig;
use clap::Parser;

/// What `--help` ends with.
const AFTER_HELP: &str = "\
Build the program first: cargo build -p agon. A long run on three nodes of each server (4 GB of \
memory), which any seed and length may replace:

  cargo run -p agon-simulator --bin nemesis -- --nodes 3 --minutes 60 --seed 11

The same options break the same things at the same times; what is under way then differs from run \
to run. A bad run keeps its directory: roles' logs, the servers' logs and data.";

/// Breaks a real deployment of Agon by a seed, and says whether anything was lost.
///
/// The last line of standard output is one JSON object. Exit codes: 0 every acknowledged event
/// counts exactly once and the store equals the log; 1 it does not; 2 wrong use; 3 the run could
/// not be carried out.
#[derive(Debug, Parser)]
#[command(name = "nemesis", max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    /// Decides the schedule and the events; the same seed, the same ones.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Within how many minutes faults begin.
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// The program under test.
    #[arg(long, default_value = "target/debug/agon", value_name = "PATH")]
    agon: PathBuf,
    /// The script that starts the servers.
    #[arg(long, default_value = "scripts/servers", value_name = "PATH")]
    servers: PathBuf,
    /// Where logs and data go; made anew, removed after a good run.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Keep the directory after a good run.
    #[arg(long)]
    keep: bool,
    /// First of 60 ports; a free range is looked for unless given.
    #[arg(long, value_name = "PORT")]
    port_base: Option<u16>,
    /// Consumers that are meant to run; one more comes and goes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16))]
    consumers: u16,
    /// Brokers, and as many nodes of the store. Of three, single ones are killed, paused, started
    /// again and cut off, now and then two of them at once.
    #[arg(long, default_value_t = 1, value_parser = nodes, value_name = "1|3")]
    nodes: u32,
    /// Whether the store syncs before it acknowledges; with periodic, a single node loses its last
    /// acknowledged moments when it is killed.
    #[arg(long, default_value = "batch", value_name = "batch|periodic")]
    cassandra_sync: String,
    /// Partitions of a topic.
    #[arg(long, default_value_t = 4)]
    partitions: u32,
    /// After which a silent consumer loses its partitions; brokers take no less than 6000.
    #[arg(long, default_value_t = 6_000, value_name = "MS")]
    session_timeout_ms: u64,
    /// Events that are sent in a second.
    #[arg(long, default_value_t = 200.0, value_name = "N")]
    events_per_second: f64,
    /// Print the schedule, one fault a line, and start nothing.
    #[arg(long)]
    schedule_only: bool,
}

fn nodes(text: &str) -> Result<u32, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("write 1 or 3".to_owned()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let plan = Plan {
        seed: cli.seed,
        duration_ms: (cli.minutes * 60_000.0) as u64,
        consumers: cli.consumers.into(),
        nodes: cli.nodes,
        session_timeout_ms: cli.session_timeout_ms,
    };
    if cli.schedule_only {
        schedule(&plan).iter().for_each(print);
        return ExitCode::SUCCESS;
    }
    match nemesis(&cli, plan).await {
        Ok(code) => code,
        Err(error) => {
            say(&error);
            ExitCode::from(3)
        }
    }
}

/// Runs until there is a report or someone interrupts; either way everything that was started
/// ends with it.
async fn nemesis(cli: &Cli, plan: Plan) -> Result<ExitCode, String> {
    let dir = match &cli.dir {
        Some(dir) => dir.clone(),
        None => Path::new("target/nemesis").join(format!("{}-{}", cli.seed, std::process::id())),
    };
    let config = config(cli, plan, &dir)?;
    let interrupted = async {
        let terminate = tokio::signal::unix::SignalKind::terminate();
        let mut terminate = tokio::signal::unix::signal(terminate).ok()?;
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        Some(())
    };
    let report = tokio::select! {
        report = run(config, say) => report.map_err(|error| error.to_string())?,
        Some(()) = interrupted => return Err("interrupted".to_owned()),
    };
    print(&report);
    if !report.is_good() || cli.keep {
        say(&format!("logs are in {}", dir.display()));
    } else if cli.dir.is_none() {
        std::fs::remove_dir_all(&dir).ok();
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything by its absolute path: roles run in a directory of their own.
fn config(cli: &Cli, plan: Plan, dir: &Path) -> Result<NemesisConfig, String> {
    let failed = |path: &Path, error| format!("open {}: {error}", path.display());
    let whole = |path: &Path| path.canonicalize().map_err(|error| failed(path, error));
    std::fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
    let dir = whole(dir)?;
    let servers = ServersConfig {
        script: whole(&cli.servers)?,
        dir: dir.join("servers"),
        port_base: cli.port_base,
        nodes: cli.nodes,
        cassandra_sync: cli.cassandra_sync.clone(),
    };
    let deployment = DeploymentConfig {
        agon: whole(&cli.agon)?,
        dir,
        servers,
        consumers: cli.consumers.into(),
        partitions: cli.partitions,
        session_timeout_ms: cli.session_timeout_ms,
    };
    Ok(NemesisConfig { plan, deployment, events_per_second: cli.events_per_second })
}

/// One line of JSON on standard output.
fn print(value: &impl serde::Serialize) {
    let line = serde_json::to_string(value).unwrap_or_else(|error| error.to_string());
    writeln!(std::io::stdout(), "{line}").ok();
}

/// A word for people, on standard error.
fn say(text: &str) {
    writeln!(std::io::stderr(), "nemesis: {text}").ok();
}
