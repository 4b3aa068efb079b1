//! `agon config print`: each value, and where it comes from.

use std::ffi::OsString;

use crate::exit::Exit;
use crate::{config, output};

/// Prints every setting.
///
/// # Errors
/// As [`config::settings`].
pub fn run(args: &[OsString]) -> Result<(), Exit> {
    let settings = config::settings(args)?;
    let key_chars = settings.iter().map(|setting| setting.key.len()).max().unwrap_or(0);
    let value_chars = settings.iter().map(|setting| setting.value.len()).max().unwrap_or(0);
    for setting in settings {
        let config::Setting { key, env, value, source } = setting;
        output::line(format_args!("{key:key_chars$} = {value:value_chars$}  # {source}; {env}"))?;
    }
    Ok(())
}
