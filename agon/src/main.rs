//! The binary: command line, configuration, wiring, telemetry, shutdown. It decides nothing about
//! events; it joins those who do.

mod banner;
mod bar;
mod cli;
mod commands;
mod config;
mod exit;
mod faults;
mod log_level;
mod metrics;
mod node;
mod ops;
mod output;
mod place;
mod process;
mod production;
mod readiness;
mod remote;
mod roles;
mod servers;
mod signals;
mod telemetry;
mod traces;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use cli::{Command, Config};
use exit::Exit;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            output::error(&exit);
            exit.code()
        }
    }
}

fn run(args: Vec<OsString>) -> Result<(), Exit> {
    let cli = config::parse(args.clone())?;
    if let Some((role, options)) = cli.command.traces() {
        traces::start(role, options)?;
    }
    telemetry::start(&cli.common)?;
    match cli.command {
        Command::Completions { shell } => commands::completions::run(shell),
        Command::Config(Config::Print) => commands::config_print::run(&args),
        command => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(|error| Exit::missing(format!("start the runtime: {error}")))?;
            let ended = runtime.block_on(Box::pin(commands::run(command)));
            // What ends with the runtime are spans too.
            drop(runtime);
            traces::end();
            ended
        }
    }
}
