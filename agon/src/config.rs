//! Flags over environment, environment over file, file over defaults. Read once, whole; an unknown
//! key or variable is refused by name.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::cli::{Cli, SECRETS};
use crate::exit::Exit;

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "agon.toml";
/// What every variable starts with.
const PREFIX: &str = "AGON_";

/// Parses arguments, environment and file. Prints help and version itself.
///
/// # Errors
/// Wrong use, an unknown key or variable, a file that cannot be read.
pub fn parse(args: Vec<OsString>) -> Result<Cli, Exit> {
    let command = configured(&args)?;
    let matches = command.get_matches_from(args);
    refuse_secret_flags(&matches)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.exit())
}

/// The command with the values of the file as its defaults.
fn configured(args: &[OsString]) -> Result<Command, Exit> {
    let command = Cli::command();
    let known = known_args(&command);
    refuse_unknown_variables(&known)?;
    let Some((path, values)) = file_values(args)? else { return Ok(command) };
    let mut command = command;
    for (key, value) in values {
        if key == "config" || !known.iter().any(|(id, env)| *id == key && env.is_some()) {
            return Err(Exit::Usage(format!(
                "{}: unknown key {key:?}; `agon config print` lists the known ones",
                path.display()
            )));
        }
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            _ => {
                let place = path.display();
                return Err(Exit::Usage(format!(
                    "{place}: key {key:?} must be a text, a number, true or false"
                )));
            }
        };
        command = with_default(command, &key, &text);
    }
    Ok(command)
}

/// Makes `value` the default of the option in every command that has it.
fn with_default(command: Command, key: &str, value: &str) -> Command {
    let value = value.to_owned();
    let mut command = command;
    if command.get_arguments().any(|arg| arg.get_id() == key) {
        let value = value.clone();
        command = command.mut_arg(key, |arg| arg.required(false).default_value(value));
    }
    let names: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        let (key, value) = (key.to_owned(), value.clone());
        command = command.mut_subcommand(name, |sub| with_default(sub, &key, &value));
    }
    command
}

/// What is on a command line is seen by every user of the machine.
fn refuse_secret_flags(matches: &ArgMatches) -> Result<(), Exit> {
    for key in SECRETS {
        if matches.try_contains_id(key).unwrap_or(false)
            && matches.value_source(key) == Some(ValueSource::CommandLine)
        {
            let (flag, variable) = (key.replace('_', "-"), key.to_uppercase());
            return Err(Exit::Usage(format!(
                "--{flag} would show the password to everyone on this machine; set \
                 {PREFIX}{variable}, or {PREFIX}{variable}_FILE to a file that holds it"
            )));
        }
    }
    matches.subcommand().map_or(Ok(()), |(_, matches)| refuse_secret_flags(matches))
}

/// Ids of all options of all commands, with their variables.
fn known_args(command: &Command) -> BTreeSet<(String, Option<String>)> {
    let own = command.get_arguments().map(|arg| (arg.get_id().to_string(), env_of(arg)));
    own.chain(command.get_subcommands().flat_map(known_args)).collect()
}

fn env_of(arg: &Arg) -> Option<String> {
    arg.get_env().map(|env| env.to_string_lossy().into_owned())
}

fn refuse_unknown_variables(known: &BTreeSet<(String, Option<String>)>) -> Result<(), Exit> {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if crate::faults::knows(&name)? {
            continue;
        }
        let is_known = || known.iter().any(|(_, env)| env.as_deref() == Some(name.as_ref()));
        if name.starts_with(PREFIX) && !is_known() {
            return Err(Exit::Usage(format!(
                "unknown environment variable {name}; `agon config print` lists the known ones"
            )));
        }
    }
    Ok(())
}

/// The file's keys, from `--config`, `AGON_CONFIG` or ./agon.toml.
fn file_values(args: &[OsString]) -> Result<Option<(PathBuf, toml::Table)>, Exit> {
    let named = named_file(args);
    let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    if named.is_none() && !path.exists() {
        return Ok(None);
    }
    let place = path.display();
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Exit::Usage(format!("read configuration {place}: {error}")))?;
    let table = text
        .parse::<toml::Table>()
        .map_err(|error| Exit::Usage(format!("{place}: {}", error.to_string().trim_end())))?;
    Ok(Some((path, table)))
}

fn named_file(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy();
        if text == "--config" {
            return args.next().map(PathBuf::from);
        }
        if let Some(path) = text.strip_prefix("--config=") {
            return Some(Path::new(path).to_owned());
        }
    }
    std::env::var_os("AGON_CONFIG").map(PathBuf::from)
}

/// One line of `agon config print`.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key in the file.
    pub key: String,
    /// The variable.
    pub env: String,
    /// The value, or what stands for none or a secret.
    pub value: String,
    /// Where it comes from.
    pub source: &'static str,
}

/// Every setting of every command with its value and where it comes from, those of `serve` first.
///
/// # Errors
/// As [`parse`].
pub fn settings(args: &[OsString]) -> Result<Vec<Setting>, Exit> {
    let command = configured(args)?;
    let file = file_values(args)?.map_or_else(toml::Table::new, |(_, values)| values);
    // One command that has them all, and demands none.
    let mut all = Command::new("agon");
    for arg in command.find_subcommand("serve").into_iter().flat_map(Command::get_arguments) {
        all = with_setting(all, arg);
    }
    let all = with_settings(all, &command);
    let mut line = vec![OsString::from("agon")];
    if let Some(path) = named_file(args) {
        line.extend([OsString::from("--config"), path.into_os_string()]);
    }
    let matches = all.clone().try_get_matches_from(line);
    let matches = matches.map_err(|error| Exit::Usage(error.to_string()))?;
    Ok(all.get_arguments().filter_map(|arg| setting(arg, &matches, &file)).collect())
}

fn with_settings(all: Command, command: &Command) -> Command {
    let all = command.get_arguments().fold(all, with_setting);
    command.get_subcommands().fold(all, with_settings)
}

/// Adds an option that can be set outside the command line, unless one of its name is there.
fn with_setting(all: Command, arg: &Arg) -> Command {
    if env_of(arg).is_none() || all.get_arguments().any(|known| known.get_id() == arg.get_id()) {
        return all;
    }
    all.arg(arg.clone().required(false).conflicts_with(Resettable::Reset))
}

fn setting(arg: &Arg, matches: &ArgMatches, file: &toml::Table) -> Option<Setting> {
    let (key, env) = (arg.get_id().to_string(), env_of(arg)?);
    let source = match matches.value_source(&key) {
        Some(ValueSource::CommandLine) => "command line",
        Some(ValueSource::EnvVariable) => "environment",
        Some(_) if file.contains_key(&key) => "file",
        _ => "default",
    };
    let values = matches.get_raw(&key).into_iter().flatten();
    let value: Vec<_> = values.map(|value| value.to_string_lossy().into_owned()).collect();
    let value = match (arg.is_hide_env_values_set(), value.is_empty()) {
        (_, true) => "(none)".to_owned(),
        (true, false) => "(secret)".to_owned(),
        (false, false) => value.join(","),
    };
    Some(Setting { key, env, value, source })
}
