//! `agon bench`: figures beside their baselines, measured in turn in one run. Ratios carry from
//! machine to machine; bare times do not.

mod append;
mod behind;
mod child;
mod consume;
mod deployment;
mod http;
mod pipeline;
mod replay;
mod sides;
mod source;
mod stores;
mod tables;
mod takeover;
mod visible;
mod workload;

use std::path::Path;

use crate::cli::Bench;
use crate::exit::Exit;
use crate::output;

/// Runs a bench and prints its figures.
///
/// # Errors
/// When something it needs is not there.
pub async fn run(command: Bench) -> Result<(), Exit> {
    match command {
        Bench::Append(options) => append::run(&options).await,
        Bench::Pipeline(options) => pipeline::run(&options).await,
        Bench::Visible(options) => visible::run(&options).await,
        Bench::Http(options) => http::run(&options).await,
        Bench::Consume(options) => consume::run(&options).await,
        Bench::Takeover(options) => takeover::run(&options).await,
        Bench::Behind(options) => behind::run(&options).await,
        Bench::Source(options) => source::run(&options).await,
        Bench::Bare { file } => http::bare(&file).await,
        Bench::Replay { events } => replay::serve(events).await,
    }
}

/// A directory that is removed afterwards, on the disk of the working directory: a memory file
/// system would make every sync free.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Scratch, Exit> {
        let path = std::env::current_dir()
            .map_err(Exit::missing)?
            .join(format!("agon-bench-{name}-{}", std::process::id()));
        std::fs::create_dir(&path)
            .map_err(|error| Exit::Missing(format!("make {}: {error}", path.display())))?;
        Ok(Scratch(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            output::say(format_args!("remove {}: {error}", self.0.display()));
        }
    }
}

/// The middle of some figures.
fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Prints what is measured beside its baseline, in `unit` a second, and the ratio with its range.
fn report(
    what: &str,
    ours: &[f64],
    baseline: &str,
    theirs: &[f64],
    unit: &str,
) -> Result<(), Exit> {
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
    let (low, high) = ratios
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), r| (low.min(*r), high.max(*r)));
    output::line(format_args!("{what:44} {:>12.0} {unit}/s", median(ours)))?;
    output::line(format_args!("{baseline:44} {:>12.0} {unit}/s", median(theirs)))?;
    let middle = median(&ratios);
    output::line(format_args!("ratio {middle:.2} ({low:.2} to {high:.2}, {} rounds)", ratios.len()))
}
