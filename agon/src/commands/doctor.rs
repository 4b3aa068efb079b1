//! `agon doctor`: what this machine, this directory and these addresses offer, with a remedy for
//! each failure.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use agon_kafka::{KafkaAddress, KafkaSettings};
use agon_ports::EventLog;
use agon_scylla::CqlAddress;

use crate::cli::Doctor;
use crate::exit::Exit;
use crate::node::{self, BadStore, Node};
use crate::{output, servers};

/// Space that a directory should have left, in bytes.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// Files that the process should be allowed to have open.
const OPEN_FILES_MIN: u64 = 1_024;

/// What a check found.
type Finding = Result<String, String>;

/// Runs all checks and prints a line for each.
///
/// # Errors
/// Exit code 3 when one failed.
pub async fn run(options: Doctor) -> Result<(), Exit> {
    let place = &options.place;
    let mut checks = vec![
        ("open files", open_files()),
        ("processors", processors()),
        ("clock", clock()),
        ("address", address(&options.listen).await),
    ];
    let (settings, store) = (place.settings()?, place.store()?);
    if place.log.is_none() && store.is_none() {
        let data = &place.data.data;
        checks.push(("directory", writable(data)));
        checks.push(("space", space(data)));
        checks.push(("data", contents(data)));
    }
    checks.extend(of_servers(place.log.as_ref(), settings, store).await);
    let mut failed = 0;
    for (name, finding) in checks {
        match finding {
            Ok(detail) => output::line(format_args!("ok    {name:11} {detail}"))?,
            Err(detail) => {
                failed += 1;
                output::line(format_args!("FAIL  {name:11} {detail}"))?;
            }
        }
    }
    if failed > 0 {
        return Err(Exit::Missing(format!("{failed} checks failed")));
    }
    Ok(())
}

/// What the addresses offer: both are asked, whatever becomes of the first.
async fn of_servers(
    log: Option<&KafkaAddress>,
    settings: KafkaSettings,
    store: Option<CqlAddress>,
) -> Vec<(&'static str, Finding)> {
    let mut checks = Vec::new();
    let mut facts = None;
    if let Some(address) = log {
        let log = servers::log(address, &settings, Duration::ZERO).await;
        checks.push((
            "log",
            match &log {
                Ok(log) => {
                    Ok(format!("{address} has the topics, {} partitions each", log.partitions()))
                }
                Err(exit) => Err(exit.to_string()),
            },
        ));
        facts = log.ok().map(|log| servers::facts(&log));
    }
    if let Some(address) = &store {
        let store = match facts {
            Some(facts) => servers::store(address, facts, Duration::ZERO).await.map(drop),
            None => servers::store_alone(address, Duration::ZERO).await.map(drop),
        };
        let whose = if facts.is_some() { " of this log" } else { "" };
        checks.push((
            "store",
            match store {
                Ok(()) => Ok(format!("{address} has the tables{whose}")),
                Err(exit) => Err(exit.to_string()),
            },
        ));
    }
    checks
}

/// The directory, or the nearest one above it that exists.
fn nearest(path: &Path) -> &Path {
    path.ancestors()
        .find(|path| path.is_dir())
        .unwrap_or_else(|| Path::new(if path.is_absolute() { "/" } else { "." }))
}

fn writable(data: &Path) -> Finding {
    let dir = nearest(data);
    let probe = dir.join(format!(".agon-doctor-{}", std::process::id()));
    let tried = std::fs::File::create_new(&probe)
        .and_then(|mut file| file.write_all(b"probe").and_then(|()| file.sync_all()));
    let removed = std::fs::remove_file(&probe);
    let (dir, data) = (dir.display(), data.display());
    match tried.and(removed) {
        Ok(()) => Ok(format!("{data} can be written and synced (tried in {dir})")),
        Err(error) => Err(format!("write in {dir}: {error}; name another one with --data")),
    }
}

fn space(data: &Path) -> Finding {
    let dir = nearest(data);
    let shown = dir.display();
    let output = std::process::Command::new("df").arg("-Pk").arg(dir).output();
    let text = match output {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        // Where there is nothing but this program, as in its image.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(format!("not known: there is no df here to ask about {shown}"));
        }
        Err(error) => return Err(format!("ask df about {shown}: {error}")),
    };
    let free_kib =
        text.lines().nth(1).and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
    match free_kib.map(|kib: u64| kib << 10) {
        None => Err(format!("df says nothing about {shown}")),
        Some(bytes) if bytes < FREE_BYTES_MIN => Err(format!(
            "{} MiB are free at {shown}; make room for 1 GiB or name another disk with --data",
            bytes >> 20
        )),
        Some(bytes) => Ok(format!("{} GiB are free", bytes >> 30)),
    }
}

fn open_files() -> Finding {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    match line.and_then(|line| line.split_whitespace().nth(3)) {
        None => Ok("the limit cannot be read here".into()),
        Some("unlimited") => Ok("no limit".into()),
        Some(text) => match text.parse::<u64>() {
            Ok(count) if count < OPEN_FILES_MIN => {
                Err(format!("at most {count}; raise it with `ulimit -n 4096`"))
            }
            _ => Ok(format!("at most {text}")),
        },
    }
}

fn processors() -> Finding {
    match std::thread::available_parallelism() {
        Ok(count) => Ok(format!("{count} available")),
        Err(error) => Err(format!("count them: {error}")),
    }
}

fn clock() -> Finding {
    let now = agon_schema::Timestamp::now();
    // A machine whose clock stands before this program was written would sign expired tokens.
    if now.to_string().as_str() < "2026-01-01" {
        return Err(format!("says {now}; set the time of this machine"));
    }
    Ok(format!("says {now}"))
}

async fn address(listen: &str) -> Finding {
    match agon_edge::bind(listen).await {
        Ok(_) => Ok(format!("{listen} is free")),
        Err(error) => Err(error.to_string()),
    }
}

fn contents(data: &Path) -> Finding {
    // Opening would make a log in a directory that holds none, and a check makes nothing.
    if !data.join("log").is_dir() {
        return Ok("nothing there yet; it is made at the first start".into());
    }
    let node = node::lock(data).and_then(|dir| Node::open(dir, None, BadStore::Refuse));
    match node {
        Ok(_) => Ok("log and store open and are whole".into()),
        Err(exit) => Err(exit.to_string()),
    }
}
