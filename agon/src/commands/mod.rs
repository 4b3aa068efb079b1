//! One file a command.

pub mod bench;
pub mod board;
pub mod completions;
pub mod config_print;
pub mod config_routes;
pub mod consumer;
pub mod credentials;
pub mod doctor;
pub mod events;
pub mod healthcheck;
pub mod import;
pub mod init;
pub mod rebuild;
pub mod serve;
pub mod sides;
pub mod stats;
pub mod user;
pub mod verify;

use crate::cli::{Command, Config};
use crate::exit::Exit;

/// Runs a command that needs the runtime.
///
/// # Errors
/// What the command says.
pub async fn run(command: Command) -> Result<(), Exit> {
    match command {
        Command::Serve(options) => serve::run(*options).await,
        Command::Init(options) => init::run(*options).await,
        Command::Producer(options) => sides::run_producer(*options).await,
        Command::Consumer(options) => consumer::run(*options).await,
        Command::Api(options) => sides::run_api(*options).await,
        Command::Import(command) => import::run(command).await,
        Command::Verify(options) => verify::run(options).await,
        Command::Rebuild(options) => rebuild::run(options).await,
        Command::Board(options) => board::run(options).await,
        Command::Stats(options) => stats::run(options).await,
        Command::Events(command) => events::run(command).await,
        Command::User(command) => user::run(command).await,
        Command::Doctor(options) => doctor::run(options).await,
        Command::Healthcheck(options) => healthcheck::run(options).await,
        Command::Config(Config::Routes) => config_routes::run().await,
        Command::Bench(command) => bench::run(command).await,
        // These two need no runtime and were run before.
        Command::Completions { .. } | Command::Config(Config::Print) => Ok(()),
    }
}
