//! The two streams: data on standard output, messages on standard error. A reader that closes
//! standard output early ends the command, not with a panic.

use std::fmt;
use std::io::{self, Write};

use crate::exit::Exit;

/// Writes a line of data.
///
/// # Errors
/// When standard output cannot be written to.
pub fn line(text: impl fmt::Display) -> Result<(), Exit> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.map_err(|error| Exit::missing(format!("write output: {error}"))),
    }
}

/// Writes a message for people.
pub fn say(text: impl fmt::Display) {
    // There is nowhere left to say that standard error is closed.
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// Writes why a command ends.
pub fn error(exit: &Exit) {
    let text = exit.to_string();
    if !text.is_empty() {
        say(format_args!("agon: {text}"));
    }
}
