//! `agon completions`: what a shell needs to complete commands and options.

use clap::CommandFactory;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::output;

/// Prints the completions of a shell.
///
/// # Errors
/// When standard output cannot be written to.
pub fn run(shell: clap_complete::Shell) -> Result<(), Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "agon", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())
}
