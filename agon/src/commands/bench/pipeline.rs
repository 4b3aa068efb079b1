//! Import to durable projections beside a bare append of the same events.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use agon_schema::Event;

use super::append::append_all;
use super::workload::{ENVIRONMENT, Workload};
use super::{Scratch, report};
use crate::cli::BenchRun;
use crate::exit::Exit;
use crate::output;

/// Measures both sides in turn.
///
/// # Errors
/// When the disk cannot be used or the import fails.
pub async fn run(options: &BenchRun) -> Result<(), Exit> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let count = options.events as f64;
    for round in 0..options.rounds {
        let scratch = Scratch::new("pipeline")?;
        let file = scratch.path().join("matches.csv");
        write_csv(&file, u64::from(round), options.events)?;
        let data = scratch.path().join("data");
        let started = Instant::now();
        import(&file, &data)?;
        ours.push(count / started.elapsed().as_secs_f64());
        let bare_dir = scratch.path().join("bare");
        bare.push(count / append_all(&bare_dir, u64::from(round), options.events).await?);
    }
    output::line(format_args!("{} matches, from a csv file to boards on disk", options.events))?;
    report("agon import", &ours, "bare append of the same events", &bare, "events")
}

fn import(file: &Path, data: &Path) -> Result<(), Exit> {
    let binary = std::env::current_exe().map_err(Exit::missing)?;
    let imported = Command::new(binary)
        .args(["import", "matches"])
        .arg(file)
        .args(["--environment", ENVIRONMENT, "--data"])
        .arg(data)
        .stderr(Stdio::null())
        .status()
        .map_err(Exit::missing)?;
    if imported.success() { Ok(()) } else { Err(Exit::missing("the import failed")) }
}

/// Writes a run's matches as a file of `agon import matches`.
fn write_csv(file: &Path, run: u64, events: u64) -> Result<(), Exit> {
    let mut text = String::from("match_id,played_at,a,b,outcome_a\n");
    for event in Workload::new(run).take(events)? {
        let Event::MatchFinished(event) = event else { continue };
        let [a, b] = event.players.as_slice() else { continue };
        let outcome = if a.placement == b.placement { "0.5" } else { "1" };
        let (id, at) = (&event.match_id, event.occurred.at);
        // Writing to a String cannot fail.
        writeln!(text, "{id},{at},{},{},{outcome}", a.agent, b.agent).map_err(Exit::missing)?;
    }
    std::fs::write(file, text).map_err(Exit::missing)
}
