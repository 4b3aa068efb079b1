//! One process of the program under test: started, signalled, killed, started again in its place.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::Error;

/// What every variable of the program under test starts with; none of ours may reach it.
const VARIABLES: &str = "AGON_";
/// After which a process that was asked to stop is killed.
const STOP_MAX: Duration = Duration::from_secs(20);

/// A role at its address; dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    address: String,
    dir: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// A process that is not started yet. `args` say that it listens on `address`; its words go to
    /// `dir/NAME.log`.
    pub fn new(
        name: &str,
        program: &Path,
        args: Vec<OsString>,
        address: String,
        dir: &Path,
    ) -> Process {
        Process {
            name: name.to_owned(),
            program: program.to_owned(),
            args,
            address,
            dir: dir.to_owned(),
            child: None,
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The base of its URLs.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether it is meant to run.
    pub fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// Starts it, unless it runs.
    ///
    /// # Errors
    /// When the program or the log cannot be opened.
    pub fn start(&mut self) -> Result<(), Error> {
        if self.child.is_some() {
            return Ok(());
        }
        let path = self.dir.join(format!("{}.log", self.name));
        let failed = || Error::io(format!("start {} of {}", self.name, self.program.display()));
        let log = OpenOptions::new().create(true).append(true).open(&path).map_err(failed())?;
        let mut command = clean_command(&self.program, &self.dir);
        command.args(&self.args).stdin(Stdio::null());
        command.stdout(log.try_clone().map_err(failed())?).stderr(log).kill_on_drop(true);
        self.child = Some(command.spawn().map_err(failed())?);
        Ok(())
    }

    /// Sends a signal by name, if it runs.
    ///
    /// # Errors
    /// When no signal can be sent at all.
    pub async fn signal(&self, name: &str) -> Result<(), Error> {
        let Some(pid) = self.child.as_ref().and_then(Child::id) else { return Ok(()) };
        let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status().await;
        sent.map(drop).map_err(Error::io(format!("send SIG{name} to {}", self.name)))
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn kill(&mut self) -> Result<(), Error> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill().await.map_err(Error::io(format!("kill {}", self.name)))
    }

    /// SIGTERM, and waits for the end; a deaf process is killed.
    ///
    /// # Errors
    /// When it cannot be signalled or waited for.
    pub async fn stop(&mut self) -> Result<(), Error> {
        self.signal("TERM").await?;
        if let Some(child) = &mut self.child
            && tokio::time::timeout(STOP_MAX, child.wait()).await.is_ok()
        {
            self.child = None;
        }
        self.kill().await
    }

    /// Starts it again if it ended by itself, and says how it ended.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn revive(&mut self) -> Result<Option<ExitStatus>, Error> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let ended = child.try_wait().map_err(Error::io(format!("look at {}", self.name)))?;
        if ended.is_some() {
            self.child = None;
            self.start()?;
        }
        Ok(ended)
    }
}

/// A command that sees no variable of the program and no configuration file beside it.
pub fn clean_command(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with(VARIABLES) {
            command.env_remove(name);
        }
    }
    command.current_dir(dir);
    command
}

/// Runs a command to its end with this input, and answers what it wrote to standard output.
///
/// # Errors
/// When it cannot be run, takes longer than `seconds_max`, or its status is not among `good`.
pub async fn finish(
    mut command: Command,
    input: &str,
    seconds_max: u64,
    good: &[i32],
) -> Result<String, Error> {
    use tokio::io::AsyncWriteExt;
    let line = format!("{:?}", command.as_std());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(Error::io(format!("run {line}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input may have closed it.
        stdin.write_all(input.as_bytes()).await.ok();
    }
    let limit = Duration::from_secs(seconds_max);
    let failed = |status: String, said: &[u8]| Error::Command {
        command: line.clone(),
        status,
        said: last_line(&String::from_utf8_lossy(said)),
    };
    let Ok(output) = tokio::time::timeout(limit, child.wait_with_output()).await else {
        return Err(failed(format!("no end within {seconds_max} s"), b""));
    };
    let output = output.map_err(Error::io(format!("run {line}")))?;
    if output.status.code().is_some_and(|code| good.contains(&code)) {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failed(output.status.to_string(), &output.stderr))
}

fn last_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join(" / ")
}
